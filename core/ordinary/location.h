/* From an instruction to its line: the location table of a code object (co_linetable).
 *
 * The format is described in CPython's InternalDocs/code_objects.md: entries of one byte with a form and a length in
 * code units, followed by what the form needs; lines are differences from the entry before. Pure functions. */
#ifndef SPPROF_LOCATION_H
#define SPPROF_LOCATION_H

#include <stddef.h>
#include <stdint.h>

/* The line (from 1) of instruction `instruction`, an index in code units, in a code object that begins on `first_line`.
 * 0 where the table gives it none, ends before it, or is damaged. Reads nothing past `length` bytes. */
int32_t location_line(const uint8_t *table, size_t length, int32_t first_line, uint32_t instruction);

#endif

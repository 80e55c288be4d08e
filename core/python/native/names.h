/* Names of code objects, taken from CPython while they are whole. */
#ifndef SPPROF_NATIVE_NAMES_H
#define SPPROF_NATIVE_NAMES_H

#include "ordinary/codes.h"

/* Copies the names of the code object at `code` (a PyCodeObject *). Calls nothing that could run Python code, collect
 * garbage or let go of the thread state, so it may run under a lock and inside a code watcher. False: no memory. */
bool names_take(const void *code, struct code_names *names);

/* Copies a string, under the same conditions; to be freed. Where `string` (a PyObject *, or NULL) is
 * no string, *text stays as it was. False: no memory. */
bool names_take_string(const void *string, struct text *text);

#endif

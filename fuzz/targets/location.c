/* Any bytes as the location table of a code object.
 *
 * An input is the first line (4 bytes), an instruction (4 bytes), and the table. The oracle takes the table apart first:
 * only the first byte of an entry has its highest bit set. The core is asked for each of the first instructions, for the
 * one in the input and for the last that there can be. */
#include "ordinary/location.h"

#include <stdlib.h>
#include <string.h>

#include "target.h"

#define HEADER 8
#define ASKED 100 /* of the first instructions */

const char fuzz_name[] = "location";
const size_t fuzz_largest = 1024;

struct part {
    unsigned form, units;
    const uint8_t *rest;
    size_t length;
};

/* The entries of the table, and their number; none where it does not begin with one. */
static size_t take_apart(const uint8_t *table, size_t count, struct part *parts) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (table[i] >= 0x80) {
            unsigned head = table[i] - 0x80u;
            parts[found++] = (struct part){.form = head / 8, .units = head % 8 + 1, .rest = table + i + 1};
        } else if (found == 0) {
            return 0;
        } else {
            parts[found - 1].length++;
        }
    }
    return found;
}

/* The number at the beginning of `rest`; false where no byte of the first six ends it. What is over 32 bits is dropped. */
static bool number_of(const struct part *part, uint32_t *number) {
    size_t last = 0;
    while (last < part->length && part->rest[last] >= 0x40)
        last++;
    if (last >= part->length || last > 5)
        return false;
    uint64_t value = 0;
    for (size_t i = last + 1; i-- > 0;)
        value = value * 64 + part->rest[i] % 0x40;
    *number = (uint32_t)value;
    return true;
}

static bool step_of(const struct part *part, int64_t *step) {
    uint32_t number;
    switch (part->form) {
    case 11:
        *step = 1;
        return true;
    case 12:
        *step = 2;
        return true;
    case 13:
    case 14:
        if (!number_of(part, &number))
            return false;
        *step = (int64_t)(number / 2) * (number % 2 ? -1 : 1);
        return true;
    default:
        *step = 0;
        return true;
    }
}

static int32_t line_of(const struct part *parts, size_t count, int32_t first_line, uint32_t instruction) {
    int64_t line = first_line, step;
    uint64_t left = instruction;
    for (const struct part *part = parts; part < parts + count; left -= part++->units) {
        if (!step_of(part, &step))
            return 0;
        line += step;
        if (left < part->units)
            return part->form != 15 && line >= 1 && line <= INT32_MAX ? (int32_t)line : 0;
    }
    return 0;
}

static uint32_t word_of(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

void fuzz_set_up(void) {}

void fuzz_one(const uint8_t *bytes, size_t count) {
    static struct part parts[1024];
    if (count < HEADER)
        return;
    int32_t first_line = (int32_t)word_of(bytes);
    size_t length = count - HEADER;
    /* In a block of its own size, so that a read past its end is seen. */
    uint8_t *table = malloc(length + (length == 0));
    if (table == NULL)
        abort();
    memcpy(table, bytes + HEADER, length);
    size_t found = take_apart(table, length, parts);
    bool any = false;
    for (uint32_t i = 0; i < ASKED + 2; i++) {
        uint32_t instruction = i < ASKED ? i : i == ASKED ? word_of(bytes + 4) : UINT32_MAX;
        int32_t line = location_line(table, length, first_line, instruction);
        int32_t expected = line_of(parts, found, first_line, instruction);
        if (line != expected)
            fuzz_fail("instruction %u is on line %d, and the table says %d", instruction, line, expected);
        any |= line != 0;
    }
    free(table);
    fuzz_note(any ? "line" : "none");
}

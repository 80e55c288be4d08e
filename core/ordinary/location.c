#include "location.h"

#include <stdbool.h>

/* Forms of an entry, as in CPython's enum _PyCodeLocationInfoKind. Lower ones are "short": same line. */
enum {
    FORM_ONE_LINE_0 = 10,
    FORM_ONE_LINE_2 = 12,
    FORM_NO_COLUMNS = 13,
    FORM_LONG = 14,
    FORM_NONE = 15,
};

struct table_reader {
    const uint8_t *at, *end;
};

/* Little-endian groups of 6 bits; bit 6 says that another follows. False where the table or the entry ends inside one, or
 * where it is longer than any that CPython writes. */
static bool read_varint(struct table_reader *reader, uint32_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 36 && reader->at < reader->end; shift += 6) {
        uint8_t byte = *reader->at++;
        if (byte & 128)
            return false; /* the next entry has begun */
        if (shift < 32)
            *value |= (uint32_t)(byte & 63) << shift;
        if (!(byte & 64))
            return true;
    }
    return false;
}

/* How the line changes: the lowest bit of the varint is the sign. */
static bool read_line_change(struct table_reader *reader, uint8_t form, int64_t *change) {
    *change = 0;
    if (form >= FORM_ONE_LINE_0 && form <= FORM_ONE_LINE_2)
        *change = form - FORM_ONE_LINE_0;
    if (form != FORM_NO_COLUMNS && form != FORM_LONG)
        return true;
    uint32_t value;
    if (!read_varint(reader, &value))
        return false;
    *change = value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
    return true;
}

int32_t location_line(const uint8_t *table, size_t length, int32_t first_line, uint32_t instruction) {
    struct table_reader reader = {.at = table, .end = table + length};
    int64_t line = first_line;
    uint64_t next = 0; /* first code unit past the entry */
    while (reader.at < reader.end) {
        uint8_t head = *reader.at++;
        if (!(head & 128))
            return 0;
        uint8_t form = head >> 3 & 15;
        int64_t change;
        if (!read_line_change(&reader, form, &change))
            return 0;
        line += change;
        next += (head & 7) + 1;
        if (instruction < next)
            return form == FORM_NONE || line < 1 || line > INT32_MAX ? 0 : (int32_t)line;
        while (reader.at < reader.end && !(*reader.at & 128)) /* columns, which nobody asked for */
            reader.at++;
    }
    return 0;
}

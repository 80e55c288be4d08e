/* A fuzz target whose inputs do what their first byte says: crash, hang, or go one of two ways. For tests of the driver. */
#include "target.h"

#include <unistd.h>

const char fuzz_name[] = "fuzz_target";
const size_t fuzz_largest = 1;

void fuzz_set_up(void) {}

void fuzz_one(const uint8_t *bytes, size_t count) {
    switch (count == 0 ? 0 : bytes[0]) {
    case 'c':
        fuzz_fail("on purpose");
    case 'h':
        for (;;)
            pause();
    case 'a':
        fuzz_note("one way");
        break;
    default:
        fuzz_note("the other way");
    }
}

/* A fuzz target whose inputs do what their first byte says: crash, hang, take about as long as they may, or go one of two
 * ways. For tests of the driver. */
#include "target.h"

#include <time.h>
#include <unistd.h>

const char fuzz_name[] = "fuzz_target";
const size_t fuzz_largest = 2;

void fuzz_set_up(void) {}

void fuzz_one(const uint8_t *bytes, size_t count) {
    switch (count == 0 ? 0 : bytes[0]) {
    case 'c':
        fuzz_fail("on purpose");
    case 'h':
        for (;;)
            pause();
    case 's': /* milliseconds in the second byte, less a little */
        nanosleep(&(struct timespec){.tv_nsec = 1000000L * (count > 1 ? bytes[1] : 0) - 100000}, NULL);
        break;
    case 'a':
        fuzz_note("one way");
        break;
    default:
        fuzz_note("the other way");
    }
}

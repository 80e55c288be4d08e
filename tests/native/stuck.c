/* The core with naps that are counted and not slept, and without memory for slots when told so: for a
 * test of handlers that do not come out of their slots. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "handler.h"

/* Naps so far, and the one at which the handler of `late` comes out of its slot. */
unsigned naps, naps_until_late;
struct slot *late;

__attribute__((visibility("hidden"))) int nanosleep(const struct timespec *time, struct timespec *left) {
    (void)time, (void)left;
    if (++naps == naps_until_late)
        atomic_subtract(leave, &late->inside, 1);
    return 0;
}

bool no_memory;

/* What slots are made with. */
__attribute__((visibility("hidden"))) void *aligned_alloc(size_t alignment, size_t size) {
    void *memory;
    return no_memory || posix_memalign(&memory, alignment, size) != 0 ? NULL : memory;
}

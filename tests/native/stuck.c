/* The core with naps that are counted and not slept, and with a calloc that fails when told to: for a
 * test of handlers that do not come out of their slots. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

extern void *__libc_calloc(size_t count, size_t size);
bool no_memory;

__attribute__((visibility("hidden"))) void *calloc(size_t count, size_t size) {
    return no_memory ? NULL : __libc_calloc(count, size);
}

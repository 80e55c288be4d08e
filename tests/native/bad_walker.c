/* Walkers that must not pass: BAD is LIES, CRASHES or HANGS. */
#include "../../stress/walker.h"

const char walker_name[] = "bad";

enum { LIES, CRASHES, HANGS };
#ifndef BAD
#define BAD LIES
#endif

int walker_walk(const struct walker_target *target, struct walker_frame *frames, int room) {
    (void)target, (void)frames, (void)room;
    static int walks;
    static int *volatile nowhere;
    if (++walks < 1000)
        return 0; /* "no frame", of threads that always have some */
    switch (BAD) {
    case CRASHES:
        *nowhere = 0;
        return 0;
    case HANGS:
        for (;;)
            __asm__ volatile("");
    default:
        return 0;
    }
}

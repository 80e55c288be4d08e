/* The observer's beat: a look is due once an interval, and one that comes late stands for those that
 * it missed. Plain arithmetic; reentrant. */
#ifndef SPPROF_BEAT_H
#define SPPROF_BEAT_H

#include <stdint.h>

struct beat {
    uint64_t interval; /* nanoseconds, not 0 */
    uint64_t due;      /* when the last look was due; for the first, when the session began */
};

/* Moves on to the first beat after `now`, and returns how many ticks the look then stands for, from 1
 * on. Where `now` is before the last look was due (the process was brought back on a machine whose
 * clock is behind), the beat begins anew: the next look is an interval away, and nothing was missed. */
uint32_t beat_next(struct beat *beat, uint64_t now);

#endif

/* Looking at the stack of another thread while it runs: where that thread cannot be asked to look itself (ask.h).
 *
 * The walk (walk.h) of a stack that is pushed and popped meanwhile can put together frames that never stood on each
 * other. So the walk notes every word that it went by, and a second look in the same order reads them all again: all
 * that did not change was so at one moment, the one between the two looks. Only the innermost frame's instruction may
 * move on in between; the one of the last look counts. Besides, no code object may have died meanwhile.
 *
 * A word can also change and change back, and a thread that goes round in step with the two looks does just that. A third
 * look at a random distance makes it improbable, and no number of looks makes it impossible: what is seen so is marked.
 * Where each load would be a system call, the words of a look are copied by one call for COPY_PIECES / 3 frames.
 *
 * No allocation, no lock; any ordinary thread may do it for any other, at most OBSERVE_ATTEMPTS walks long.
 */
#ifndef SPPROF_OBSERVE_H
#define SPPROF_OBSERVE_H

#include "walk.h"

/* Walks of one thread before a look is given up: a thread that is pushing or popping now is likely not to be soon. One
 * attempt at a stack of 20 frames takes well under a microsecond. */
#define OBSERVE_ATTEMPTS 64

struct observer {
    struct look *looks;  /* the caller's memory: what a walk went by */
    uint32_t room;       /* how many; deeper frames are not looked at twice: OBSERVE_LOOKS(max_depth) is enough */
    uint64_t generation; /* set: deaths of code objects before the stack that was captured */
    uint32_t dice;       /* for the distance to the third look; any number to begin with */
    uint64_t met[SPPROF_REASONS]; /* counted up: what each attempt came to, so that what a retry mended shows as well */
};

/* Throws the dice: a number from 0 to 2^24 - 1 that no thread can be in step with. */
static inline uint32_t observer_throw(struct observer *observer) {
    observer->dice = observer->dice * 1664525u + 1013904223u;
    return observer->dice >> 8;
}

/* Every frame that is shown may have one of the interpreter's own between it and the next; the last look is the end. */
#define OBSERVE_LOOKS(max_depth) (2 * (max_depth) + 3)

/* One stack of another thread, or the reason of the last attempt. */
enum spprof_reason observe_thread(struct observer *observer, struct walk *walk);

#endif

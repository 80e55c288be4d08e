/* The interpreter's list of thread states, read while it changes.
 *
 * States are linked and freed by any thread, so each is read through a reader and validated: what was freed meanwhile, and
 * used for something else, does not pass. A state is bound, unbound and freed by the thread that it is of (or when nothing of
 * the interpreter runs any more), so where that thread stands still, or reads the list itself, its own are surely in it.
 *
 * Lock-free, async-signal-safe, bounded: STATES_MOST states.
 */
#ifndef SPPROF_STATES_H
#define SPPROF_STATES_H

#include <stdbool.h>
#include <stdint.h>

#include "handler.h"
#include "load.h"

/* No interpreter has more thread states; a longer list is a damaged one. */
#define STATES_MOST (4 * SLOTS_MAX)

struct state_fields {
    uint64_t interpreter, next, tid, thread_id, status;
};

/* Whether `state` is one of the session's interpreter. */
bool states_read(const struct reader *reader, uintptr_t state, struct state_fields *fields);

/* Whether it belongs to a thread. */
bool states_bound(const struct state_fields *fields);

/* What is done with each state, newest first. False: no more are wanted. */
typedef bool states_visit(const struct reader *reader, uintptr_t state, const struct state_fields *fields,
                          void *context);

/* False where the list could not be read to its end, or to where no more were wanted: what was visited may not be all. */
bool states_each(const struct reader *reader, states_visit *visit, void *context);

/* The state of thread `tid`, which is the caller or stands still: the one that it has taken, else its newest; 0: it has none.
 * False where the list could not be read to its end. */
bool states_find(const struct reader *reader, uint64_t tid, uintptr_t *found);

#endif

/* The interpreter's threads: finding them, giving each a slot and a timer, and letting them go.
 *
 * Threads are found by reading the interpreter's list of thread states, again and again, from the session's own thread.
 * The list changes while it is read and its nodes may be freed, so it is read through guarded loads and validated. A thread
 * is let go when the kernel has it no more: one of C code that calls Python has a state for each call, and none between.
 *
 * Ordinary code, not reentrant: the session sees to it that one call runs at a time.
 */
#ifndef SPPROF_THREADS_H
#define SPPROF_THREADS_H

/* A thread's CPU clock and CLOCK_MONOTONIC differ by less than one part in so many (time servers adjust the second). */
#define CLOCKS_DIFFER 512

#include <stdbool.h>
#include <stdint.h>

#include "handler.h"

/* Empties a slot's ring into the session's sink. False where records stay in it (a session without a sink). */
typedef bool drain_function(struct slot *slot);

struct threads_config {
    uint64_t interval; /* of each thread's CPU time, nanoseconds; 0: ticks are of the clock */
    bool monitored;    /* the monitor says when ticks are due; else a timer of each thread */
    uint64_t ring_bytes;
    drain_function *drain;
};

/* Prepares for a session: no thread is known, all counters are 0. After threads_release. False where there is no
 * memory. */
bool threads_begin(const struct threads_config *config);

/* Whether a thread's name is read when it is admitted (the usual) or only by threads_read_names. Reading one takes a file
 * descriptor of the calling thread for a moment. */
void threads_name_at_once(bool at_once);

/* Reads the names of the threads that are known, which may have been given one meanwhile. Before threads_end. */
void threads_read_names(void);

/* Gives the thread of one thread state, which must stay alive during the call, a slot and a timer. Returns 0 or the
 * negative errno value for which it could not have them. */
int threads_admit(uintptr_t state, struct reader reader);

/* Reads the list once, through `reader`: new threads get slots and timers, and where the reading is sound, those that have
 * ended lose them. False where the list changed meanwhile: what was met counts, what was not may still be there. */
bool threads_scan(struct reader reader);

/* Deletes all timers. Ticks that were sent still arrive. */
void threads_disarm(void);

/* Deletes timers that are left; waits until no handler is in any slot, a second in all. sampler.active must be false.
 * Counters and what is in the rings stay. A slot whose handler has not come out by then is abandoned. */
void threads_end(void);

/* Puts others in the place of slots that were abandoned. After threads_end, and once their counters and those of the
 * session have been read: the others' are 0. What is in the rings stays to be taken, and what a handler does in a slot
 * that was abandoned has no consequence any more. False where there is no memory; threads_begin then tries again. */
bool threads_replace_abandoned(void);

/* Whether a handler was given up in this process. It may yet read through guarded loads: our
 * fault handlers must stay. */
bool threads_stuck(void);

/* Calls `visit` with the slot of each thread that is known. Where it says false the thread has ended, and loses the slot. */
void threads_each_live(bool (*visit)(struct slot *slot, void *context), void *context);

/* Calls `visit` with each slot that may hold records. */
void threads_each(void (*visit)(struct slot *slot, void *context), void *context);

/* Gives the memory of rings back, but for that of handlers that were given up. After threads_end. */
void threads_release(void);

/* In a forked child: what was known of the parent's threads is forgotten; its timers do not exist here. */
void threads_forget(void);

/* Adds all slots' counters, and those of threads and refusals, to *stats. Any thread, at any time. */
void threads_count(struct spprof_stats *stats);

/* The name of a thread by its number in the session, as the kernel knew it, and its id. False where there is none.
 * After threads_end. */
bool threads_name(uint64_t thread, int32_t *tid, char name[16]);

/* The CPU time that the monitor has counted of it, nanoseconds. False where there is no such thread. After threads_end. */
bool threads_time(uint64_t thread, uint64_t *time);

#endif

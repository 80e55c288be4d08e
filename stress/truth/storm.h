/* The storm: ticks for the core's own session, far more often than any timer gives them.
 *
 * A thread may send a signal to another of its own process that looks like a timer's. Each forged tick carries the value
 * that the slot's timer would send, so the handler cannot tell them from the kernel's. */
#ifndef SPPROF_TRUTH_STORM_H
#define SPPROF_TRUTH_STORM_H

#include <stdbool.h>
#include <stdint.h>

/* Begins to send to every live slot of the session; to thread `idle_tid`, which only waits, seldom. */
bool storm_start(int32_t idle_tid);
/* Returns how many ticks were sent. May be called after the session's stop, so that ticks meet that too. */
uint64_t storm_stop(void);

#endif

/* What the synthetic interpreter's threads do: calls down two families of functions, generators that threads hand to
 * each other, leaves whose code lives for one call, calls from C, and C code without the thread state. */
#ifndef SPPROF_WORKLOAD_H
#define SPPROF_WORKLOAD_H

#include <stdint.h>

#include "interpreter.h"

/* Makes the code objects. */
void workload_begin(void);

/* Keeps `threads` threads alive, each for a while and then the next in its place, until workload_end. Returns 0 or an
 * errno value. */
int workload_start(unsigned threads, uint64_t seed);
void workload_end(void);

/* The calling thread's state and root, standing in C code, for who starts sessions. */
struct thread_state *workload_stand(struct entry_frame *entry);
void workload_leave(struct thread_state *thread, struct entry_frame *entry);

/* What was done, for the report. Relaxed counters. */
extern _Atomic uint64_t workload_calls, workload_births;

#endif

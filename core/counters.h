/* Counters of ticks and of their outcomes.
 *
 * The law: ticks == the sum of by_reason, in every snapshot. One writer (the handler on the slot's thread, the observer,
 * or the session before that thread's timer runs) counts a tick first and its outcome when it is known. Writing is
 * async-signal-safe and wait-free. So is reading: it tries again while a tick is being taken, which lasts microseconds,
 * and after a number of tries leaves out the one that stands still.
 */
#ifndef SPPROF_COUNTERS_H
#define SPPROF_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "spprof.h"

struct counters {
    /* The one writer writes, anyone reads. */
    _Atomic uint64_t ticks;
    _Atomic uint64_t by_reason[SPPROF_REASONS];
    _Atomic uint64_t samples;
    _Atomic uint64_t handler_runs;
    _Atomic uint64_t unguarded_ticks;
};

/* A signal of ours begins: a tick that stands for `weight` expirations. */
void counters_begin(struct counters *counters, uint32_t weight);
/* The tick read through the system call, not through guarded loads. Between begin and end. */
void counters_unguarded(struct counters *counters, uint32_t weight);
/* The tick ends with that outcome. */
void counters_end(struct counters *counters, uint32_t weight, enum spprof_reason outcome);

/* `weight` ticks passed without a signal, for a thread that had no timer yet. Before its timer runs. */
void counters_missed(struct counters *counters, uint32_t weight);

/* Adds a consistent snapshot to *stats: a state between two ticks, or where one stands still all but
 * its weight, which is added to ticks_in_progress. (`samples`, `handler_runs` and `unguarded_ticks`
 * may then have counted it already.) Async-signal-safe, wait-free. */
void counters_snapshot(const struct counters *counters, struct spprof_stats *stats);

/* Ticks that belong to no slot: any thread may count one, and its tick is its outcome. */
struct stray_counters {
    _Atomic uint64_t by_reason[SPPROF_REASONS];
};

void counters_stray(struct stray_counters *counters, uint32_t weight, enum spprof_reason outcome);
void counters_stray_snapshot(const struct stray_counters *counters, struct spprof_stats *stats);

#endif

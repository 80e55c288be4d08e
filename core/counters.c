#include "counters.h"

#include "atomics.h"

/* Only the one writer calls these, so a plain read and write lose nothing and cost no locked instruction. */
static void add_ticks(struct counters *counters, uint32_t weight) {
    atomic_write(counter_own, &counters->ticks, atomic_read(counter_own, &counters->ticks) + weight);
}

/* What belongs to a tick: whoever sees it counted sees the tick. */
static void add_to_tick(_Atomic uint64_t *counter, uint64_t amount) {
    atomic_write(counter_outcome, counter, atomic_read(counter_own, counter) + amount);
}

void counters_begin(struct counters *counters, uint32_t weight) {
    add_ticks(counters, weight);
    add_to_tick(&counters->handler_runs, 1);
}

void counters_unguarded(struct counters *counters, uint32_t weight) { add_to_tick(&counters->unguarded_ticks, weight); }

void counters_end(struct counters *counters, uint32_t weight, enum spprof_reason outcome) {
    if (outcome == SPPROF_CAPTURED)
        add_to_tick(&counters->samples, 1);
    add_to_tick(&counters->by_reason[outcome], weight);
}

void counters_missed(struct counters *counters, uint32_t weight) {
    add_ticks(counters, weight);
    add_to_tick(&counters->by_reason[SPPROF_NO_THREAD_STATE], weight);
}

/* A tick lasts microseconds; so many tries last some ten, and one that is being taken on another processor has mostly
 * ended then. */
#ifndef SNAPSHOT_TRIES /* a proof and a fuzz target take a few */
#define SNAPSHOT_TRIES 1000
#endif

struct reading {
    uint64_t outcome[SPPROF_REASONS], sum; /* of the outcomes */
    uint64_t ticks, samples, runs, unguarded;
};

/* Outcomes are read before ticks and a tick is counted before its outcome, so what is read of the outcomes can never
 * exceed the ticks, and where the two are equal no tick began or ended meanwhile: everything read belongs together. */
static void read_once(const struct counters *counters, struct reading *reading) {
    reading->sum = 0;
    for (int i = 0; i < SPPROF_REASONS; i++)
        reading->sum += reading->outcome[i] = atomic_read(counter_snapshot, &counters->by_reason[i]);
    reading->samples = atomic_read(counter_snapshot, &counters->samples);
    reading->runs = atomic_read(counter_snapshot, &counters->handler_runs);
    reading->unguarded = atomic_read(counter_snapshot, &counters->unguarded_ticks);
    reading->ticks = atomic_read(counter_snapshot, &counters->ticks);
}

void counters_snapshot(const struct counters *counters, struct spprof_stats *stats) {
    struct reading reading;
    int tries = 0;
    do
        read_once(counters, &reading);
    while (reading.sum != reading.ticks && ++tries < SNAPSHOT_TRIES);
    for (int i = 0; i < SPPROF_REASONS; i++)
        stats->by_reason[i] += reading.outcome[i];
    stats->ticks += reading.sum;
    stats->ticks_in_progress += reading.ticks - reading.sum;
    stats->samples += reading.samples;
    stats->handler_runs += reading.runs;
    stats->unguarded_ticks += reading.unguarded;
}

void counters_stray(struct stray_counters *counters, uint32_t weight, enum spprof_reason outcome) {
    atomic_add(counter_shared, &counters->by_reason[outcome], weight);
}

void counters_stray_snapshot(const struct stray_counters *counters, struct spprof_stats *stats) {
    for (int i = 0; i < SPPROF_REASONS; i++) {
        uint64_t count = atomic_read(counter_shared, &counters->by_reason[i]);
        stats->by_reason[i] += count;
        stats->ticks += count;
    }
}

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

/* Outcomes are read before ticks and a tick is counted before its outcome, so what is read of the outcomes can never
 * exceed the ticks, and where the two are equal no tick began or ended meanwhile: everything read belongs together. */
void counters_snapshot(const struct counters *counters, struct spprof_stats *stats) {
    uint64_t outcome[SPPROF_REASONS];
    uint64_t sum, ticks, samples, runs, unguarded;
    do {
        sum = 0;
        for (int i = 0; i < SPPROF_REASONS; i++)
            sum += outcome[i] = atomic_read(counter_snapshot, &counters->by_reason[i]);
        samples = atomic_read(counter_snapshot, &counters->samples);
        runs = atomic_read(counter_snapshot, &counters->handler_runs);
        unguarded = atomic_read(counter_snapshot, &counters->unguarded_ticks);
        ticks = atomic_read(counter_snapshot, &counters->ticks);
    } while (sum != ticks);
    for (int i = 0; i < SPPROF_REASONS; i++)
        stats->by_reason[i] += outcome[i];
    stats->ticks += ticks;
    stats->samples += samples;
    stats->handler_runs += runs;
    stats->unguarded_ticks += unguarded;
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

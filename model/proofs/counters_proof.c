/* The counters' law, for one writer and a reader that runs beside it at any point (as the C source orders them: the
 * machine's reordering is the litmus tests'). SEQUENCE: any sequence of calls, then a snapshot. */
#include "counters.c"
#include "proof.h"

static struct counters counters;
static struct spprof_stats stats;

static enum spprof_reason any_reason(void) {
    uint32_t reason = nondet_uint32();
    assume(reason < SPPROF_REASONS);
    return reason;
}

#ifdef SEQUENCE
static uint64_t ticks, samples, runs, unguarded;

static void any_call(void) {
    uint32_t weight = nondet_uint32();
    assume(weight <= 7); /* sums of arbitrary words are what a solver is slow at, and they show nothing more */
    ticks += weight;
    if (nondet_bool()) {
        counters_missed(&counters, weight);
        return;
    }
    runs++;
    counters_begin(&counters, weight);
    if (nondet_bool()) {
        unguarded += weight;
        counters_unguarded(&counters, weight);
    }
    enum spprof_reason outcome = any_reason();
    samples += outcome == SPPROF_CAPTURED;
    counters_end(&counters, weight, outcome);
}

int main(void) {
    for (int i = 0; i < 2; i++)
        if (nondet_bool())
            any_call();
    counters_snapshot(&counters, &stats);
    uint64_t sum = 0;
    for (int i = 0; i < SPPROF_REASONS; i++)
        sum += stats.by_reason[i];
    prove(stats.ticks == sum, "ticks are the sum of the outcomes");
    prove(stats.ticks == ticks && stats.samples == samples, "no tick and no sample is lost");
    prove(stats.ticks_in_progress == 0, "no tick is in progress between two calls");
    prove(stats.unguarded_ticks == unguarded, "unguarded ticks are counted");
    reached(stats.samples == 2);
    reached(stats.ticks == 14);
}
#else
/* The writer's two ticks are cut by the reader at every point. A snapshot is the last of its tries, so one is tried. */
static void write_two_ticks(void) {
    counters_begin(&counters, 1);
    counters_end(&counters, 1, SPPROF_CAPTURED);
    counters_begin(&counters, 1);
    counters_end(&counters, 1, SPPROF_TORN);
}

int main(void) {
__CPROVER_ASYNC_1:
    write_two_ticks();
    counters_snapshot(&counters, &stats);
    uint64_t captured = stats.by_reason[SPPROF_CAPTURED], torn = stats.by_reason[SPPROF_TORN];
    prove(stats.ticks == captured + torn, "ticks are the sum of the outcomes");
    prove(stats.samples == captured || stats.ticks_in_progress != 0, "a sample belongs to its tick");
    prove(stats.ticks + stats.ticks_in_progress <= 2, "no tick is counted that did not begin");
    prove(torn == 0 || captured == 1 || stats.ticks_in_progress != 0, "outcomes are seen in their order");
    reached(stats.ticks == 0);
    reached(stats.ticks == 1);
    reached(stats.ticks == 2);
    reached(stats.ticks_in_progress == 1);
}
#endif

/* Snapshots of counters whose writer goes on at one chosen access of the reader: core/counters.c once
 * more, with a stop at each of its atomic accesses. */
#include "../../fuzz/interleave.h"

#include "counters.c"

enum step { END, BEGIN, BEGIN_AND_END };

static struct {
    struct counters *counters;
    enum step step;
    unsigned left; /* of the reader's accesses before the writer's step; 0: the step has been made */
} plan;

/* The tick that the writer ends or begins, or both. */
#define WEIGHT 5
#define OUTCOME SPPROF_TORN

void interleave(const char *site, bool after) {
    (void)site;
    if (after || plan.left == 0 || --plan.left != 0)
        return;
    if (plan.step != END)
        counters_begin(plan.counters, WEIGHT);
    if (plan.step != BEGIN)
        counters_end(plan.counters, WEIGHT, OUTCOME);
}

/* A snapshot at whose `at`-th access (from 1 on) the writer makes its step. */
void snapshot_beside(struct counters *counters, struct spprof_stats *stats, unsigned at, enum step step) {
    plan.left = 0;
    plan.counters = counters;
    plan.step = step;
    plan.left = at;
    counters_snapshot(counters, stats);
    plan.left = 0;
}

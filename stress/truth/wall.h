/* The observer: one thread that walks all other threads back-to-back, as fast as it can. */
#ifndef SPPROF_TRUTH_WALL_H
#define SPPROF_TRUTH_WALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spprof.h"
#include "tally.h"

struct wall_config {
    const char *walker; /* path of a shared object (walker.h), or NULL for the core's own */
    const void *runtime, *code_type, *thread_state;
    struct tally *tally;
};

struct wall_result {
    uint64_t walks;
    uint64_t by_reason[SPPROF_REASONS];
    uint64_t met[SPPROF_REASONS]; /* by the core's own walker in any attempt, also where a later one captured */
    uint64_t nanoseconds;         /* of the observer's CPU time */
};

/* False: `problem` (of `room` bytes) says what is wrong, and nothing runs. */
bool wall_start(const struct wall_config *config, char *problem, size_t room);
void wall_stop(struct wall_result *result);

struct wall_cost {
    uint64_t ours,
        theirs;     /* nanoseconds of the fastest batch: a look of the core's, and the configured walker's walk */
    uint64_t walks; /* in a batch */
};

/* Walks the calling thread's own stack, which stands still, over and over. `walker` must be given. */
bool wall_compare(const struct wall_config *config, struct wall_cost *cost, char *problem, size_t room);

/* What the tables call the walker. After wall_start. */
const char *wall_walker_name(void);

#endif

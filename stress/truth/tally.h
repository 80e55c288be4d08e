/* How often each distinct stack of each thread was captured. Memory grows with the distinct, not with the captured.
 *
 * Ordinary code; one thread at a time adds. */
#ifndef SPPROF_TALLY_H
#define SPPROF_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "ordinary/calltree.h"

struct tally_row {
    uint64_t count; /* looks */
    uint64_t
        share; /* what stands for time: the ticks of these, or those that began at moments of no stack's choosing */
    int32_t tid;
    int32_t node; /* the innermost frame's, in the tree; CALLTREE_ROOT: no Python frame */
};

struct tally {
    struct budget budget; /* without a limit */
    struct calltree tree;
    struct tally_row *rows;
    int32_t row_count, row_room;
    int32_t *index; /* hash of (tid, node) to row + 1 */
    int32_t index_size;
    struct tally_memo *memo;
    int32_t *last;     /* the row seen last, by thread */
    uint64_t looks;    /* sum of all counts */
    uint64_t captured; /* ticks that they stand for */
    uint64_t moved;    /* of these: another stack than the one seen before on that thread */
    bool out_of_memory;
};

/* NULL where there is no memory. Uses `codes`, which must outlive it. */
struct tally *tally_new(struct codes *codes);
void tally_free(struct tally *tally);

/* A spprof_sample_function: `context` is the tally. */
void tally_add(void *context, const struct spprof_sample *sample);

/* The stack that was added last on that thread stands for so much of its time. */
void tally_share(struct tally *tally, int32_t tid, uint32_t weight);

/* Bytes that the tally itself holds, its codes' names not counted. */
uint64_t tally_bytes(const struct tally *tally);

#endif

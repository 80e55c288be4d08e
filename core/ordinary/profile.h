/* The samples of a session, kept small: each distinct stack once, as a path in a tree.
 *
 * Ordinary code, not reentrant: samples are added by one thread at a time and read after the last was added. */
#ifndef SPPROF_PROFILE_H
#define SPPROF_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "codes.h"
#include "spprof.h"

/* A frame under its caller. */
struct profile_node {
    int32_t parent; /* the caller's node, always a lower number; -1: outermost */
    int32_t code;   /* number in the table of codes */
    uint32_t instruction;
};

struct profile_sample {
    uint64_t time;   /* CLOCK_MONOTONIC, nanoseconds */
    uint32_t thread; /* number in the session */
    int32_t node;    /* the innermost frame; -1: no Python frame */
    uint32_t weight;
    uint32_t flags;
};

/* Samples lie in blocks, so that none is copied when there are more, and a block is all that has to be had at once. */
#define PROFILE_BLOCK 4096

struct profile {
    struct codes *codes;
    struct profile_node *nodes;
    int32_t node_count, node_room;
    struct profile_sample **blocks;
    int64_t sample_count;
    int32_t block_count, block_room;
    int32_t *index; /* hash of (parent, code, instruction) to node + 1 */
    int32_t index_size;
    /* What there was no memory for: samples, and the ticks that they stand for. profile_add writes, any thread reads. */
    _Atomic uint64_t lost_samples, lost_ticks;
};

/* A sample by its number, from 0 on, while profile_give_up_block has not been called for its block. */
static inline struct profile_sample *profile_sample(const struct profile *profile, int64_t number) {
    return &profile->blocks[number / PROFILE_BLOCK][number % PROFILE_BLOCK];
}

/* Gives back the memory of a block, by its number: its samples have been taken elsewhere. After the last profile_add. */
void profile_give_up_block(struct profile *profile, int64_t block);

/* NULL where there is no memory. Uses `codes`, which must outlive it. */
struct profile *profile_new(struct codes *codes);
void profile_free(struct profile *profile);

/* A spprof_sample_function: `context` is the profile. Where there is no memory the sample is counted as lost; a later one, of
 * a stack that is known, may be kept again. */
void profile_add(void *context, const struct spprof_sample *sample);

#endif

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

struct profile {
    struct codes *codes;
    struct profile_node *nodes;
    int32_t node_count, node_room;
    struct profile_sample *samples;
    int64_t sample_count, sample_room;
    int32_t *index; /* hash of (parent, code, instruction) to node + 1 */
    int32_t index_size;
    bool out_of_memory; /* a sample was lost: the profile is not to be shown as if it were whole */
};

/* NULL where there is no memory. Uses `codes`, which must outlive it. */
struct profile *profile_new(struct codes *codes);
void profile_free(struct profile *profile);

/* A spprof_sample_function: `context` is the profile. */
void profile_add(void *context, const struct spprof_sample *sample);

#endif

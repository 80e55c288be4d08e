#include "profile.h"

#include <stdlib.h>

#include "atomics.h"
#include "pages.h"

#define INDEX_FIRST (1 << 12)

struct profile *profile_new(struct codes *codes) {
    struct profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL)
        return NULL;
    profile->codes = codes;
    profile->index_size = INDEX_FIRST;
    profile->index = pages_grow(NULL, 0, (size_t)profile->index_size * sizeof *profile->index);
    if (profile->index == NULL) {
        free(profile);
        return NULL;
    }
    return profile;
}

void profile_free(struct profile *profile) {
    if (profile == NULL)
        return;
    pages_free(profile->nodes, (size_t)profile->node_room * sizeof *profile->nodes);
    for (int32_t block = 0; block < profile->block_count; block++)
        profile_give_up_block(profile, block);
    pages_free(profile->blocks, (size_t)profile->block_room * sizeof *profile->blocks);
    pages_free(profile->index, (size_t)profile->index_size * sizeof *profile->index);
    free(profile);
}

static bool same_node(const struct profile_node *left, const struct profile_node *right) {
    return left->parent == right->parent && left->code == right->code && left->instruction == right->instruction;
}

/* Where `node` stands in the index, or would. */
static int32_t *index_entry(struct profile *profile, const struct profile_node *node) {
    uint64_t hash = (uint64_t)(uint32_t)node->parent << 32 | (uint32_t)node->code;
    hash = (hash ^ node->instruction * UINT64_C(0xff51afd7ed558ccd)) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t mask = (uint32_t)profile->index_size - 1;
    uint32_t at = (uint32_t)(hash >> 32) & mask;
    while (profile->index[at] != 0 && !same_node(&profile->nodes[profile->index[at] - 1], node))
        at = (at + 1) & mask;
    return &profile->index[at];
}

/* Keeps the index at most half full. */
static bool grow_index(struct profile *profile) {
    if (profile->node_count < profile->index_size / 2)
        return true;
    if (profile->index_size > INT32_MAX / 2)
        return false;
    int32_t size = profile->index_size * 2;
    int32_t *index = pages_grow(NULL, 0, (size_t)size * sizeof *index);
    if (index == NULL)
        return false;
    pages_free(profile->index, (size_t)profile->index_size * sizeof *index);
    profile->index = index;
    profile->index_size = size;
    for (int32_t i = 0; i < profile->node_count; i++)
        *index_entry(profile, &profile->nodes[i]) = i + 1;
    return true;
}

static int32_t add_node(struct profile *profile, struct profile_node node) {
    int32_t *entry = index_entry(profile, &node);
    if (*entry != 0)
        return *entry - 1;
    if (!grow_index(profile))
        return -1;
    if (profile->node_count == profile->node_room) {
        int32_t room = profile->node_room ? profile->node_room * 2 : 1024;
        size_t before = (size_t)profile->node_room * sizeof *profile->nodes;
        struct profile_node *nodes = pages_grow(profile->nodes, before, (size_t)room * sizeof *nodes);
        if (nodes == NULL)
            return -1;
        profile->nodes = nodes;
        profile->node_room = room;
    }
    profile->nodes[profile->node_count] = node;
    *index_entry(profile, &node) = ++profile->node_count;
    return profile->node_count - 1;
}

/* The node of the sample's innermost frame. False where there is no memory. */
static bool add_stack(struct profile *profile, const struct spprof_sample *sample, int32_t *node) {
    *node = -1;
    for (uint32_t i = sample->depth; i-- > 0;) {
        const struct spprof_frame *frame = &sample->frames[i];
        int32_t code = codes_identify(profile->codes, frame->code, frame->generation);
        if (code < 0)
            return false;
        *node =
            add_node(profile, (struct profile_node){.parent = *node, .code = code, .instruction = frame->instruction});
        if (*node < 0)
            return false;
    }
    return true;
}

#define BLOCK_BYTES (PROFILE_BLOCK * sizeof(struct profile_sample))

void profile_give_up_block(struct profile *profile, int64_t block) {
    pages_free(profile->blocks[block], BLOCK_BYTES);
    profile->blocks[block] = NULL;
}

static bool add_block(struct profile *profile) {
    if (profile->block_count == profile->block_room) {
        int32_t room = profile->block_room ? profile->block_room * 2 : 512;
        size_t before = (size_t)profile->block_room * sizeof *profile->blocks;
        struct profile_sample **blocks = pages_grow(profile->blocks, before, (size_t)room * sizeof *blocks);
        if (blocks == NULL)
            return false;
        profile->blocks = blocks;
        profile->block_room = room;
    }
    struct profile_sample *block = pages_grow(NULL, 0, BLOCK_BYTES);
    if (block == NULL)
        return false;
    profile->blocks[profile->block_count++] = block;
    return true;
}

static bool add_sample(struct profile *profile, const struct spprof_sample *sample) {
    int32_t node;
    if (!add_stack(profile, sample, &node))
        return false;
    if (profile->sample_count == (int64_t)profile->block_count * PROFILE_BLOCK && !add_block(profile))
        return false;
    *profile_sample(profile, profile->sample_count++) = (struct profile_sample){
        .time = sample->time,
        .thread = (uint32_t)sample->thread,
        .node = node,
        .weight = sample->weight,
        .flags = sample->flags,
    };
    return true;
}

static void count_lost(_Atomic uint64_t *lost, uint64_t more) {
    atomic_write(counter_outcome, lost, atomic_read(counter_own, lost) + more);
}

void profile_add(void *context, const struct spprof_sample *sample) {
    struct profile *profile = context;
    if (add_sample(profile, sample))
        return;
    count_lost(&profile->lost_samples, 1);
    count_lost(&profile->lost_ticks, sample->weight);
}

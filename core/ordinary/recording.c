#include "recording.h"

#include <stdlib.h>

#include "atomics.h"
#include "pages.h"

/* --- blocks ----------------------------------------------------------------------------------- */

static uint32_t most_blocks(uint64_t most) {
    uint64_t wanted = most / RECORDING_BLOCK_BYTES + 1, possible = UINT32_MAX / RECORDING_BLOCK;
    return (uint32_t)(wanted < possible ? wanted : possible);
}

static void give_up_block(struct recording *recording, uint32_t block) {
    budget_give(&recording->budget, recording->blocks[block], RECORDING_BLOCK_BYTES);
    recording->blocks[block] = NULL;
}

/* The next record; NULL: no memory. */
static struct recorded *append(struct recording *recording) {
    uint32_t block = recording->count / RECORDING_BLOCK;
    if (block == recording->block_room)
        return NULL;
    if (recording->blocks[block] == NULL)
        recording->blocks[block] = budget_take(&recording->budget, RECORDING_BLOCK_BYTES);
    if (recording->blocks[block] == NULL)
        return NULL;
    return recording_at(recording, recording->count++);
}

static size_t marks_bytes(const struct recording *recording) {
    return (size_t)recording->block_room * RECORDING_BLOCK / 8;
}

bool recording_mark_changes(struct recording *recording) {
    recording->changed = budget_take(&recording->budget, marks_bytes(recording));
    return recording->changed != NULL;
}

struct recording *recording_new(struct codes *codes, const struct recording_config *config) {
    struct recording *recording = calloc(1, sizeof *recording);
    if (recording == NULL)
        return NULL;
    recording->config = *config;
    recording->budget = (struct budget){.codes = codes, .most = config->most};
    recording->block_room = most_blocks(config->most);
    recording->blocks = pages_grow(NULL, 0, recording->block_room * sizeof *recording->blocks);
    atomic_write(counter_outcome, &recording->form, config->form);
    if (recording->blocks == NULL || !calltree_begin(&recording->tree, &recording->budget) ||
        !index_begin(&recording->index, &recording->budget)) {
        recording_free(recording);
        return NULL;
    }
    if (config->form == RECORDING_TIMELINE)
        budget_limit(&recording->budget, config->most - config->most / 4); /* the rest is for become_counts */
    return recording;
}

void recording_free(struct recording *recording) {
    if (recording == NULL)
        return;
    for (uint32_t block = 0; recording->blocks != NULL && block <= recording->count / RECORDING_BLOCK; block++)
        if (block < recording->block_room)
            give_up_block(recording, block);
    pages_free(recording->blocks, recording->block_room * sizeof *recording->blocks);
    budget_give(&recording->budget, recording->changed, marks_bytes(recording));
    index_end(&recording->index, &recording->budget);
    calltree_end(&recording->tree);
    free(recording);
}

/* --- one of what is the same ------------------------------------------------------------------ */

static bool is_same(const void *owner, uint32_t number, const void *wanted) {
    const struct recorded *record = recording_at(owner, number), *other = wanted;
    return record->thread == other->thread && record->node == other->node && record->flags == other->flags &&
           record->weight <= UINT32_MAX - other->weight;
}

static uint64_t hash_record(const struct recorded *record) {
    return index_mix((uint64_t)record->thread << 32 | (uint32_t)record->node, record->flags);
}

static uint64_t hash_of(const void *owner, uint32_t number) { return hash_record(recording_at(owner, number)); }

static void fold(struct recording *recording, uint32_t number, const struct recorded *more) {
    struct recorded *record = recording_at(recording, number);
    record->weight += more->weight;
    record->last = more->last;
    if (recording->changed != NULL)
        recording->changed[number / 64] |= UINT64_C(1) << number % 64;
}

/* --- a timeline ------------------------------------------------------------------------------- */

static bool goes_on(const struct recording *recording, uint32_t number, const struct recorded *next) {
    return is_same(recording, number, next) &&
           (uint64_t)(next->first - recording_at(recording, number)->last) <= recording->config.apart;
}

static bool add_to_timeline(struct recording *recording, const struct recorded *next) {
    uint32_t *recent = &recording->recent[next->thread % RECORDING_RECENT];
    if (*recent != 0 && goes_on(recording, *recent - 1, next)) {
        fold(recording, *recent - 1, next);
        return true;
    }
    struct recorded *record = append(recording);
    if (record == NULL)
        return false;
    *record = *next;
    *recent = recording->count;
    return true;
}

/* --- counts ----------------------------------------------------------------------------------- */

static uint32_t *counted_place(struct recording *recording, const struct recorded *record) {
    return index_find(&recording->index, hash_record(record), is_same, recording, record);
}

static bool add_to_counts(struct recording *recording, const struct recorded *next) {
    uint32_t *place = counted_place(recording, next);
    if (*place != 0) {
        fold(recording, *place - 1, next);
        return true;
    }
    if (!index_grow(&recording->index, &recording->budget, hash_of, recording))
        return false;
    struct recorded *record = append(recording);
    if (record == NULL)
        return false;
    *record = *next;
    index_put(&recording->index, hash_record(next), recording->count - 1);
    recording->index.count++;
    return true;
}

/* A block whose records have been read: it is the next to be written to where there is none yet. Between two calls of this
 * at most one block is filled. */
static void reuse_block(struct recording *recording, uint32_t block) {
    uint32_t next = recording->count / RECORDING_BLOCK + 1;
    if (block <= next)
        return;
    if (recording->blocks[next] != NULL) {
        give_up_block(recording, block);
        return;
    }
    recording->blocks[next] = recording->blocks[block];
    recording->blocks[block] = NULL;
}

/* A timeline's records become counts where they lie. What there is no room for in the index stays as it is. */
static void fold_all(struct recording *recording) {
    uint32_t before = recording->count;
    recording->count = 0;
    for (uint32_t i = 0; i < before; i++) {
        const struct recorded record = *recording_at(recording, i);
        if (!add_to_counts(recording, &record))
            *recording_at(recording, recording->count++) = record;
        if ((i + 1) % RECORDING_BLOCK == 0)
            reuse_block(recording, i / RECORDING_BLOCK);
    }
    uint32_t after = (recording->count + RECORDING_BLOCK - 1) / RECORDING_BLOCK;
    for (uint32_t block = after; block <= before / RECORDING_BLOCK && block < recording->block_room; block++)
        give_up_block(recording, block);
}

static bool become_counts(struct recording *recording) {
    if (atomic_read(counter_own, &recording->form) == RECORDING_COUNTS)
        return false;
    budget_limit(&recording->budget, recording->config.most);
    atomic_write(counter_outcome, &recording->form, RECORDING_COUNTS);
    fold_all(recording);
    return true;
}

/* --- samples ---------------------------------------------------------------------------------- */

static bool add_record(struct recording *recording, const struct recorded *next) {
    if (atomic_read(counter_own, &recording->form) == RECORDING_TIMELINE)
        return add_to_timeline(recording, next);
    return add_to_counts(recording, next);
}

static bool add_sample(struct recording *recording, const struct spprof_sample *sample) {
    int32_t node = calltree_add(&recording->tree, sample);
    int64_t time = (int64_t)(sample->time - recording->config.started);
    struct recorded next = {.first = time,
                            .last = time,
                            .thread = (uint32_t)sample->thread,
                            .node = node,
                            .weight = sample->weight,
                            .flags = sample->flags & RECORDED_FLAGS};
    return node != CALLTREE_NO_MEMORY && add_record(recording, &next);
}

static void count_lost(_Atomic uint64_t *lost, uint64_t more) {
    atomic_write(counter_outcome, lost, atomic_read(counter_own, lost) + more);
}

void recording_add(void *context, const struct spprof_sample *sample) {
    struct recording *recording = context;
    if (add_sample(recording, sample) || (become_counts(recording) && add_sample(recording, sample)))
        return;
    count_lost(&recording->lost_samples, 1);
    count_lost(&recording->lost_ticks, sample->weight);
}

#include "tally.h"

#include <stdlib.h>

#include "atomics.h"

/* Stacks seen lately, by a hash of all that was captured of them: most stacks are seen again at once, and then need not
 * be taken apart. Two stacks with one 64-bit hash would be counted as one; among a million that is one chance in 10^7. */
#define MEMO_SIZE (1 << 15)

struct tally_memo {
    uint64_t hash;
    int32_t row; /* + 1; 0: empty */
};

#define INDEX_FIRST (1 << 12)

/* Threads whose last stack is kept. Two with one place make some stacks count as moved that did not. */
#define LAST_SIZE 4096

struct tally *tally_new(struct codes *codes) {
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return NULL;
    tally->budget = (struct budget){.codes = codes, .most = UINT64_MAX};
    bool has_tree = calltree_begin(&tally->tree, &tally->budget);
    tally->index_size = INDEX_FIRST;
    tally->index = calloc(INDEX_FIRST, sizeof *tally->index);
    tally->memo = calloc(MEMO_SIZE, sizeof *tally->memo);
    tally->last = calloc(LAST_SIZE, sizeof *tally->last);
    if (has_tree && tally->index != NULL && tally->memo != NULL && tally->last != NULL)
        return tally;
    tally_free(tally);
    return NULL;
}

void tally_free(struct tally *tally) {
    if (tally == NULL)
        return;
    calltree_end(&tally->tree);
    free(tally->rows);
    free(tally->index);
    free(tally->memo);
    free(tally->last);
    free(tally);
}

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_sample(const struct spprof_sample *sample) {
    uint64_t hash = mix(UINT64_C(0xff51afd7ed558ccd), (uint64_t)(uint32_t)sample->tid << 32 | sample->depth);
    if (sample->depth != 0)
        hash = mix(hash, sample->frames[0].generation);
    for (uint32_t i = 0; i < sample->depth; i++)
        hash = mix(mix(hash, sample->frames[i].code), sample->frames[i].instruction);
    return hash ^ hash >> 32;
}

static int32_t *index_entry(struct tally *tally, int32_t tid, int32_t node) {
    uint32_t mask = (uint32_t)tally->index_size - 1;
    uint32_t at = (uint32_t)(mix((uint32_t)node, (uint32_t)tid) >> 32) & mask;
    for (; tally->index[at] != 0; at = (at + 1) & mask) {
        const struct tally_row *row = &tally->rows[tally->index[at] - 1];
        if (row->tid == tid && row->node == node)
            break;
    }
    return &tally->index[at];
}

/* Keeps the index at most half full. */
static bool grow_index(struct tally *tally) {
    if (tally->row_count < tally->index_size / 2)
        return true;
    int32_t *index = calloc((size_t)tally->index_size * 2, sizeof *index);
    if (index == NULL)
        return false;
    free(tally->index);
    tally->index = index;
    tally->index_size *= 2;
    for (int32_t i = 0; i < tally->row_count; i++)
        *index_entry(tally, tally->rows[i].tid, tally->rows[i].node) = i + 1;
    return true;
}

static bool grow_rows(struct tally *tally) {
    if (tally->row_count < tally->row_room)
        return true;
    int32_t room = tally->row_room ? tally->row_room * 2 : 1024;
    struct tally_row *rows = realloc(tally->rows, (size_t)room * sizeof *rows);
    if (rows == NULL)
        return false;
    tally->rows = rows;
    tally->row_room = room;
    return true;
}

/* The row's number + 1; 0 where there is no memory. */
static int32_t find_row(struct tally *tally, int32_t tid, int32_t node) {
    if (!grow_index(tally) || !grow_rows(tally))
        return 0;
    int32_t *entry = index_entry(tally, tid, node);
    if (*entry == 0) {
        tally->rows[tally->row_count] = (struct tally_row){.tid = tid, .node = node};
        *entry = ++tally->row_count;
    }
    return *entry;
}

static int32_t intern(struct tally *tally, const struct spprof_sample *sample) {
    int32_t node = calltree_add(&tally->tree, sample);
    return node == CALLTREE_NO_MEMORY ? 0 : find_row(tally, sample->tid, node);
}

void tally_add(void *context, const struct spprof_sample *sample) {
    struct tally *tally = context;
    uint64_t hash = hash_sample(sample);
    struct tally_memo *memo = &tally->memo[hash % MEMO_SIZE];
    if (memo->hash != hash || memo->row == 0)
        *memo = (struct tally_memo){.hash = hash, .row = intern(tally, sample)};
    if (memo->row == 0) {
        tally->out_of_memory = true;
        return;
    }
    tally->rows[memo->row - 1].count++;
    tally->looks++;
    tally->captured += sample->weight;
    int32_t *last = &tally->last[(uint32_t)sample->tid % LAST_SIZE];
    tally->moved += *last != memo->row;
    *last = memo->row;
}

void tally_share(struct tally *tally, int32_t tid, uint32_t weight) {
    int32_t row = tally->last[(uint32_t)tid % LAST_SIZE];
    if (row != 0)
        tally->rows[row - 1].share += weight;
}

uint64_t tally_bytes(const struct tally *tally) {
    return atomic_read(counter_own, &tally->budget.used) + (uint64_t)tally->row_room * sizeof *tally->rows +
           (uint64_t)tally->index_size * sizeof *tally->index;
}

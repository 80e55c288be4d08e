/* A table from a hash to a number: of the nodes of a tree, of the records of a recording. What the numbers mean, and when two
 * are the same, the caller says.
 *
 * Ordinary code, one thread at a time. Its functions are inline, so that the caller's are too. */
#ifndef SPPROF_INDEX_H
#define SPPROF_INDEX_H

#include "budget.h"

#define INDEX_FIRST (1 << 12)

struct index {
    uint32_t *places; /* a number + 1; 0: none */
    uint64_t size;    /* a power of two */
    uint64_t count;   /* at most three quarters of that, so that a search ends soon */
};

/* Whether `number` is what the search is for; the hash of one that is there. */
typedef bool index_same(const void *owner, uint32_t number, const void *wanted);
typedef uint64_t index_hash(const void *owner, uint32_t number);

static inline uint64_t index_mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static inline bool index_begin(struct index *index, struct budget *budget) {
    *index = (struct index){.size = INDEX_FIRST};
    index->places = budget_take(budget, INDEX_FIRST * sizeof *index->places);
    return index->places != NULL;
}

static inline void index_end(struct index *index, struct budget *budget) {
    budget_give(budget, index->places, index->size * sizeof *index->places);
    *index = (struct index){0};
}

/* The place of what is wanted: 0 is written there where it is not in the table. */
static inline uint32_t *index_find(const struct index *index, uint64_t hash, index_same *same, const void *owner,
                                   const void *wanted) {
    uint64_t at = hash >> 32 & (index->size - 1);
    while (index->places[at] != 0 && !same(owner, index->places[at] - 1, wanted))
        at = (at + 1) & (index->size - 1);
    return &index->places[at];
}

static inline void index_put(struct index *index, uint64_t hash, uint32_t number) {
    uint64_t at = hash >> 32 & (index->size - 1);
    while (index->places[at] != 0)
        at = (at + 1) & (index->size - 1);
    index->places[at] = number + 1;
}

/* Makes room for one more. A place that was found before is none any more. False: no memory. */
static inline bool index_grow(struct index *index, struct budget *budget, index_hash *hash, const void *owner) {
    if (index->count < index->size / 4 * 3)
        return true;
    struct index grown = {.size = index->size * 2, .count = index->count};
    grown.places = budget_take(budget, grown.size * sizeof *grown.places);
    if (grown.places == NULL)
        return false;
    for (uint64_t at = 0; at < index->size; at++)
        if (index->places[at] != 0)
            index_put(&grown, hash(owner, index->places[at] - 1), index->places[at] - 1);
    index_end(index, budget);
    *index = grown;
    return true;
}

#endif

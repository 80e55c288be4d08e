#include "lives.h"

#include <stdlib.h>

/* For how long a thread may be found after it took its name back. The kernel gives ids in turn,
 * so it cannot come to the same one again within this time. Nanoseconds. */
#define MOMENT UINT64_C(100000000)

bool lives_add(struct lives *lives, struct life life) {
    if (lives->count == lives->room) {
        size_t room = lives->room != 0 ? 2 * lives->room : 64;
        struct life *grown = realloc(lives->of, room * sizeof *grown);
        if (grown == NULL) {
            free(life.name.bytes);
            return false;
        }
        lives->of = grown;
        lives->room = room;
    }
    lives->of[lives->count++] = life;
    return true;
}

void lives_free(struct lives *lives) {
    for (size_t i = 0; i < lives->count; i++)
        free(lives->of[i].name.bytes);
    free(lives->of);
    *lives = (struct lives){0};
}

static bool is_over(const struct life *life, uint64_t time) {
    return life->ended != LIFE_GOES_ON && time > life->ended + MOMENT;
}

/* Whether it may be the one that ran between the two times. */
static bool may_be(const struct life *life, uint64_t after, uint64_t before) {
    return life->born <= before && !is_over(life, after);
}

/* --- pruning ---------------------------------------------------------------------------------- */

struct finding {
    int32_t tid;
    uint64_t after, before;
};

static int compare_findings(const void *left, const void *right) {
    const struct finding *a = left, *b = right;
    return (a->tid > b->tid) - (a->tid < b->tid);
}

/* All that was found, by id, malloc'ed; NULL where there is nothing or no memory. */
static struct finding *collect(lives_found_function *found, size_t *count) {
    struct finding *all = NULL, next;
    size_t room = 0;
    for (*count = 0; found(*count, &next.tid, &next.after, &next.before); ++*count) {
        if (*count == room) {
            room = room != 0 ? 2 * room : 256;
            struct finding *grown = realloc(all, room * sizeof *grown);
            if (grown == NULL) {
                free(all);
                return NULL;
            }
            all = grown;
        }
        all[*count] = next;
    }
    if (all != NULL)
        qsort(all, *count, sizeof *all, compare_findings);
    return all;
}

static bool was_found(const struct life *life, const struct finding *all, size_t count) {
    size_t low = 0, high = count; /* the first of that id */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (all[middle].tid < life->tid)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && all[low].tid == life->tid; low++)
        if (may_be(life, all[low].after, all[low].before))
            return true;
    return false;
}

void lives_prune(struct lives *lives, uint64_t now, lives_found_function *found) {
    size_t count, kept = 0;
    struct finding *all = collect(found, &count);
    if (all == NULL && count != 0)
        return;
    for (size_t i = 0; i < lives->count; i++) {
        if (!is_over(&lives->of[i], now) || was_found(&lives->of[i], all, count))
            lives->of[kept++] = lives->of[i];
        else
            free(lives->of[i].name.bytes);
    }
    lives->count = kept;
    free(all);
}

/* --- finding ---------------------------------------------------------------------------------- */

static int compare_lives(const void *left, const void *right) {
    const struct life *a = left, *b = right;
    return a->tid != b->tid ? (a->tid > b->tid) - (a->tid < b->tid) : (a->ended > b->ended) - (a->ended < b->ended);
}

void lives_sort(struct lives *lives) {
    if (lives->count != 0)
        qsort(lives->of, lives->count, sizeof *lives->of, compare_lives);
}

const struct life *lives_find(const struct lives *lives, int32_t tid, uint64_t after, uint64_t before) {
    size_t low = 0, high = lives->count; /* the first of a higher id */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lives->of[middle].tid <= tid)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low > 0 && lives->of[low - 1].tid == tid; low--)
        if (may_be(&lives->of[low - 1], after, before))
            return &lives->of[low - 1];
    return NULL;
}

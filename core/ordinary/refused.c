#include "refused.h"

#include <string.h>

/* Hash table with open addressing: at most half full. */
#define ENTRIES (2 * REFUSED_MAX)

struct refused_thread {
    uintptr_t thread_id;
    int32_t tid; /* 0: no thread */
};

struct set {
    struct refused_thread threads[ENTRIES];
    uint32_t count;
};

/* One of them holds the threads of the present reading, the other those of the readings before it.
 * Nothing is ever taken out of a set: it is made anew. */
static struct set sets[2];
static int present;

static struct refused_thread *place_of(struct set *set, const struct refused_thread *thread) {
    uint32_t at = ((uint32_t)thread->tid * 2654435761u ^ (uint32_t)(thread->thread_id >> 6)) % ENTRIES;
    struct refused_thread *place = &set->threads[at];
    while (place->tid != 0 && (place->tid != thread->tid || place->thread_id != thread->thread_id))
        place = &set->threads[at = (at + 1) % ENTRIES];
    return place;
}

static bool holds(struct set *set, const struct refused_thread *thread) { return place_of(set, thread)->tid != 0; }

/* False where it was there already, or there is no room. */
static bool insert(struct set *set, const struct refused_thread *thread) {
    struct refused_thread *place = place_of(set, thread);
    if (place->tid != 0 || set->count == REFUSED_MAX)
        return false;
    *place = *thread;
    set->count++;
    return true;
}

static void clear(struct set *set) {
    if (set->count != 0) /* else its pages are left untouched */
        memset(set, 0, sizeof *set);
}

bool refused_add(int32_t tid, uintptr_t thread_id) {
    const struct refused_thread thread = {.thread_id = thread_id, .tid = tid};
    return insert(&sets[present], &thread) && !holds(&sets[!present], &thread);
}

void refused_reading_over(bool sound) {
    struct set *earlier = &sets[!present];
    for (uint32_t i = 0; !sound && earlier->count != 0 && i < ENTRIES; i++)
        if (earlier->threads[i].tid != 0)
            insert(&sets[present], &earlier->threads[i]);
    clear(earlier);
    present = !present;
}

void refused_forget(void) {
    clear(&sets[0]);
    clear(&sets[1]);
    present = 0;
}

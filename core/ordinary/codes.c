#include "codes.h"

#include <pthread.h>
#include <stdlib.h>

#include "pages.h"

#define NONE (-1)
#define ALIVE UINT64_MAX
#define FIRST_ROOM 256

/* The lives of one address are a list, newest first, so by falling `died`: an object begins its life there after the one
 * before it has died. Its newest stands for the address in the bucket. NONE is the end of each list. */
struct entry {
    uint64_t code;
    uint64_t died; /* the generation of its death, or ALIVE */
    int32_t newer, older;
    int32_t next; /* address in the bucket; of those that are free: next one of them */
    bool used;    /* a sample means it */
    bool named;
    int32_t noted; /* its place in the list of codes_note, from 1 on; 0: it has none */
    struct code_names names;
};

struct codes {
    pthread_mutex_t lock;
    struct entry *entries;
    int32_t count, room;
    int32_t free; /* first of the list of entries to use again: they were never given out as a number */
    int32_t *buckets;
    int32_t bucket_count; /* a power of two */
    int32_t *waiting;     /* entries that died unused, oldest first: samples may still turn up */
    int32_t waiting_count, waiting_room;
    uint64_t name_bytes; /* of all names */
    uint64_t most;       /* bytes: codes_limit */
    uint64_t
        forgotten; /* the last death that there was no memory to remember: nothing is known of whoever died until then */
};

/* Doubles an array of `size`-byte elements where it is full. */
static bool make_room(void **array, int32_t count, int32_t *room, size_t size) {
    if (count < *room)
        return true;
    int32_t wanted = *room ? *room * 2 : FIRST_ROOM;
    void *grown = wanted > 0 ? pages_grow(*array, (size_t)*room * size, (size_t)wanted * size) : NULL;
    if (grown == NULL)
        return false;
    *array = grown;
    *room = wanted;
    return true;
}

/* The link to the newest life of an address, or the bucket's last, which is NONE. */
static int32_t *newest_of(struct codes *codes, uint64_t code) {
    uint64_t hash = (code >> 4) * UINT64_C(0x9e3779b97f4a7c15);
    int32_t *link = &codes->buckets[hash >> 32 & (uint64_t)(codes->bucket_count - 1)];
    while (*link != NONE && codes->entries[*link].code != code)
        link = &codes->entries[*link].next;
    return link;
}

static void link_newest(struct codes *codes, int32_t number) {
    struct entry *entry = &codes->entries[number];
    int32_t *link = newest_of(codes, entry->code), former = *link;
    entry->newer = NONE;
    entry->older = former;
    entry->next = former != NONE ? codes->entries[former].next : NONE;
    if (former != NONE)
        codes->entries[former].newer = number;
    *link = number;
}

/* The next older takes the place of one that stands for its address. */
static void unlink_life(struct codes *codes, int32_t number) {
    const struct entry *entry = &codes->entries[number];
    if (entry->older != NONE)
        codes->entries[entry->older].newer = entry->newer;
    if (entry->newer != NONE) {
        codes->entries[entry->newer].older = entry->older;
        return;
    }
    if (entry->older != NONE)
        codes->entries[entry->older].next = entry->next;
    *newest_of(codes, entry->code) = entry->older != NONE ? entry->older : entry->next;
}

struct codes *codes_new(void) {
    struct codes *codes = calloc(1, sizeof *codes);
    if (codes == NULL)
        return NULL;
    codes->bucket_count = 4096;
    codes->buckets = pages_grow(NULL, 0, (size_t)codes->bucket_count * sizeof *codes->buckets);
    if (codes->buckets == NULL) {
        free(codes);
        return NULL;
    }
    for (int32_t i = 0; i < codes->bucket_count; i++)
        codes->buckets[i] = NONE;
    codes->free = NONE;
    codes->most = UINT64_MAX;
    pthread_mutex_init(&codes->lock, NULL);
    return codes;
}

void code_names_free(struct code_names *names) {
    free(names->qualname.bytes);
    free(names->filename.bytes);
    free(names->linetable.bytes);
    *names = (struct code_names){0};
}

void codes_free(struct codes *codes) {
    if (codes == NULL)
        return;
    for (int32_t i = 0; i < codes->count; i++)
        code_names_free(&codes->entries[i].names);
    pages_free(codes->entries, (size_t)codes->room * sizeof *codes->entries);
    pages_free(codes->buckets, (size_t)codes->bucket_count * sizeof *codes->buckets);
    pages_free(codes->waiting, (size_t)codes->waiting_room * sizeof *codes->waiting);
    pthread_mutex_destroy(&codes->lock);
    free(codes);
}

/* The table of buckets grows with the entries; where it cannot, lookups get slower and stay right. */
static void grow_buckets(struct codes *codes) {
    if (codes->count < codes->bucket_count || codes->bucket_count > INT32_MAX / 2)
        return;
    int32_t count = codes->bucket_count * 2;
    int32_t *buckets = pages_grow(NULL, 0, (size_t)count * sizeof *buckets);
    if (buckets == NULL)
        return;
    pages_free(codes->buckets, (size_t)codes->bucket_count * sizeof *buckets);
    codes->buckets = buckets;
    codes->bucket_count = count;
    for (int32_t i = 0; i < count; i++)
        buckets[i] = NONE;
    /* Free entries are on a list of their own, and have no code. */
    for (int32_t i = 0; i < codes->count; i++) {
        struct entry *entry = &codes->entries[i];
        if (entry->code == 0 || entry->newer != NONE)
            continue;
        entry->next = NONE;
        *newest_of(codes, entry->code) = i;
    }
}

static int32_t new_entry(struct codes *codes, uint64_t code) {
    int32_t number = codes->free;
    if (number != NONE) {
        codes->free = codes->entries[number].next;
    } else {
        if (!make_room((void **)&codes->entries, codes->count, &codes->room, sizeof *codes->entries))
            return NONE;
        grow_buckets(codes);
        number = codes->count++;
    }
    codes->entries[number] = (struct entry){.code = code, .died = ALIVE};
    link_newest(codes, number);
    return number;
}

/* The entry of the object that was at `code` at `generation`: of those that died later, the first to die; else the one
 * that is alive. It takes a step for each death there since. */
static int32_t find(struct codes *codes, uint64_t code, uint64_t generation) {
    int32_t found = NONE;
    for (int32_t i = *newest_of(codes, code); i != NONE && codes->entries[i].died > generation;)
        i = codes->entries[found = i].older;
    return found;
}

static uint64_t bytes_of(const struct code_names *names) {
    return names->qualname.length + names->filename.length + names->linetable.length;
}

/* With the lock held, as all without `codes_` in their names. */
static uint64_t bytes_held(const struct codes *codes) {
    return (uint64_t)codes->room * sizeof *codes->entries + (uint64_t)codes->bucket_count * sizeof *codes->buckets +
           (uint64_t)codes->waiting_room * sizeof *codes->waiting + codes->name_bytes;
}

uint64_t codes_bytes(struct codes *codes) {
    pthread_mutex_lock(&codes->lock);
    uint64_t bytes = bytes_held(codes);
    pthread_mutex_unlock(&codes->lock);
    return bytes;
}

void codes_limit(struct codes *codes, uint64_t most) {
    pthread_mutex_lock(&codes->lock);
    codes->most = most;
    pthread_mutex_unlock(&codes->lock);
}

void codes_hold(struct codes *codes) { pthread_mutex_lock(&codes->lock); }

void codes_let_go(struct codes *codes) { pthread_mutex_unlock(&codes->lock); }

/* It lived then: it died later, and whoever was there before it did not. */
bool codes_is(const struct codes *codes, int32_t number, uint64_t code, uint64_t generation) {
    const struct entry *entry = &codes->entries[number];
    return entry->code == code && entry->died > generation &&
           (entry->older == NONE || codes->entries[entry->older].died <= generation);
}

/* Bytes that a new entry takes. */
static uint64_t growth(const struct codes *codes) {
    if (codes->free != NONE || codes->count < codes->room)
        return 0;
    uint64_t entries = codes->room != 0 ? (uint64_t)codes->room : FIRST_ROOM;
    return entries * sizeof *codes->entries + (uint64_t)codes->bucket_count * sizeof *codes->buckets;
}

int32_t codes_identify(struct codes *codes, uint64_t code, uint64_t generation) {
    pthread_mutex_lock(&codes->lock);
    int32_t number = find(codes, code, generation);
    bool may_be_forgotten = generation < codes->forgotten; /* else whoever is there next would have its number */
    if (number == NONE && !may_be_forgotten && bytes_held(codes) + growth(codes) <= codes->most)
        number = new_entry(codes, code);
    if (number != NONE)
        codes->entries[number].used = true;
    pthread_mutex_unlock(&codes->lock);
    return number;
}

static void take_names(struct codes *codes, struct entry *entry, const void *code,
                       bool (*names)(const void *code, struct code_names *names)) {
    entry->named = names(code, &entry->names);
    if (entry->named)
        codes->name_bytes += bytes_of(&entry->names);
}

static bool bury(struct codes *codes, const void *code, const struct codes_death *death) {
    int32_t number = find(codes, (uint64_t)(uintptr_t)code, ALIVE - 1);
    if (number == NONE)
        number = new_entry(codes, (uint64_t)(uintptr_t)code);
    uint64_t died = death->die(code); /* also where there is no memory: samples must still tell the two apart */
    if (number == NONE) {
        codes->forgotten = died;
        return false;
    }
    struct entry *entry = &codes->entries[number];
    entry->died = died;
    if (!entry->named) /* codes_name_living may have been first */
        take_names(codes, entry, code, death->names);
    if (entry->used)
        return entry->named;
    if (!make_room((void **)&codes->waiting, codes->waiting_count, &codes->waiting_room, sizeof *codes->waiting))
        return entry->used = true; /* cannot be found again to be forgotten: kept as if it were meant */
    codes->waiting[codes->waiting_count++] = number;
    return entry->named;
}

bool codes_died(struct codes *codes, const void *code, const struct codes_death *death) {
    pthread_mutex_lock(&codes->lock);
    bool remembered = bury(codes, code, death);
    pthread_mutex_unlock(&codes->lock);
    return remembered;
}

static void forget(struct codes *codes, int32_t number) {
    struct entry *entry = &codes->entries[number];
    unlink_life(codes, number);
    codes->name_bytes -= bytes_of(&entry->names);
    code_names_free(&entry->names);
    *entry = (struct entry){.next = codes->free};
    codes->free = number;
}

void codes_caught_up(struct codes *codes, uint64_t generation) {
    pthread_mutex_lock(&codes->lock);
    int32_t kept = 0;
    for (int32_t i = 0; i < codes->waiting_count; i++) {
        int32_t number = codes->waiting[i];
        if (codes->entries[number].used)
            continue;
        if (codes->entries[number].died <= generation)
            forget(codes, number);
        else
            codes->waiting[kept++] = number;
    }
    codes->waiting_count = kept;
    pthread_mutex_unlock(&codes->lock);
}

void codes_name_living(struct codes *codes, bool (*names)(const void *code, struct code_names *names)) {
    pthread_mutex_lock(&codes->lock);
    for (int32_t i = 0; i < codes->count; i++) {
        struct entry *entry = &codes->entries[i];
        if (entry->code != 0 && entry->died == ALIVE && !entry->named)
            take_names(codes, entry, (const void *)(uintptr_t)entry->code, names);
    }
    pthread_mutex_unlock(&codes->lock);
}

struct codes_note codes_note(struct codes *codes, int32_t number, int32_t next,
                             bool (*names)(const void *code, struct code_names *names)) {
    pthread_mutex_lock(&codes->lock);
    struct entry *entry = &codes->entries[number];
    if (entry->noted == 0)
        entry->noted = next + 1;
    if (entry->died == ALIVE && !entry->named)
        take_names(codes, entry, (const void *)(uintptr_t)entry->code, names);
    struct codes_note note = {.place = entry->noted - 1, .named = entry->named, .names = entry->names};
    pthread_mutex_unlock(&codes->lock);
    return note;
}

int32_t codes_count(struct codes *codes) {
    pthread_mutex_lock(&codes->lock);
    int32_t count = codes->count;
    pthread_mutex_unlock(&codes->lock);
    return count;
}

const struct code_names *codes_get(struct codes *codes, int32_t number) {
    pthread_mutex_lock(&codes->lock);
    const struct entry *entry = &codes->entries[number];
    const struct code_names *names = entry->named ? &entry->names : NULL;
    pthread_mutex_unlock(&codes->lock);
    return names;
}

/* Threads by the lives of their kernel ids: who had an id at a moment, and what it was called.
 *
 * The kernel uses ids again, so a name belongs to one life of an id. A session finds a thread while
 * it lives (spprof_thread_found): whose life that is, has the name.
 *
 * Ordinary code, not reentrant: the caller serialises. */
#ifndef SPPROF_LIVES_H
#define SPPROF_LIVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codes.h"

#define LIFE_GOES_ON UINT64_MAX

/* One thread, from its start to the moment that it took its name back, a moment before its end. */
struct life {
    int32_t tid;
    uint64_t born;  /* CLOCK_MONOTONIC, nanoseconds; 0: before anything else */
    uint64_t ended; /* the same; LIFE_GOES_ON: not yet */
    struct text name;
    void *thread; /* the keeper's own */
};

/* Zeroes are an empty one. */
struct lives {
    struct life *of;
    size_t count, room;
};

/* Adds a life, and takes its name over. False: no memory, and the name was freed. */
bool lives_add(struct lives *lives, struct life life);

/* A thread that was found, by its number from 0 on: its id, and times between which it ran.
 * False: no more. */
typedef bool lives_found_function(uint64_t number, int32_t *tid, uint64_t *after, uint64_t *before);

/* Drops, a moment after its end, the life of every thread that was not found, and now never will
 * be. Without memory none is dropped. */
void lives_prune(struct lives *lives, uint64_t now, lives_found_function *found);

/* For lives_find, after the last was added. */
void lives_sort(struct lives *lives);

/* The life of the thread with that id that ran between two times; the last of several, where one
 * thread told several names. NULL: nobody told it. */
const struct life *lives_find(const struct lives *lives, int32_t tid, uint64_t after, uint64_t before);

void lives_free(struct lives *lives);

#endif

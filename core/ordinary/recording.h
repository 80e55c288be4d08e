/* What a session keeps of its samples, in bounded memory: a timeline, or counts.
 *
 * Ordinary code, not reentrant: one thread at a time adds, and the records are read after that. */
#ifndef SPPROF_RECORDING_H
#define SPPROF_RECORDING_H

#include "budget.h"
#include "calltree.h"
#include "spprof.h"

enum recording_form {
    RECORDING_TIMELINE, /* a record for each stack in the order of time; equal ones of a thread in a row are one */
    RECORDING_COUNTS,   /* one for each distinct stack of a thread: memory by distinct stacks, not by time */
};

/* A stack of a thread, and what it stands for. This is what Python reads. */
struct recorded {
    int64_t first, last; /* when it was seen first and last, nanoseconds since the start */
    uint32_t thread;     /* number in the session */
    int32_t node;        /* the innermost frame; CALLTREE_ROOT: no Python frame */
    uint32_t weight;     /* ticks */
    uint32_t flags;      /* of RECORDED_FLAGS */
};

/* What a record says of a sample. How it was seen is in the session's counters: equal stacks are one. */
#define RECORDED_FLAGS (SPPROF_SAMPLE_DETACHED | SPPROF_SAMPLE_TRUNCATED)

/* Records lie in blocks, so that none is ever copied to make room, and none at the end. */
#define RECORDING_BLOCK 4096
#define RECORDING_BLOCK_BYTES (RECORDING_BLOCK * sizeof(struct recorded))

/* Threads whose last record is known, so that the next may be one with it. Two threads with one place only have more records. */
#define RECORDING_RECENT 4096

struct recording_config {
    uint64_t started; /* CLOCK_MONOTONIC, nanoseconds */
    uint64_t apart;   /* nanoseconds: equal stacks of a timeline that are further apart have records of their own */
    uint64_t most;    /* bytes, with the table of code objects */
    enum recording_form form; /* to begin with */
};

struct recording {
    struct recording_config config;
    struct budget budget;
    struct calltree tree;
    struct recorded **blocks;
    uint32_t block_room, count;
    uint32_t recent[RECORDING_RECENT]; /* of a timeline: number of a record + 1, by thread */
    struct index index;                /* of counts: by (thread, node, flags); empty until there are any */
    /* recording_add writes, any thread reads. */
    _Atomic uint64_t form;                     /* enum recording_form */
    _Atomic uint64_t lost_samples, lost_ticks; /* what there was no memory for */
    uint64_t *changed;                         /* a bit for each record that more was folded into; NULL: not wanted */
};

/* A record by its number, from 0 on. */
static inline struct recorded *recording_at(const struct recording *recording, uint32_t number) {
    return &recording->blocks[number / RECORDING_BLOCK][number % RECORDING_BLOCK];
}

/* NULL where there is no memory. Uses `codes`, which must outlive it. */
struct recording *recording_new(struct codes *codes, const struct recording_config *config);
void recording_free(struct recording *recording);

/* From now on records that change are marked in `changed`, for who copies what is new again and again: who has copied one
 * takes its mark away. False: no memory. Before any recording_add. */
bool recording_mark_changes(struct recording *recording);

/* A spprof_sample_function: `context` is the recording. Where a timeline may not grow it becomes counts. Where those may not
 * grow either, the sample is counted as lost; a later one, of a stack that is known, is kept again. */
void recording_add(void *context, const struct spprof_sample *sample);

#endif

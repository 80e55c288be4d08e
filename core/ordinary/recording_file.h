/* A recording in a file that is appended to while its session runs, so that it outlives a process that ends without a word.
 *
 * specs/recording.md has the format. What is written is what is new since the last time: blocks, each with its length and
 * checksums, and a block of counters when all before it belongs together. A block that could not be written whole is cut
 * off. Where the file has come to be much larger than it was when it was last written whole, it is written whole again,
 * into PATH.part, which then takes its place.
 *
 * Ordinary code: one thread at a time appends, the one that adds to the recording or one that has waited for it. It opens
 * the file each time, in the table of descriptors that it has then, and writes to no other file than it was given. */
#ifndef SPPROF_RECORDING_FILE_H
#define SPPROF_RECORDING_FILE_H

#include "recording.h"

/* Nanoseconds between two appends: a quarter of the session's age, within these limits. Of a program that ends soon there is
 * something too. */
#define RECORDING_FILE_PAUSE_LEAST UINT64_C(10000000)
#define RECORDING_FILE_PAUSE_MOST UINT64_C(500000000)

/* A file that is there, with its head and settings in it and nothing else. */
struct recording_file_start {
    const char *path;       /* absolute, without symbolic links; copied */
    uint64_t device, inode; /* as fstat(2) says */
    uint64_t size;          /* bytes */
};

/* Where that comes from which is not in the recording. */
struct recording_file_sources {
    bool (*names)(const void *code, struct code_names *names); /* codes_note */
    /* The kernel's id and name of a thread by its number in the session. False: not known. */
    bool (*thread)(uint64_t number, int32_t *tid, char name[16]);
};

/* The counters of one moment. */
struct recording_file_counters {
    uint64_t threads; /* of the session until now */
    uint64_t ticks;
    const char *text; /* all of them, JSON */
    size_t size;
};

struct recording_file;

/* NULL where there is no memory. Marks the recording's changes from now on; before any recording_add. Uses `recording`, which
 * must outlive it. */
struct recording_file *recording_file_new(struct recording *recording, const struct recording_file_start *start,
                                          const struct recording_file_sources *sources);
void recording_file_free(struct recording_file *file);

/* Whether it is time to append. CLOCK_MONOTONIC, nanoseconds. */
bool recording_file_is_due(const struct recording_file *file, uint64_t now);

/* Appends a part of what is new: some megabytes at most, so that the caller is not kept for long. True: nothing is left to
 * be appended. False: there is more, and it is due at once; or it failed, which is counted, and is tried again after the usual
 * pause. */
bool recording_file_append(struct recording_file *file, const struct recording_file_counters *counters, uint64_t now);

/* Appends all that is new, and `end`, JSON, once, after which nothing may follow. False: that failed. */
bool recording_file_finish(struct recording_file *file, const struct recording_file_counters *counters);
bool recording_file_end(struct recording_file *file, const char *end, size_t size);

/* Times that appending failed, and the error (errno) of the last append, 0 where that went well. Any thread. */
uint64_t recording_file_failures(const struct recording_file *file);
int recording_file_error(const struct recording_file *file);

#endif

/* The counters of a session under the names that Python callers and files have. */
#ifndef SPPROF_NATIVE_COUNTER_NAMES_H
#define SPPROF_NATIVE_COUNTER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ordinary/recording.h"
#include "spprof.h"

/* The counters of a session, with what its recording has lost and holds. */
struct recorder_stats {
    struct spprof_stats session;
    uint64_t form;          /* enum recording_form */
    uint64_t bytes;         /* of the recording */
    uint64_t file_failures; /* recording_file_failures */
    uint64_t file_error;    /* recording_file_error */
};

/* Calls `visit` with each counter but the losses, until it says false; whether it never did. */
bool counters_each(const struct recorder_stats *stats, bool (*visit)(void *context, const char *name, uint64_t value),
                   void *context);

/* All of them as a JSON object, the losses by their reasons in one of its own. Returns how long it is; it has room for
 * COUNTERS_TEXT. */
#define COUNTERS_TEXT 4096
size_t counters_text(const struct recorder_stats *stats, char text[COUNTERS_TEXT]);

#endif

#include "counter_names.h"

#include <inttypes.h>
#include <stdio.h>

struct counter {
    const char *name;
    size_t offset; /* of a uint64_t in struct recorder_stats */
};

#define AT(field) offsetof(struct recorder_stats, field)

static const struct counter counters[] = {
    {"ticks", AT(session.ticks)},
    {"captured", AT(session.by_reason[SPPROF_CAPTURED])},
    {"samples", AT(session.samples)},
    {"handler_runs", AT(session.handler_runs)},
    {"threads", AT(session.threads)},
    {"threads_refused", AT(session.threads_refused)},
    {"unguarded_ticks", AT(session.unguarded_ticks)},
    {"ticks_in_progress", AT(session.ticks_in_progress)},
    {"slots_abandoned", AT(session.slots_abandoned)},
    {"unasked_ticks", AT(session.unasked_ticks)},
    {"clock_step_ns", AT(session.clock_step)},
    {"process_cpu_ns", AT(session.process_cpu)},
    {"watched_cpu_ns", AT(session.watched_cpu)},
    {"own_cpu_ns", AT(session.own_cpu)},
    {"duration_ns", AT(session.duration)},
    {"recording", AT(form)},
    {"recording_bytes", AT(bytes)},
    {"file_failures", AT(file_failures)},
    {"file_error", AT(file_error)},
};

bool counters_each(const struct recorder_stats *stats, bool (*visit)(void *context, const char *name, uint64_t value),
                   void *context) {
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        const uint64_t *value = (const void *)((const char *)stats + counters[i].offset);
        if (!visit(context, counters[i].name, *value))
            return false;
    }
    return true;
}

struct line {
    char *bytes;
    size_t length;
};

static bool add_counter(void *context, const char *name, uint64_t value) {
    struct line *text = context;
    text->length += (size_t)snprintf(text->bytes + text->length, COUNTERS_TEXT - text->length, "\"%s\": %" PRIu64 ", ",
                                     name, value);
    return true;
}

size_t counters_text(const struct recorder_stats *stats, char bytes[COUNTERS_TEXT]) {
    struct line text = {bytes, 0};
    bytes[text.length++] = '{';
    counters_each(stats, add_counter, &text);
    text.length += (size_t)snprintf(bytes + text.length, COUNTERS_TEXT - text.length, "\"dropped\": {");
    for (int reason = SPPROF_CAPTURED + 1; reason < SPPROF_REASONS; reason++)
        add_counter(&text, spprof_reason_name((enum spprof_reason)reason), stats->session.by_reason[reason]);
    text.length -= 2; /* the comma after the last */
    bytes[text.length++] = '}';
    bytes[text.length++] = '}';
    return text.length;
}

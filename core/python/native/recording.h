/* What one session records, from its start to the hands of whoever stops it.
 *
 * A lock of this file is held for moments and never while foreign code can run: neither Python code
 * nor an audit hook, a finalizer, an import or the collector. Whoever stops a session takes the
 * recording out under the lock and makes Python objects of it afterwards, so code that runs then
 * may itself start a session, stop one or ask for its counters, on this thread or on one that it
 * waits for.
 *
 * Every function may be called from any thread that has a thread state, attached. */
#ifndef SPPROF_NATIVE_RECORDING_H
#define SPPROF_NATIVE_RECORDING_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "ordinary/codes.h"
#include "ordinary/profile.h"
#include "spprof.h"
#include "thread_names.h"

struct recorded_thread {
    int32_t tid;
    uint64_t after, before; /* CLOCK_MONOTONIC, nanoseconds: it ran at a moment between them */
    char kernel_name[16];
};

struct recording {
    struct codes *codes;
    struct profile *profile;
    struct recorded_thread *threads; /* by their number in the session */
    uint64_t thread_count;
    struct lives lives; /* of Python's threads meanwhile */
    uint64_t started;   /* CLOCK_MONOTONIC, nanoseconds */
    struct spprof_stats stats;
    PyObject *owner; /* what recording_start was given: a strong reference */
};

enum recording_result { RECORDING_DONE, RECORDING_OTHER, RECORDING_FAILED };

/* Starts a session with the interval, depth and mode of `config`; its other fields are set here.
 * `owner` stands for it; `active` and `limbo` are those of `threading`. RECORDING_OTHER: one is active, and nothing
 * was changed. RECORDING_FAILED: an exception is set: MemoryError, or RuntimeError with a line that
 * says what is wrong and what to do. */
enum recording_result recording_start(const struct spprof_config *config, PyObject *owner, PyObject *active,
                                      PyObject *limbo);

/* Stops the session that was started for `owner`, or for anyone where it is NULL, and hands over
 * what it recorded; to be freed by recording_free. RECORDING_OTHER: no such session is active.
 * RECORDING_FAILED: MemoryError is set. */
enum recording_result recording_stop(PyObject *owner, struct recording *taken);

/* May run foreign code: the owner's end. */
void recording_free(struct recording *taken);

/* The counters of the active session, or else of the last one, and a strong reference to its
 * owner; NULL before the first. False: MemoryError is set. */
bool recording_stats(struct spprof_stats *stats, PyObject **owner);

#endif

/* The session of the process: who started it, what it records, and into whose hands that goes.
 *
 * A lock of this file is held for moments and never while foreign code can run: neither Python code
 * nor an audit hook, a finalizer, an import or the collector. Whoever stops a session takes its
 * recording out under the lock and makes Python objects of it afterwards, so code that runs then
 * may itself start a session, stop one or ask for its counters, on this thread or on one that it
 * waits for.
 *
 * Every function may be called from any thread that has a thread state, attached. */
#ifndef SPPROF_NATIVE_RECORDER_H
#define SPPROF_NATIVE_RECORDER_H

#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "counter_names.h"
#include "ordinary/codes.h"
#include "ordinary/recording.h"
#include "ordinary/recording_file.h"
#include "spprof.h"
#include "thread_names.h"

struct recorded_thread {
    int32_t tid;
    uint64_t after, before; /* CLOCK_MONOTONIC, nanoseconds: it ran at a moment between them */
    uint64_t cpu;           /* nanoseconds that were counted of it */
    char kernel_name[16];
};

/* What recorder_start is asked for. */
struct recorder_request {
    struct spprof_config config; /* interval, depth and mode; the other fields are set there */
    uint64_t most;               /* bytes that the recording may take */
    enum recording_form form;
    const struct recording_file_start *file; /* that is appended to; NULL: none */
    PyObject *object;                        /* a recording_object for what will be recorded */
    PyObject *owner;                         /* stands for the session */
    PyObject *active, *limbo;                /* those of `threading` */
};

/* What a session has recorded, whole: nothing of it changes any more. */
struct taken {
    struct codes *codes;
    struct recording *recording;
    struct recording_file *file;     /* with all of the recording, but for its end, unless that failed; NULL: none */
    struct recorded_thread *threads; /* by their number in the session, as far as there was memory */
    uint64_t thread_count;
    struct lives lives; /* of Python's threads meanwhile */
    struct recorder_stats stats;
    PyObject *owner; /* a strong reference */
};

enum recorder_result { RECORDER_DONE, RECORDER_OTHER, RECORDER_FAILED };

/* Starts a session. RECORDER_OTHER: one is active, and nothing was changed. RECORDER_FAILED: an
 * exception is set: MemoryError, or RuntimeError with a line that says what is wrong and what to do. */
enum recorder_result recorder_start(const struct recorder_request *request);

/* Stops the session that was started for `owner`, or for anyone where it is NULL, and gives in
 * *object a strong reference to the recording_object with what it recorded. Where it has been
 * stopped and its recording was put back, that. RECORDER_OTHER: there is none. RECORDER_FAILED:
 * MemoryError is set, and the session goes on. */
enum recorder_result recorder_stop(PyObject *owner, PyObject **object);

/* For who has stopped a session and could not take what it recorded: the next recorder_stop gives it
 * again, unless a session has been started until then. May run foreign code: the end of another. */
void recorder_put_back(PyObject *object);

/* May run foreign code: the owner's end. */
void taken_free(struct taken *taken);

/* The counters of the active session, or else of the last one, and a strong reference to its
 * owner; NULL before the first. False: MemoryError or RuntimeError is set. */
bool recorder_stats(struct recorder_stats *stats, PyObject **owner);

#endif

#include "recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "atomics.h"
#include "clock.h"
#include "names.h"
#include "ordinary/session.h"
#include "recording_object.h"
#include "watchers.h"

/* `calls` serialises start, stop and statistics, and lets a waiting thread detach. `lock` guards
 * the two pointers against code watchers on other threads; it is held for moments. `calls`
 * before `lock`. */
static PyMutex calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct codes *codes; /* NULL: no session. Written under both locks, read under either. */
    struct recording *recording;
    struct recording_file *file; /* under `calls`; the session's sinks read it */
    /* Under `calls`. */
    PyObject *object;           /* for what is recorded */
    PyObject *kept;             /* what nobody has taken yet, or NULL */
    PyObject *owner;            /* of the last session started, or NULL */
    struct recorder_stats last; /* of the last session that was stopped */
} present;

/* Code objects made since the first session was started. An observer sees one that another
 * thread has made and published without any order; whoever names it then reads this first, and
 * with it sees the object whole. */
static _Atomic uint64_t creations;

/* --- locks ---------------------------------------------------------------------------------- */

/* The child of a fork starts afresh; what other threads held here at that moment is lost to it,
 * and harmless. */
static void after_fork_in_child(void) {
    memset(&calls, 0, sizeof calls);
    pthread_mutex_init(&lock, NULL);
    thread_names_forget();
    present.codes = NULL;
    present.recording = NULL;
    present.file = NULL;
    present.object = present.kept = present.owner = NULL;
    present.last = (struct recorder_stats){0};
}

/* Takes `calls`. False, without it and with MemoryError set, where a forked child could not be
 * given a free one. */
static bool enter(void) {
    static bool prepared;    /* under `calls` */
    if (Py_IsFinalizing()) { /* a thread that the interpreter has stopped for good may have the lock */
        PyErr_SetString(PyExc_RuntimeError, "the interpreter is ending; nothing can be sampled any more");
        return false;
    }
    PyMutex_Lock(&calls);
    if (!prepared)
        prepared = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
    if (prepared)
        return true;
    PyMutex_Unlock(&calls);
    PyErr_NoMemory();
    return false;
}

static void leave(void) { PyMutex_Unlock(&calls); }

/* --- code objects --------------------------------------------------------------------------- */

static int on_code_event(PyCodeEvent event, PyCodeObject *code) {
    static const struct codes_death death = {.die = spprof_code_died, .names = names_take};
    if (event != PY_CODE_EVENT_DESTROY) {
        atomic_add(creation_tell, &creations, 1);
        return 0;
    }
    pthread_mutex_lock(&lock);
    if (present.codes != NULL)
        (void)codes_died(present.codes, code, &death); /* without memory for its names it has none */
    pthread_mutex_unlock(&lock);
    return 0;
}

/* --- start ---------------------------------------------------------------------------------- */

static uint64_t least_of(uint64_t left, uint64_t right) { return left < right ? left : right; }

/* What a recording holds, and how its file fares. */
static void note_state(struct recorder_stats *stats, const struct recording *recording,
                       const struct recording_file *file) {
    stats->bytes = budget_used(&recording->budget);
    stats->form = atomic_read(counter_snapshot, &recording->form);
    stats->file_failures = file != NULL ? recording_file_failures(file) : 0;
    stats->file_error = file != NULL ? (uint64_t)recording_file_error(file) : 0;
}

/* What was captured and could not be kept is lost. A stack can be taken from its ring, and be lost, before its tick is
 * counted. */
static void adjust_stats(struct recorder_stats *stats, const struct recording *recording,
                         const struct recording_file *file) {
    struct spprof_stats *session = &stats->session;
    session->duration = clock_now() - recording->config.started; /* which is what samples count from */
    uint64_t samples = atomic_read(counter_snapshot, &recording->lost_samples);
    uint64_t ticks =
        least_of(atomic_read(counter_snapshot, &recording->lost_ticks), session->by_reason[SPPROF_CAPTURED]);
    session->by_reason[SPPROF_CAPTURED] -= ticks;
    session->by_reason[SPPROF_NO_MEMORY] += ticks;
    session->samples -= least_of(samples, session->samples);
    note_state(stats, recording, file);
}

/* A code object is named whole that another thread has made: see `creations`. */
static bool names_take_seen(const void *code, struct code_names *names) {
    (void)atomic_read(creation_hear, &creations);
    return names_take(code, names);
}

/* As the file has them: where it can be read, it lacks nothing. */
static struct recording_file_counters counters_for_file(struct recorder_stats *stats, char text[COUNTERS_TEXT]) {
    stats->file_error = 0;
    return (struct recording_file_counters){.threads = stats->session.threads,
                                            .ticks = stats->session.ticks,
                                            .text = text,
                                            .size = counters_text(stats, text)};
}

/* Appends to the session's file where it is time to. In a pause the next is the session's thread again: whoever stands in for it
 * would take the program's descriptors. */
static void append_when_due(uint64_t now) {
    struct recorder_stats stats;
    char text[COUNTERS_TEXT];
    if (!recording_file_is_due(present.file, now) || !session_opens_files())
        return;
    session_count(&stats.session);
    adjust_stats(&stats, present.recording, present.file);
    const struct recording_file_counters counters = counters_for_file(&stats, text);
    recording_file_append(present.file, &counters, now);
}

static void on_caught_up(void *context, uint64_t generation) {
    const struct recording *recording = context;
    codes_caught_up(recording->budget.codes, generation);
    if (present.file != NULL)
        append_when_due(clock_now());
}

/* For a session with a file. It is not caught up while any thread is inside the handler, which may be for long. */
static void on_sample(void *context, const struct spprof_sample *sample) {
    recording_add(context, sample);
    append_when_due(sample->time);
}

/* This and those below with `calls` held. */
static void set_present(struct codes *codes, struct recording *recording) {
    pthread_mutex_lock(&lock);
    present.codes = codes;
    present.recording = recording;
    pthread_mutex_unlock(&lock);
}

/* Equal stacks that far apart are one no more, whatever the interval. */
#define APART UINT64_C(1000000000)

static bool begin(const struct recorder_request *request) {
    uint64_t two_intervals = 2 * request->config.interval;
    struct recording_config config = {.started = clock_now(),
                                      .apart = two_intervals > APART ? two_intervals : APART,
                                      .most = request->most,
                                      .form = request->form};
    static const struct recording_file_sources sources = {.names = names_take_seen, .thread = session_thread};
    struct codes *codes = codes_new();
    struct recording *recording = codes != NULL ? recording_new(codes, &config) : NULL;
    if (recording != NULL && request->file != NULL)
        present.file = recording_file_new(recording, request->file, &sources);
    if (recording == NULL || (request->file != NULL && present.file == NULL)) {
        recording_free(recording);
        codes_free(codes);
        return false;
    }
    set_present(codes, recording);
    return true;
}

static void discard(void) {
    struct codes *codes = present.codes;
    struct recording *recording = present.recording;
    set_present(NULL, NULL);
    recording_file_free(present.file);
    present.file = NULL;
    recording_free(recording);
    codes_free(codes);
}

static int start_session(struct spprof_config config) {
    config.size = sizeof config;
    config.flags = SPPROF_OWN_FILES;
    config.code_type = &PyCode_Type;
    config.thread_state = PyThreadState_Get();
    config.sink = present.file != NULL ? on_sample : recording_add;
    config.sink_context = present.recording;
    config.caught_up = on_caught_up;
    PyThreadState *detached = PyEval_SaveThread();
    int error = spprof_start(&config);
    PyEval_RestoreThread(detached);
    return error;
}

enum outcome { STARTED, ACTIVE, UNWATCHED, NO_MEMORY, REFUSED };

static enum outcome start_present(const struct recorder_request *request, struct running *running) {
    if (present.codes != NULL)
        return ACTIVE;
    int watcher = watchers_code(on_code_event);
    if (watcher == WATCHERS_NONE)
        return UNWATCHED;
    if (watcher < 0 || !begin(request))
        return NO_MEMORY;
    thread_names_begin(request->active, request->limbo,
                       running); /* where it cannot, threads have the names of the kernel */
    int error = start_session(request->config);
    if (error == 0)
        return STARTED;
    discard();
    return error == -ENOMEM ? NO_MEMORY : REFUSED;
}

/* What a caller is told, with no lock held. */
static enum recorder_result told(enum outcome outcome) {
    switch (outcome) {
    case STARTED:
        return RECORDER_DONE;
    case ACTIVE:
        return RECORDER_OTHER;
    case UNWATCHED:
        PyErr_SetString(PyExc_RuntimeError,
                        "other tools have taken every code watcher of this interpreter; "
                        "start one tool less (a debugger, profiler or compiler), or start before them");
        break;
    case NO_MEMORY:
        PyErr_NoMemory();
        break;
    case REFUSED:
        PyErr_SetString(PyExc_RuntimeError, spprof_error());
    }
    return RECORDER_FAILED;
}

/* What nobody has taken, for good. */
static void give_up(PyObject *kept) {
    if (kept != NULL)
        recording_object_delivered(kept);
    Py_XDECREF(kept);
}

enum recorder_result recorder_start(const struct recorder_request *request) {
    if (!enter())
        return RECORDER_FAILED;
    PyObject *former = NULL, *kept = NULL;
    struct running running = {0};
    struct lives lives = {0};
    enum outcome outcome = start_present(request, &running);
    if (outcome == STARTED) {
        former = present.owner;
        kept = present.kept;
        present.kept = NULL;
        present.object = Py_NewRef(request->object);
        present.owner = Py_NewRef(request->owner);
    } else if (outcome != ACTIVE) {
        thread_names_end(&lives);
    }
    leave();
    enum recorder_result result = told(outcome);
    thread_names_identify(&running);
    thread_names_free(&lives);
    Py_XDECREF(former);
    give_up(kept);
    return result;
}

/* --- stop, statistics ----------------------------------------------------------------------- */

/* Of the session. Detached, with `calls` held. */
static void get_stats(struct recorder_stats *stats) {
    if (present.recording == NULL) {
        *stats = present.last;
        return;
    }
    *stats = (struct recorder_stats){.session.size = sizeof stats->session};
    spprof_get_stats(&stats->session);
    adjust_stats(stats, present.recording, present.file);
}

/* Detached. */
static void take_threads(struct taken *taken) {
    uint64_t count = taken->stats.session.threads;
    taken->threads = calloc(count, sizeof *taken->threads);
    for (uint64_t i = 0; taken->threads != NULL && i < count; i++) {
        struct recorded_thread *thread = &taken->threads[i];
        if (!spprof_thread_name(i, &thread->tid, thread->kernel_name))
            break;
        spprof_thread_found(i, &thread->tid, &thread->after, &thread->before);
        spprof_thread_time(i, &thread->cpu);
        taken->thread_count++;
    }
}

/* Completes the session's file, but for its end. Detached. */
static void finish_file(struct taken *taken) {
    char text[COUNTERS_TEXT];
    const struct recording_file_counters counters = counters_for_file(&taken->stats, text);
    recording_file_finish(present.file, &counters);
    note_state(&taken->stats, present.recording, present.file);
}

/* The next session would forget them. */
static void take_out(struct taken *taken) {
    PyThreadState *detached = PyEval_SaveThread();
    spprof_stop();
    /* Until all are named, whoever dies leaves its names: the recording goes last. The counters say what names hold. */
    codes_name_living(present.codes, names_take_seen);
    get_stats(&taken->stats);
    take_threads(taken);
    if (present.file != NULL)
        finish_file(taken);
    PyEval_RestoreThread(detached);
    thread_names_end(&taken->lives);
    taken->codes = present.codes;
    taken->recording = present.recording;
    taken->file = present.file;
    present.file = NULL;
    taken->owner = Py_NewRef(present.owner);
    present.last = taken->stats;
    set_present(NULL, NULL);
}

/* Of a session that is over. With `calls` held. */
static PyObject *take_kept(const PyObject *owner) {
    PyObject *kept = present.kept;
    if (kept == NULL || (owner != NULL && owner != recording_object_taken(kept)->owner))
        return NULL;
    present.kept = NULL;
    return kept;
}

enum recorder_result recorder_stop(PyObject *owner, PyObject **object) {
    if (!enter())
        return RECORDER_FAILED;
    bool is_active = present.codes != NULL && (owner == NULL || owner == present.owner);
    if (is_active) {
        *object = present.object;
        present.object = NULL;
        take_out(recording_object_taken(*object));
    } else {
        *object = take_kept(owner);
    }
    leave();
    if (is_active) {
        struct taken *taken = recording_object_taken(*object);
        calltree_find_lines(&taken->recording->tree);
        thread_names_read(&taken->lives);
    }
    return *object != NULL ? RECORDER_DONE : RECORDER_OTHER;
}

void recorder_put_back(PyObject *object) {
    if (Py_IsFinalizing()) { /* as in enter; and nobody can ask for it any more */
        recording_object_delivered(object);
        return;
    }
    PyMutex_Lock(&calls);
    PyObject *former = present.kept;
    present.kept = Py_NewRef(object);
    leave();
    if (former != object)
        give_up(former);
    else
        Py_DECREF(former);
}

void taken_free(struct taken *taken) {
    recording_file_free(taken->file);
    recording_free(taken->recording);
    codes_free(taken->codes);
    free(taken->threads);
    thread_names_free(&taken->lives);
    Py_CLEAR(taken->owner);
}

bool recorder_stats(struct recorder_stats *stats, PyObject **owner) {
    if (!enter())
        return false;
    PyThreadState *detached = PyEval_SaveThread();
    get_stats(stats);
    PyEval_RestoreThread(detached);
    *owner = Py_XNewRef(present.owner);
    leave();
    return true;
}

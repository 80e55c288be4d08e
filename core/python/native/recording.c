#include "recording.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "atomics.h"
#include "clock.h"
#include "names.h"
#include "watchers.h"

/* `calls` serialises start, stop and statistics, and lets a waiting thread detach. `lock` guards
 * the two pointers against code watchers on other threads; it is held for moments. `calls`
 * before `lock`. */
static PyMutex calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct codes *codes; /* NULL: no session. Written under both locks, read under either. */
    struct profile *profile;
    uint64_t started; /* under `calls`, as the owner */
    PyObject *owner;  /* of the last session started, or NULL */
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
    present.profile = NULL;
}

/* Takes `calls`. False, without it and with MemoryError set, where a forked child could not be
 * given a free one. */
static bool enter(void) {
    static bool prepared; /* under `calls` */
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

static void on_caught_up(void *context, uint64_t generation) {
    struct profile *profile = context;
    codes_caught_up(profile->codes, generation);
}

/* This and those below with `calls` held. */
static void set_present(struct codes *codes, struct profile *profile) {
    pthread_mutex_lock(&lock);
    present.codes = codes;
    present.profile = profile;
    pthread_mutex_unlock(&lock);
}

static bool begin(void) {
    struct codes *codes = codes_new();
    struct profile *profile = codes != NULL ? profile_new(codes) : NULL;
    if (profile == NULL) {
        codes_free(codes);
        return false;
    }
    present.started = clock_now();
    set_present(codes, profile);
    return true;
}

static void discard(void) {
    struct codes *codes = present.codes;
    struct profile *profile = present.profile;
    set_present(NULL, NULL);
    profile_free(profile);
    codes_free(codes);
}

static int start_session(struct spprof_config config) {
    config.code_type = &PyCode_Type;
    config.thread_state = PyThreadState_Get();
    config.sink = profile_add;
    config.sink_context = present.profile;
    config.caught_up = on_caught_up;
    PyThreadState *detached = PyEval_SaveThread();
    int error = spprof_start(&config);
    PyEval_RestoreThread(detached);
    return error;
}

enum outcome { STARTED, ACTIVE, UNWATCHED, NO_MEMORY, REFUSED };

static enum outcome start_present(const struct spprof_config *config, PyObject *active, PyObject *limbo,
                                  struct running *running) {
    if (present.codes != NULL)
        return ACTIVE;
    if (watchers_code(on_code_event) < 0)
        return UNWATCHED;
    if (!begin())
        return NO_MEMORY;
    thread_names_begin(active, limbo, running); /* where it cannot, threads have the names of the kernel */
    int error = start_session(*config);
    if (error == 0)
        return STARTED;
    discard();
    return error == -ENOMEM ? NO_MEMORY : REFUSED;
}

/* What a caller is told, with no lock held. */
static enum recording_result told(enum outcome outcome) {
    switch (outcome) {
    case STARTED:
        return RECORDING_DONE;
    case ACTIVE:
        return RECORDING_OTHER;
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
    return RECORDING_FAILED;
}

enum recording_result recording_start(const struct spprof_config *config, PyObject *owner, PyObject *active,
                                      PyObject *limbo) {
    if (!enter())
        return RECORDING_FAILED;
    PyObject *former = NULL;
    struct running running = {0};
    struct lives lives = {0};
    enum outcome outcome = start_present(config, active, limbo, &running);
    if (outcome == STARTED) {
        former = present.owner;
        present.owner = Py_NewRef(owner);
    } else if (outcome != ACTIVE) {
        thread_names_end(&lives);
    }
    leave();
    enum recording_result result = told(outcome);
    thread_names_identify(&running);
    thread_names_free(&lives);
    Py_XDECREF(former);
    return result;
}

/* --- stop, statistics ----------------------------------------------------------------------- */

static uint64_t least_of(uint64_t left, uint64_t right) { return left < right ? left : right; }

/* Of the session, with what was captured and could not be kept. A stack can be taken from its ring, and be lost, before its
 * tick is counted. Detached, with `calls` held. */
static void get_stats(struct spprof_stats *stats) {
    const struct profile *profile = present.profile;
    uint64_t samples = profile != NULL ? atomic_read(counter_snapshot, &profile->lost_samples) : 0;
    uint64_t ticks = profile != NULL ? atomic_read(counter_snapshot, &profile->lost_ticks) : 0;
    stats->size = sizeof *stats;
    spprof_get_stats(stats);
    ticks = least_of(ticks, stats->by_reason[SPPROF_CAPTURED]);
    stats->by_reason[SPPROF_CAPTURED] -= ticks;
    stats->by_reason[SPPROF_NO_MEMORY] += ticks;
    stats->samples -= least_of(samples, stats->samples);
}

/* Detached. */
static void take_threads(struct recording *taken) {
    taken->threads = calloc(taken->stats.threads, sizeof *taken->threads);
    for (uint64_t i = 0; taken->threads != NULL && i < taken->stats.threads; i++) {
        struct recorded_thread *thread = &taken->threads[i];
        if (!spprof_thread_name(i, &thread->tid, thread->kernel_name))
            break;
        spprof_thread_found(i, &thread->tid, &thread->after, &thread->before);
        taken->thread_count++;
    }
}

/* The next session would forget them. */
static void take_out(struct recording *taken) {
    PyThreadState *detached = PyEval_SaveThread();
    spprof_stop();
    get_stats(&taken->stats);
    take_threads(taken);
    PyEval_RestoreThread(detached);
    thread_names_end(&taken->lives);
    /* Until all are named, whoever dies leaves its names: the recording goes last. */
    (void)atomic_read(creation_hear, &creations);
    codes_name_living(present.codes, names_take);
    taken->codes = present.codes;
    taken->profile = present.profile;
    taken->started = present.started;
    taken->owner = Py_NewRef(present.owner);
    set_present(NULL, NULL);
}

enum recording_result recording_stop(PyObject *owner, struct recording *taken) {
    *taken = (struct recording){0};
    if (!enter())
        return RECORDING_FAILED;
    bool is_active = present.codes != NULL && (owner == NULL || owner == present.owner);
    if (is_active)
        take_out(taken);
    leave();
    thread_names_read(&taken->lives);
    return is_active ? RECORDING_DONE : RECORDING_OTHER;
}

void recording_free(struct recording *taken) {
    profile_free(taken->profile);
    codes_free(taken->codes);
    free(taken->threads);
    thread_names_free(&taken->lives);
    Py_CLEAR(taken->owner);
}

bool recording_stats(struct spprof_stats *stats, PyObject **owner) {
    if (!enter())
        return false;
    PyThreadState *detached = PyEval_SaveThread();
    get_stats(stats);
    PyEval_RestoreThread(detached);
    *owner = Py_XNewRef(present.owner);
    leave();
    return true;
}

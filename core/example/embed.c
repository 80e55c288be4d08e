/* A program that embeds CPython and samples it through the C library alone.
 *
 *     example-embed [--wall] [SCRIPT [ARGUMENT ...]]
 *
 * Runs the script, or without one a busy program with several threads, and takes the samples out of
 * their rings itself: by each thread's CPU time, or with --wall by the clock, of threads that wait as
 * well. At the end it prints the ticks by outcome and the functions that were innermost most often.
 * The exit status is the script's; an error is one line on standard error and status 1.
 *
 * Build: ninja example. From spprof it uses the header and libspprof.a, nothing else.
 */
#include <Python.h>

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "spprof.h"

#define INTERVAL_NS 1000000u
#define DRAIN_EVERY_NS 20000000
#define FUNCTIONS_SHOWN 10
#define ALIVE UINT64_MAX

static const char busy_program[] = "import threading, time\n"
                                   "\n"
                                   "def hot():\n"
                                   "    total = 0\n"
                                   "    for number in range(20000):\n"
                                   "        total += number * number % 7\n"
                                   "    return total\n"
                                   "\n"
                                   "def warm():\n"
                                   "    return sorted(range(2000), key=lambda number: -number)\n"
                                   "\n"
                                   "def work():\n"
                                   "    while time.thread_time() < 0.5:\n"
                                   "        hot()\n"
                                   "        warm()\n"
                                   "\n"
                                   "threads = [threading.Thread(target=work) for _ in range(4)]\n"
                                   "for thread in threads:\n"
                                   "    thread.start()\n"
                                   "for thread in threads:\n"
                                   "    thread.join()\n";

static void complain(const char *what, const char *why) { fprintf(stderr, "example-embed: %s: %s\n", what, why); }

/* --- what is kept ----------------------------------------------------------------------------------- */

/* The innermost frame of a sample. A code object is meant by its address together with the generation: it is the one
 * that was at `code` when `generation` deaths had been told. */
struct seen {
    uint64_t code;
    uint64_t generation;
    uint64_t until; /* the generation of that object's death, or ALIVE; known at the end */
    uint64_t ticks;
};

struct death {
    uint64_t code;
    uint64_t generation;
};

static struct {
    struct seen *seen; /* the drain's own: one call of spprof_drain runs at a time */
    size_t seen_count, seen_room;

    pthread_mutex_t lock; /* of the deaths */
    struct death *deaths;
    size_t death_count, death_room;

    atomic_bool out_of_memory;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Room for one more element; false, and noted, where there is no memory. */
static bool make_room(void **array, size_t count, size_t *room, size_t size) {
    if (count < *room)
        return true;
    size_t wanted = *room ? *room * 2 : 1024;
    void *grown = realloc(*array, wanted * size);
    if (grown == NULL) {
        atomic_store(&kept.out_of_memory, true);
        return false;
    }
    *array = grown;
    *room = wanted;
    return true;
}

/* Takes one sample. The session's lock is held meanwhile, so this calls neither spprof nor the Python API: whatever
 * needs them waits until spprof_drain has returned. */
static void keep(void *context, const struct spprof_sample *sample) {
    (void)context;
    if (sample->depth == 0 || !make_room((void **)&kept.seen, kept.seen_count, &kept.seen_room, sizeof *kept.seen))
        return;
    kept.seen[kept.seen_count++] = (struct seen){
        .code = sample->frames[0].code, .generation = sample->frames[0].generation, .ticks = sample->weight};
}

/* --- deaths of code objects --------------------------------------------------------------------------- */

/* A code object may die, and another be made at its address, between a sample and the naming of its frames. CPython
 * tells a watcher of each death while the object is still whole; passing that on to spprof_code_died gives samples taken
 * before and after it different generations. A program that skips this may print the name of the wrong function; it
 * cannot crash spprof, which never reads a code object except while it samples.
 *
 * This example forgets the name of what dies. To keep it, read co_qualname and co_filename here, before returning.
 *
 * The lock is held over the call, so that name_living below never reads an object that is going. */
static int on_code_event(PyCodeEvent event, PyCodeObject *code) {
    if (event != PY_CODE_EVENT_DESTROY)
        return 0;
    pthread_mutex_lock(&kept.lock);
    uint64_t generation = spprof_code_died(code);
    if (make_room((void **)&kept.deaths, kept.death_count, &kept.death_room, sizeof *kept.deaths))
        kept.deaths[kept.death_count++] = (struct death){(uint64_t)(uintptr_t)code, generation};
    pthread_mutex_unlock(&kept.lock);
    return 0;
}

/* A forked child must not find the lock held by a thread that it does not have. */
static void lock_deaths(void) { pthread_mutex_lock(&kept.lock); }

static void unlock_deaths(void) { pthread_mutex_unlock(&kept.lock); }

static int by_code_then_generation(const void *left, const void *right) {
    const struct death *a = left, *b = right;
    if (a->code != b->code)
        return a->code < b->code ? -1 : 1;
    return (a->generation > b->generation) - (a->generation < b->generation);
}

/* The generation at which the object that was at `code` died: the first death there after the sample. */
static uint64_t death_of(uint64_t code, uint64_t generation) {
    size_t low = 0, high = kept.death_count;
    const struct death sought = {code, generation + 1};
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_code_then_generation(&kept.deaths[middle], &sought) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < kept.death_count && kept.deaths[low].code == code ? kept.deaths[low].generation : ALIVE;
}

/* --- the drain ------------------------------------------------------------------------------------------ */

static atomic_bool draining;

/* Empties the rings often enough that none of them fills. */
static void *drain(void *unused) {
    (void)unused;
    while (atomic_load(&draining)) {
        nanosleep(&(struct timespec){.tv_nsec = DRAIN_EVERY_NS}, NULL);
        spprof_drain(keep, NULL);
    }
    return NULL;
}

static int start_drain(pthread_t *thread) {
    sigset_t all, before;
    sigfillset(&all); /* the program's signals are for its own threads */
    atomic_store(&draining, true);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, NULL, drain, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* --- the session ---------------------------------------------------------------------------------------- */

static bool start(pthread_t *thread, enum spprof_mode mode) {
    /* Before the session, so that no death is missed, and never taken away: in a free-threaded interpreter another
     * thread may be about to call it. */
    if (pthread_atfork(lock_deaths, unlock_deaths, unlock_deaths) != 0 || PyCode_AddWatcher(on_code_event) < 0) {
        PyErr_Clear();
        complain("cannot watch code objects", "there is no memory, or no watcher is left");
        return false;
    }
    struct spprof_config config = {
        .size = sizeof config,
        .interval = INTERVAL_NS,
        /* The interpreter is found by name, because the program is linked with -rdynamic. Without that, `runtime` would
         * be the address of _PyRuntime. */
        .code_type = &PyCode_Type,
        .thread_state = PyThreadState_Get(),
        .mode = mode,
    };
    if (spprof_start(&config) != 0) {
        complain("cannot sample", spprof_error());
        return false;
    }
    int error = start_drain(thread);
    if (error != 0) {
        spprof_stop();
        complain("cannot start a thread", strerror(error));
        return false;
    }
    return true;
}

/* After spprof_stop no handler runs any more; what is still in the rings stays there for one more drain. */
static void stop(pthread_t thread) {
    Py_BEGIN_ALLOW_THREADS spprof_stop();
    atomic_store(&draining, false);
    pthread_join(thread, NULL);
    spprof_drain(keep, NULL);
    Py_END_ALLOW_THREADS
}

/* --- the script ----------------------------------------------------------------------------------------- */

static PyObject *run_script(const char *path) {
    PyObject *runpy = PyImport_ImportModule("runpy");
    if (runpy == NULL)
        return NULL;
    PyObject *result =
        PyObject_CallMethod(runpy, "run_path", "NOs", PyUnicode_DecodeFSDefault(path), Py_None, "__main__");
    Py_DECREF(runpy);
    return result;
}

static PyObject *run_busy_program(void) {
    PyObject *code = Py_CompileString(busy_program, "<busy>", Py_file_input);
    PyObject *main = code != NULL ? PyImport_AddModuleRef("__main__") : NULL;
    PyObject *result = NULL;
    if (main != NULL)
        result = PyEval_EvalCode(code, PyModule_GetDict(main), PyModule_GetDict(main));
    Py_XDECREF(main);
    Py_XDECREF(code);
    return result;
}

/* The exit status that an exception means, with its line on standard error. */
static int status_of_exception(void) {
    PyObject *exception = PyErr_GetRaisedException();
    const char *kind = Py_TYPE(exception)->tp_name;
    int status = 1;
    PyObject *meant = NULL;
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)) {
        meant = PyObject_GetAttrString(exception, "code");
        kind = "exit";
    }
    if (meant == Py_None)
        status = 0;
    else if (meant != NULL && PyLong_Check(meant))
        status = (int)(PyLong_AsUnsignedLongMask(meant) & 0xff);
    else {
        PyObject *text = PyObject_Str(exception);
        const char *line = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
        fprintf(stderr, "example-embed: the script ended by %s: %.*s\n", kind, line ? (int)strcspn(line, "\n") : 0,
                line ? line : "");
        Py_XDECREF(text);
    }
    PyErr_Clear();
    Py_XDECREF(meant);
    Py_DECREF(exception);
    return status;
}

static int run(const char *script) {
    PyObject *result = script != NULL ? run_script(script) : run_busy_program();
    if (result == NULL)
        return status_of_exception();
    Py_DECREF(result);
    return 0;
}

/* --- the report ----------------------------------------------------------------------------------------- */

static int by_object(const void *left, const void *right) {
    const struct seen *a = left, *b = right;
    if (a->code != b->code)
        return a->code < b->code ? -1 : 1;
    return (a->until > b->until) - (a->until < b->until);
}

static int hottest_first(const void *left, const void *right) {
    const struct seen *a = left, *b = right;
    return (a->ticks < b->ticks) - (a->ticks > b->ticks);
}

/* Makes one entry of all samples of one object; with the lock held, and so for the deaths known by then. */
static void merge(void) {
    qsort(kept.deaths, kept.death_count, sizeof *kept.deaths, by_code_then_generation);
    for (size_t i = 0; i < kept.seen_count; i++)
        kept.seen[i].until = death_of(kept.seen[i].code, kept.seen[i].generation);
    qsort(kept.seen, kept.seen_count, sizeof *kept.seen, by_object);
    size_t merged = 0;
    for (size_t i = 0; i < kept.seen_count; i++) {
        if (merged > 0 && by_object(&kept.seen[merged - 1], &kept.seen[i]) == 0)
            kept.seen[merged - 1].ticks += kept.seen[i].ticks;
        else
            kept.seen[merged++] = kept.seen[i];
    }
    kept.seen_count = merged;
    qsort(kept.seen, kept.seen_count, sizeof *kept.seen, hottest_first);
}

static void print_living(const struct seen *seen) {
    PyObject *code = (PyObject *)(uintptr_t)seen->code;
    PyObject *name = PyObject_GetAttrString(code, "co_qualname");
    PyObject *file = PyObject_GetAttrString(code, "co_filename");
    PyObject *line = PyObject_GetAttrString(code, "co_firstlineno");
    PyObject *text = name && file && line ? PyUnicode_FromFormat("%U (%U:%S)", name, file, line) : NULL;
    const char *bytes = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear(); /* a name that is not UTF-8 */
    printf("  %8" PRIu64 "  %s\n", seen->ticks, bytes != NULL ? bytes : "[unprintable]");
    Py_XDECREF(text);
    Py_XDECREF(line);
    Py_XDECREF(file);
    Py_XDECREF(name);
}

static void print_reasons(void) {
    struct spprof_stats stats = {.size = sizeof stats};
    spprof_get_stats(&stats);
    printf("%" PRIu64 " ticks of %" PRIu64 " threads, %" PRIu64 " samples\n", stats.ticks, stats.threads,
           stats.samples);
    for (int reason = 0; reason < SPPROF_REASONS; reason++)
        if (stats.by_reason[reason] != 0 || reason == SPPROF_CAPTURED)
            printf("  %8" PRIu64 "  %s\n", stats.by_reason[reason], spprof_reason_name(reason));
}

static void print_functions(void) {
    printf("hottest functions, by the ticks that found them innermost:\n");
    /* The samples' objects that did not die are alive now, and stay so while the lock keeps on_code_event waiting. */
    pthread_mutex_lock(&kept.lock);
    merge();
    for (size_t i = 0; i < kept.seen_count && i < FUNCTIONS_SHOWN; i++) {
        if (kept.seen[i].until == ALIVE)
            print_living(&kept.seen[i]);
        else
            printf("  %8" PRIu64 "  [a function that is gone]\n", kept.seen[i].ticks);
    }
    pthread_mutex_unlock(&kept.lock);
}

/* --- the program ------------------------------------------------------------------------------------------ */

static bool initialize(int argc, char **argv) {
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0; /* the options are the script's */
    PyStatus status = PyConfig_SetBytesArgv(&config, argc > 1 ? argc - 1 : 1, argc > 1 ? argv + 1 : argv);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (!PyStatus_Exception(status))
        return true;
    complain("cannot start the interpreter", status.err_msg != NULL ? status.err_msg : "it exits at once");
    return false;
}

int main(int argc, char **argv) {
    bool by_the_clock = argc > 1 && strcmp(argv[1], "--wall") == 0;
    if (by_the_clock) { /* the rest is the script's */
        argv[1] = argv[0];
        argv++, argc--;
    }
    if (!initialize(argc, argv))
        return 1;
    pthread_t thread;
    if (!start(&thread, by_the_clock ? SPPROF_WALL : SPPROF_CPU)) {
        Py_FinalizeEx();
        return 1;
    }
    int status = run(argc > 1 ? argv[1] : NULL);
    if (spprof_is_active()) { /* else a child that the script forked: it has neither session nor draining thread */
        stop(thread);
        if (atomic_load(&kept.out_of_memory)) {
            complain("cannot report", "out of memory");
            status = 1;
        } else {
            print_reasons();
            print_functions();
        }
    }
    if (Py_FinalizeEx() < 0 || fflush(stdout) != 0) {
        complain("cannot finish", "standard output cannot be written");
        return 1;
    }
    return status;
}

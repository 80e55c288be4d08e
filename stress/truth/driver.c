/* truth_driver: looks at every thread of this interpreter as often as it can, and counts what it sees.
 *
 *   start(mode, walker, interval)
 *                         mode "wall" or "cpu": the core's session, a tick every `interval` nanoseconds or (0) as often as it
 *                         can; with a walker's path, in mode "wall", a thread that walks all others with that;
 *                         mode "storm": the core's session in cpu mode, its handlers driven by forged ticks
 *   stop() -> dict        walks, captured, dropped {reason: count}, and the stacks: `nodes`, a list of (parent,
 *                         qualname, filename, line) where a parent is always earlier and -1 is none, and `rows`, a list
 *                         of (looks, thread id, node of the innermost frame or -1); `shares`, the same with the ticks that
 *                         they stand for, or a walker's looks that came after a beat of the clock
 *   compare(walker)       -> nanoseconds that a look of the core takes at the caller's own stack, and that walker's walk
 *   heap()                -> bytes in use of the C library's heap
 *   hold(seconds)         waits, detached, where the caller's stack stays as it is
 *
 * Both are called by one and the same thread. Links a copy of the core, so it can stand beside the package. */
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <time.h>

#include "clock.h"
#include "handler.h"
#include "ordinary/codes.h"
#include "ordinary/location.h"
#include "python/native/names.h"
#include "signals.h"
#include "spprof.h"
#include "storm.h"
#include "tally.h"
#include "wall.h"

#define INTERVAL 1000000     /* of the session's timers, and between its drains, under a storm, ns */
#define BACK_TO_BACK 1000    /* nanoseconds: the next look is due before one is over */
#define RING_BYTES (1 << 18) /* soon all touched, so that what grows later is no ring */

uint64_t session_interval_least = BACK_TO_BACK;

enum mode { MODE_NONE, MODE_WALKER, MODE_WALL, MODE_CPU, MODE_STORM };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* `codes`, against watchers on other threads */
static struct codes *codes;
static bool names_lost;
static struct tally *tally;
static enum mode mode;
static int watcher;
static uint64_t unasked; /* samples of threads that ran and were looked at from outside */
static bool back_to_back;
static uint64_t spun; /* waits: the session's thread writes, who has stopped it reads */

/* --- names of code objects ----------------------------------------------------------------------------- */

static int on_code_event(PyCodeEvent event, PyCodeObject *code) {
    static const struct codes_death death = {.die = spprof_code_died, .names = names_take};
    if (event != PY_CODE_EVENT_DESTROY)
        return 0;
    pthread_mutex_lock(&lock);
    if (codes != NULL && !codes_died(codes, code, &death))
        names_lost = true;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* A walker under judgement may have named an object that was dead before it was ever watched: its memory may be anyone's
 * by now, and only what still is a live code object is asked for its name. */
static bool names_of_living(const void *code, struct code_names *names) {
    struct reader reader = {0};
    uint64_t type, qualname, qualname_type;
    uintptr_t address = (uintptr_t)code;
    if (!load_word(&reader, address + offsetof(PyObject, ob_type), &type) || type != (uintptr_t)&PyCode_Type ||
        !load_word(&reader, address + offsetof(PyCodeObject, co_qualname), &qualname) ||
        !load_word(&reader, qualname + offsetof(PyObject, ob_type), &qualname_type) ||
        qualname_type != (uintptr_t)&PyUnicode_Type || Py_REFCNT((PyObject *)address) <= 0)
        return false;
    return names_take(code, names);
}

/* After the session, when nobody has the fault signals any more. */
static void name_living(void) {
    static const int faults[] = {SIGSEGV, SIGBUS};
    for (int i = 0; i < 2; i++)
        signals_take(faults[i], handler_on_fault);
    codes_name_living(codes, names_of_living);
    for (int i = 0; i < 2; i++)
        signals_give_back(faults[i]);
}

static void on_caught_up(void *unused, uint64_t generation) {
    (void)unused;
    codes_caught_up(codes, generation);
}

/* --- start ------------------------------------------------------------------------------------------------- */

static void set_codes(struct codes *value) {
    pthread_mutex_lock(&lock);
    codes = value;
    names_lost = false;
    pthread_mutex_unlock(&lock);
}

static void discard(void) {
    struct codes *old = codes;
    PyCode_ClearWatcher(watcher);
    set_codes(NULL);
    tally_free(tally);
    codes_free(old);
    mode = MODE_NONE;
}

static bool start_walker(const char *walker) {
    char problem[256];
    struct wall_config config = {
        .walker = walker,
        .runtime = dlsym(RTLD_DEFAULT, "_PyRuntime"),
        .code_type = &PyCode_Type,
        .thread_state = PyThreadState_Get(),
        .tally = tally,
    };
    bool started = wall_start(&config, problem, sizeof problem);
    if (!started)
        PyErr_SetString(PyExc_RuntimeError, problem);
    return started;
}

static void take(void *unused, const struct spprof_sample *sample) {
    (void)unused;
    unasked += (sample->flags & SPPROF_SAMPLE_UNASKED) != 0;
    tally_add(tally, sample);
    tally_share(tally, sample->tid, sample->weight);
}

/* The storm has the place of a kernel's timers, which are there where it has no finer ones. */
int __real_clock_getres(clockid_t clock, struct timespec *step);
int __wrap_clock_getres(clockid_t clock, struct timespec *step);

int __wrap_clock_getres(clockid_t clock, struct timespec *step) {
    bool coarse = mode == MODE_STORM && clock == CLOCK_MONOTONIC;
    return __real_clock_getres(coarse ? CLOCK_MONOTONIC_COARSE : clock, step);
}

/* Back-to-back the session's thread has its next look within a microsecond. To have the kernel wait
 * for that takes a timer and its interrupt, which is tens of looks long, so it is spun. Every longer
 * wait is the session's own. */
int __real_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    uint64_t end = (uint64_t)until->tv_sec * 1000000000u + (uint64_t)until->tv_nsec;
    if (!back_to_back || end > clock_now() + BACK_TO_BACK)
        return __real_pthread_cond_timedwait(condition, mutex, until);
    while (clock_now() < end)
        ;
    spun++;
    return ETIMEDOUT;
}

static bool start_session(uint64_t interval) {
    struct spprof_config config = {
        .size = sizeof config,
        .interval = mode == MODE_STORM ? INTERVAL
                    : interval != 0    ? interval
                                       : BACK_TO_BACK,
        .ring_bytes = RING_BYTES,
        .code_type = &PyCode_Type,
        .thread_state = PyThreadState_Get(),
        .sink = take,
        .caught_up = on_caught_up,
        .mode = mode == MODE_WALL ? SPPROF_WALL : SPPROF_CPU,
    };
    unasked = spun = 0;
    back_to_back = config.interval == BACK_TO_BACK;
    if (spprof_start(&config) != 0) {
        PyErr_SetString(PyExc_RuntimeError, spprof_error());
        return false;
    }
    if (mode == MODE_STORM && !storm_start(gettid())) {
        PyErr_SetString(PyExc_RuntimeError, "no thread could be started");
        spprof_stop();
        return false;
    }
    return true;
}

static enum mode mode_of(const char *name, const char *walker) {
    if (strcmp(name, "storm") == 0)
        return MODE_STORM;
    if (strcmp(name, "cpu") == 0)
        return MODE_CPU;
    return walker == NULL ? MODE_WALL : MODE_WALKER;
}

static PyObject *driver_start(PyObject *Py_UNUSED(module), PyObject *arguments) {
    const char *mode_name, *walker;
    unsigned long long interval;
    if (!PyArg_ParseTuple(arguments, "szK:start", &mode_name, &walker, &interval))
        return NULL;
    if (mode != MODE_NONE)
        return PyErr_Format(PyExc_RuntimeError, "started already; stop first");
    struct codes *table = codes_new();
    tally = table != NULL ? tally_new(table) : NULL;
    if (tally == NULL) {
        codes_free(table);
        return PyErr_NoMemory();
    }
    watcher = PyCode_AddWatcher(on_code_event);
    set_codes(table);
    mode = mode_of(mode_name, walker);
    if (watcher >= 0 && (mode == MODE_WALKER ? start_walker(walker) : start_session(interval)))
        Py_RETURN_NONE;
    discard();
    return NULL;
}

/* --- results -------------------------------------------------------------------------------------------------- */

/* Puts `value` (a new reference, or NULL with an exception set) into the dictionary. */
static bool put(PyObject *dictionary, const char *key, PyObject *value) {
    int status = value != NULL ? PyDict_SetItemString(dictionary, key, value) : -1;
    Py_XDECREF(value);
    return status == 0;
}

static bool put_number(PyObject *dictionary, const char *key, uint64_t number) {
    return put(dictionary, key, PyLong_FromUnsignedLongLong(number));
}

static PyObject *dropped_of(const uint64_t by_reason[SPPROF_REASONS]) {
    PyObject *dropped = PyDict_New();
    for (int i = SPPROF_CAPTURED + 1; dropped != NULL && i < SPPROF_REASONS; i++)
        if (!put_number(dropped, spprof_reason_name(i), by_reason[i]))
            Py_CLEAR(dropped);
    return dropped;
}

static PyObject *string_of(struct text text) {
    return PyUnicode_DecodeUTF8(text.bytes != NULL ? text.bytes : "", (Py_ssize_t)text.length, "surrogatepass");
}

static PyObject *node_tuple(const struct calltree_node *node) {
    static const struct code_names nameless = {.qualname = {"[dead]", 6}};
    const struct code_names *names = codes_get(codes, node->code);
    if (names == NULL)
        names = &nameless;
    int line = location_line((const uint8_t *)names->linetable.bytes, names->linetable.length, names->first_line,
                             node->instruction);
    return Py_BuildValue("iNNi", (int)node->parent, string_of(names->qualname), string_of(names->filename), line);
}

static PyObject *nodes_list(void) {
    PyObject *list = PyList_New(tally->tree.count);
    for (int32_t i = 0; list != NULL && i < tally->tree.count; i++) {
        PyObject *entry = node_tuple(calltree_node(&tally->tree, i));
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, entry);
    }
    return list;
}

static PyObject *rows_list(bool shares) {
    PyObject *list = PyList_New(tally->row_count);
    for (int32_t i = 0; list != NULL && i < tally->row_count; i++) {
        const struct tally_row *row = &tally->rows[i];
        uint64_t count = shares ? row->share : row->count;
        PyObject *entry = Py_BuildValue("Kii", (unsigned long long)count, (int)row->tid, (int)row->node);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, entry);
    }
    return list;
}

/* What the driver itself came to hold, so that growth of memory can be told from it. */
static uint64_t held_bytes(void) {
    uint64_t bytes = tally_bytes(tally);
    int32_t count = codes_count(codes);
    for (int32_t i = 0; i < count; i++) {
        const struct code_names *names = codes_get(codes, i);
        bytes += 112; /* an entry, its bucket, its place in the list of those that wait */
        if (names != NULL)
            bytes += names->qualname.length + names->filename.length + names->linetable.length + 3 * 24;
    }
    return bytes;
}

static PyObject *result_dictionary(const struct wall_result *found, uint64_t sent) {
    if (tally->out_of_memory || names_lost)
        return PyErr_NoMemory();
    PyObject *result = PyDict_New();
    if (result != NULL && put_number(result, "walks", found->walks) &&
        put_number(result, "captured", found->by_reason[SPPROF_CAPTURED]) &&
        put(result, "dropped", dropped_of(found->by_reason)) && put(result, "met", dropped_of(found->met)) &&
        put_number(result, "tallied", tally->captured) && put_number(result, "looks", tally->looks) &&
        put_number(result, "unasked", unasked) && put_number(result, "spun", spun) &&
        put_number(result, "moved", tally->moved) && put_number(result, "sent", sent) &&
        put_number(result, "cpu_ns", found->nanoseconds) && put_number(result, "held_bytes", held_bytes()) &&
        put(result, "nodes", nodes_list()) && put(result, "rows", rows_list(false)) &&
        put(result, "shares", rows_list(true)) &&
        put(result, "walker", PyUnicode_FromString(mode == MODE_WALKER ? wall_walker_name() : "spprof")))
        return result;
    Py_XDECREF(result);
    return NULL;
}

static uint64_t stop_session(struct wall_result *found) {
    struct spprof_stats stats = {.size = sizeof stats};
    spprof_stop(); /* with the storm still blowing: ticks must meet the stop as well */
    uint64_t sent = mode == MODE_STORM ? storm_stop() : 0;
    spprof_get_stats(&stats);
    found->walks = stats.ticks;
    found->nanoseconds = 0;
    memcpy(found->by_reason, stats.by_reason, sizeof found->by_reason);
    memcpy(found->met, stats.by_reason, sizeof found->met); /* a handler makes one attempt */
    return sent;
}

static PyObject *driver_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    struct wall_result found = {0};
    uint64_t sent = 0;
    if (mode == MODE_NONE)
        return PyErr_Format(PyExc_RuntimeError, "not started");
    Py_BEGIN_ALLOW_THREADS;
    if (mode == MODE_WALKER)
        wall_stop(&found);
    else
        sent = stop_session(&found);
    Py_END_ALLOW_THREADS;
    name_living();
    PyObject *result = result_dictionary(&found, sent);
    discard();
    return result;
}

static PyObject *driver_heap(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    struct mallinfo2 info = mallinfo2();
    return PyLong_FromSize_t(info.uordblks + info.hblkhd);
}

static PyObject *driver_hold(PyObject *Py_UNUSED(module), PyObject *argument) {
    double seconds = PyFloat_AsDouble(argument);
    if (PyErr_Occurred())
        return NULL;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t end = (uint64_t)until.tv_sec * 1000000000u + (uint64_t)until.tv_nsec + (uint64_t)(seconds * 1e9);
    until = (struct timespec){.tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u)};
    Py_BEGIN_ALLOW_THREADS;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *driver_compare(PyObject *Py_UNUSED(module), PyObject *argument) {
    char problem[256];
    const char *walker = PyUnicode_AsUTF8(argument);
    struct wall_cost cost;
    if (walker == NULL)
        return NULL;
    if (mode != MODE_NONE)
        return PyErr_Format(PyExc_RuntimeError, "started already; stop first");
    struct wall_config config = {
        .walker = walker,
        .runtime = dlsym(RTLD_DEFAULT, "_PyRuntime"),
        .code_type = &PyCode_Type,
        .thread_state = PyThreadState_Get(),
    };
    if (!wall_compare(&config, &cost, problem, sizeof problem))
        return PyErr_Format(PyExc_RuntimeError, "%s", problem);
    return Py_BuildValue("dd", (double)cost.ours / (double)cost.walks, (double)cost.theirs / (double)cost.walks);
}

static PyMethodDef methods[] = {
    {"start", driver_start, METH_VARARGS, "start(mode, walker, interval): look at every thread."},
    {"stop", driver_stop, METH_NOARGS, "stop() -> dict: what was seen."},
    {"heap", driver_heap, METH_NOARGS,
     "heap() -> bytes in use of the C library's heap, where the interpreter keeps little."},
    {"hold", driver_hold, METH_O, "hold(seconds): wait, without another frame."},
    {"compare", driver_compare, METH_O, "compare(walker) -> (ns of a look of the core's, ns of that walker's walk)."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "truth_driver", .m_doc = "Looks at every thread, as often as it can.",
    .m_slots = slots,      .m_methods = methods,
};

PyMODINIT_FUNC PyInit_truth_driver(void) { return PyModuleDef_Init(&definition); }

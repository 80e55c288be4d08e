/* spprof._native: the session as Python sees it. Samples are kept natively while the program runs; Python meets them
 * when the session is over. */
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "atomics.h"
#include "clock.h"
#include "names.h"
#include "ordinary/codes.h"
#include "ordinary/location.h"
#include "ordinary/profile.h"
#include "spprof.h"

/* What a session records. `calls` serialises start and stop, and lets a waiting thread detach. `lock` guards the
 * pointers against code watchers on other threads; it is held for moments, never while Python code can run. */
static PyMutex calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct codes *codes; /* NULL: no session */
    struct profile *profile;
    bool names_lost;  /* a code object died and there was no memory for its names */
    uint64_t started; /* CLOCK_MONOTONIC, nanoseconds */
} recording;

/* Code objects made since the package was imported. An observer sees one that another thread has made and published
 * without any order; whoever names it then reads this first, and with it sees the object whole. */
static _Atomic uint64_t creations;

static PyObject *mmap_type; /* mmap.mmap, from the first import on */

/* The child of a fork starts afresh; what other threads held here at that moment is lost to it, and harmless. */
static void after_fork_in_child(void) {
    memset(&calls, 0, sizeof calls);
    pthread_mutex_init(&lock, NULL);
    recording.codes = NULL;
    recording.profile = NULL;
}

/* Registered once and kept: clearing a watcher while another thread is calling it makes a free-threaded CPython call
 * NULL (PyCode_ClearWatcher and notify_code_watchers take no lock, in 3.13 to 3.15). Without a session it does nothing. */
static int on_code_event(PyCodeEvent event, PyCodeObject *code) {
    static const struct codes_death death = {.die = spprof_code_died, .names = names_take};
    if (event != PY_CODE_EVENT_DESTROY) {
        atomic_add(creation_tell, &creations, 1);
        return 0;
    }
    pthread_mutex_lock(&lock);
    if (recording.codes != NULL && !codes_died(recording.codes, code, &death))
        recording.names_lost = true;
    pthread_mutex_unlock(&lock);
    return 0;
}

static void on_caught_up(void *context, uint64_t generation) {
    struct profile *profile = context;
    codes_caught_up(profile->codes, generation);
}

static PyObject *raise_spprof_error(int error) {
    if (error == -ENOMEM)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_RuntimeError, spprof_error());
    return NULL;
}

/* --- start ---------------------------------------------------------------------------------------------- */

static void set_recording(struct codes *codes, struct profile *profile) {
    pthread_mutex_lock(&lock);
    recording.codes = codes;
    recording.profile = profile;
    recording.names_lost = false;
    pthread_mutex_unlock(&lock);
}

static void discard_recording(void) {
    struct codes *codes = recording.codes;
    struct profile *profile = recording.profile;
    set_recording(NULL, NULL);
    profile_free(profile);
    codes_free(codes);
}

static bool begin_recording(void) {
    struct codes *codes = codes_new();
    struct profile *profile = codes != NULL ? profile_new(codes) : NULL;
    if (profile == NULL) {
        codes_free(codes);
        PyErr_NoMemory();
        return false;
    }
    recording.started = clock_now();
    set_recording(codes, profile);
    return true;
}

static PyObject *start_session(unsigned long long interval, unsigned int max_depth, int mode) {
    if (recording.codes != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a session is already active; stop it first");
        return NULL;
    }
    if (!begin_recording())
        return NULL;
    struct spprof_config config = {
        .interval = interval,
        .max_depth = max_depth,
        .code_type = &PyCode_Type,
        .thread_state = PyThreadState_Get(),
        .sink = profile_add,
        .sink_context = recording.profile,
        .caught_up = on_caught_up,
        .mode = (enum spprof_mode)mode,
    };
    PyThreadState *detached = PyEval_SaveThread();
    int error = spprof_start(&config);
    PyEval_RestoreThread(detached);
    if (error == 0)
        Py_RETURN_NONE;
    discard_recording();
    return raise_spprof_error(error);
}

static PyObject *native_start(PyObject *Py_UNUSED(module), PyObject *arguments) {
    unsigned long long interval;
    unsigned int max_depth;
    int mode;
    if (!PyArg_ParseTuple(arguments, "KIi:start", &interval, &max_depth, &mode))
        return NULL;
    PyMutex_Lock(&calls);
    PyObject *result = start_session(interval, max_depth, mode);
    PyMutex_Unlock(&calls);
    return result;
}

/* --- results --------------------------------------------------------------------------------------------- */

/* Puts `value` (a new reference, or NULL with an exception set) into the dictionary. */
static bool put(PyObject *dictionary, const char *key, PyObject *value) {
    int status = value != NULL ? PyDict_SetItemString(dictionary, key, value) : -1;
    Py_XDECREF(value);
    return status == 0;
}

static bool put_number(PyObject *dictionary, const char *key, uint64_t number) {
    return put(dictionary, key, PyLong_FromUnsignedLongLong(number));
}

static PyObject *dropped_of(const struct spprof_stats *stats) {
    PyObject *dropped = PyDict_New();
    for (int i = SPPROF_CAPTURED + 1; dropped != NULL && i < SPPROF_REASONS; i++)
        if (!put_number(dropped, spprof_reason_name(i), stats->by_reason[i]))
            Py_CLEAR(dropped);
    return dropped;
}

static PyObject *stats_dictionary(void) {
    struct spprof_stats stats;
    PyThreadState *detached = PyEval_SaveThread();
    spprof_get_stats(&stats);
    PyEval_RestoreThread(detached);
    PyObject *result = PyDict_New();
    if (result != NULL && put_number(result, "ticks", stats.ticks) &&
        put_number(result, "captured", stats.by_reason[SPPROF_CAPTURED]) &&
        put(result, "dropped", dropped_of(&stats)) && put_number(result, "samples", stats.samples) &&
        put_number(result, "handler_runs", stats.handler_runs) && put_number(result, "threads", stats.threads) &&
        put_number(result, "threads_refused", stats.threads_refused) &&
        put_number(result, "unguarded_ticks", stats.unguarded_ticks) &&
        put_number(result, "duration_ns", stats.duration))
        return result;
    Py_XDECREF(result);
    return NULL;
}

static PyObject *string_of(struct text text) {
    return PyUnicode_DecodeUTF8(text.bytes != NULL ? text.bytes : "", (Py_ssize_t)text.length, "surrogatepass");
}

static PyObject *codes_list(void) {
    int32_t count = codes_count(recording.codes);
    PyObject *list = PyList_New(count);
    for (int32_t i = 0; list != NULL && i < count; i++) {
        static const struct code_names nameless = {.qualname = {"[unknown]", 9}};
        const struct code_names *names = codes_get(recording.codes, i);
        if (names == NULL)
            names = &nameless;
        PyObject *entry =
            Py_BuildValue("NNi", string_of(names->qualname), string_of(names->filename), (int)names->first_line);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, entry);
    }
    return list;
}

/* An object with room for `size` bytes at view->buf: pages of its own, which the kernel has back when it dies. As bytes,
 * megabytes that came and went with each session would leave the interpreter's allocator larger each time. The caller
 * releases the view. NULL: no memory, and MemoryError is set. */
static PyObject *room_for(size_t size, Py_buffer *view) {
    PyObject *room = size == 0
                         ? PyByteArray_FromStringAndSize(NULL, 0)
                         : PyObject_CallFunction(mmap_type, "ini", -1, (Py_ssize_t)size, MAP_PRIVATE | MAP_ANONYMOUS);
    if (room != NULL && PyObject_GetBuffer(room, view, PyBUF_WRITABLE) != 0)
        Py_CLEAR(room);
    return room != NULL ? room : PyErr_NoMemory();
}

struct node_record {
    int32_t parent, code, line;
};

static PyObject *nodes_array(void) {
    const struct profile *profile = recording.profile;
    Py_buffer view;
    PyObject *array = room_for((size_t)profile->node_count * sizeof(struct node_record), &view);
    if (array == NULL)
        return NULL;
    struct node_record *records = view.buf;
    for (int32_t i = 0; i < profile->node_count; i++) {
        const struct profile_node *node = &profile->nodes[i];
        const struct code_names *names = codes_get(recording.codes, node->code);
        int32_t line = 0;
        if (names != NULL)
            line = location_line((const uint8_t *)names->linetable.bytes, names->linetable.length, names->first_line,
                                 node->instruction);
        records[i] = (struct node_record){.parent = node->parent, .code = node->code, .line = line};
    }
    PyBuffer_Release(&view);
    return array;
}

struct sample_record {
    int64_t time;
    uint32_t thread;
    int32_t node;
    uint32_t weight, flags;
};

static PyObject *samples_array(void) {
    const struct profile *profile = recording.profile;
    Py_buffer view;
    PyObject *array = room_for((size_t)profile->sample_count * sizeof(struct sample_record), &view);
    if (array == NULL)
        return NULL;
    struct sample_record *records = view.buf;
    for (int64_t i = 0; i < profile->sample_count; i++) {
        const struct profile_sample *sample = &profile->samples[i];
        records[i] = (struct sample_record){
            .time = (int64_t)(sample->time - recording.started),
            .thread = sample->thread,
            .node = sample->node,
            .weight = sample->weight,
            .flags = sample->flags,
        };
    }
    PyBuffer_Release(&view);
    return array;
}

static PyObject *threads_list(void) {
    PyObject *list = PyList_New(0);
    int32_t tid;
    char name[16];
    for (uint64_t i = 0; list != NULL && spprof_thread_name(i, &tid, name); i++) {
        PyObject *text = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "backslashreplace");
        PyObject *entry = Py_BuildValue("iN", (int)tid, text);
        if (entry == NULL || PyList_Append(list, entry) != 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *recording_dictionary(void) {
    if (recording.profile->out_of_memory || recording.names_lost)
        return PyErr_NoMemory();
    PyObject *result = PyDict_New();
    if (result != NULL && put(result, "codes", codes_list()) && put(result, "nodes", nodes_array()) &&
        put(result, "samples", samples_array()) && put(result, "threads", threads_list()) &&
        put_number(result, "started_ns", recording.started) && put(result, "stats", stats_dictionary()))
        return result;
    Py_XDECREF(result);
    return NULL;
}

/* --- stop, stats ------------------------------------------------------------------------------------------- */

static PyObject *stop_session(void) {
    if (recording.codes == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no session is active; start one first");
        return NULL;
    }
    PyThreadState *detached = PyEval_SaveThread();
    spprof_stop();
    PyEval_RestoreThread(detached);
    /* Until all are named, whoever dies leaves its names: the recording goes last. */
    (void)atomic_read(creation_hear, &creations);
    codes_name_living(recording.codes, names_take);
    PyObject *result = recording_dictionary();
    discard_recording();
    return result;
}

static PyObject *native_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    PyMutex_Lock(&calls);
    PyObject *result = stop_session();
    PyMutex_Unlock(&calls);
    return result;
}

static PyObject *native_stats(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    return stats_dictionary();
}

static PyObject *native_is_active(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    return PyBool_FromLong(spprof_is_active());
}

/* --- the module --------------------------------------------------------------------------------------------- */

static PyObject *reasons_tuple(void) {
    PyObject *reasons = PyTuple_New(SPPROF_REASONS - 1);
    for (int i = 1; reasons != NULL && i < SPPROF_REASONS; i++) {
        PyObject *name = PyUnicode_FromString(spprof_reason_name(i));
        if (name == NULL)
            Py_CLEAR(reasons);
        else
            PyTuple_SET_ITEM(reasons, i - 1, name);
    }
    return reasons;
}

static PyObject *imported(const char *module_name, const char *name) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return found;
}

static int fill_module(PyObject *module) {
    static bool prepared; /* the module may be loaded again after it was taken from sys.modules */
    if (!prepared) {
        if ((mmap_type = imported("mmap", "mmap")) == NULL || PyCode_AddWatcher(on_code_event) < 0)
            return -1;
        if (pthread_atfork(NULL, NULL, after_fork_in_child) != 0) {
            PyErr_NoMemory();
            return -1;
        }
        prepared = true;
    }
    return PyModule_Add(module, "REASONS", reasons_tuple());
}

static PyMethodDef methods[] = {
    {"start", native_start, METH_VARARGS,
     "start(interval_ns, max_depth, mode): sample every thread of this interpreter; mode 0: cpu, 1: wall."},
    {"stop", native_stop, METH_NOARGS, "stop() -> dict: end the session and give what it recorded."},
    {"stats", native_stats, METH_NOARGS, "stats() -> dict: counters of this session, or of the last one."},
    {"is_active", native_is_active, METH_NOARGS, "is_active() -> bool: whether a session is active in this process."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill_module},
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "spprof._native", .m_doc = "The sampling session. Use the spprof package.",
    .m_slots = slots,      .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }

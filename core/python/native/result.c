#include "result.h"

#include "recording_object.h"

/* Puts `value` (a new reference, or NULL with an exception set) into the dictionary. */
static bool put(PyObject *dictionary, const char *key, PyObject *value) {
    int status = value != NULL ? PyDict_SetItemString(dictionary, key, value) : -1;
    Py_XDECREF(value);
    return status == 0;
}

static bool put_number(PyObject *dictionary, const char *key, uint64_t number) {
    return put(dictionary, key, PyLong_FromUnsignedLongLong(number));
}

PyObject *result_reasons(void) {
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

/* --- counters ------------------------------------------------------------------------------- */

static PyObject *dropped_of(const struct spprof_stats *stats) {
    PyObject *dropped = PyDict_New();
    for (int i = SPPROF_CAPTURED + 1; dropped != NULL && i < SPPROF_REASONS; i++)
        if (!put_number(dropped, spprof_reason_name(i), stats->by_reason[i]))
            Py_CLEAR(dropped);
    return dropped;
}

static bool put_counter(void *dictionary, const char *name, uint64_t value) {
    return put_number(dictionary, name, value);
}

PyObject *result_stats(const struct recorder_stats *stats) {
    PyObject *result = PyDict_New();
    if (result != NULL && counters_each(stats, put_counter, result) &&
        put(result, "dropped", dropped_of(&stats->session)))
        return result;
    Py_XDECREF(result);
    return NULL;
}

/* --- the profile ---------------------------------------------------------------------------- */

static PyObject *string_of(struct text text) {
    return PyUnicode_DecodeUTF8(text.bytes != NULL ? text.bytes : "", (Py_ssize_t)text.length, "surrogatepass");
}

static PyObject *codes_list(const struct taken *taken) {
    int32_t count = codes_count(taken->codes);
    PyObject *list = PyList_New(count);
    for (int32_t i = 0; list != NULL && i < count; i++) {
        static const struct code_names nameless = {.qualname = {"[unknown]", 9}};
        const struct code_names *names = codes_get(taken->codes, i);
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

/* Blocks of records as a tuple of arrays: `count` records of `size` bytes, `each` in a block. */
static PyObject *arrays_of(PyObject *object, void *const *blocks, size_t count, size_t each, size_t size) {
    size_t block_count = (count + each - 1) / each;
    PyObject *arrays = PyTuple_New((Py_ssize_t)block_count);
    for (size_t i = 0; arrays != NULL && i < block_count; i++) {
        size_t left = count - i * each;
        PyObject *array = recording_object_array(object, blocks[i], (left < each ? left : each) * size);
        if (array == NULL)
            Py_CLEAR(arrays);
        else
            PyTuple_SET_ITEM(arrays, (Py_ssize_t)i, array);
    }
    return arrays;
}

static PyObject *nodes_of(PyObject *object) {
    const struct calltree *tree = &recording_object_taken(object)->recording->tree;
    return arrays_of(object, (void *const *)tree->blocks, (size_t)tree->count, CALLTREE_BLOCK,
                     sizeof(struct calltree_node));
}

static PyObject *samples_of(PyObject *object) {
    const struct recording *recording = recording_object_taken(object)->recording;
    return arrays_of(object, (void *const *)recording->blocks, recording->count, RECORDING_BLOCK,
                     sizeof(struct recorded));
}

static PyObject *kernel_name_of(const struct recorded_thread *thread) {
    return PyUnicode_DecodeUTF8(thread->kernel_name, (Py_ssize_t)strlen(thread->kernel_name), "backslashreplace");
}

/* None where Python has no name for it. An empty one says nothing; of a thread that runs still the
 * kernel's may say more, which was read a moment ago. */
static PyObject *python_name_of(const struct recorded_thread *thread, const struct lives *lives) {
    const struct life *life = lives_find(lives, thread->tid, thread->after, thread->before);
    bool is_named = life != NULL && life->name.bytes != NULL;
    if (is_named && (life->name.length != 0 || life->ended != LIFE_GOES_ON))
        return string_of(life->name);
    return Py_NewRef(Py_None);
}

static PyObject *threads_list(const struct taken *taken) {
    PyObject *list = PyList_New((Py_ssize_t)taken->thread_count);
    for (uint64_t i = 0; list != NULL && i < taken->thread_count; i++) {
        const struct recorded_thread *thread = &taken->threads[i];
        PyObject *entry = Py_BuildValue("iNNK", (int)thread->tid, kernel_name_of(thread),
                                        python_name_of(thread, &taken->lives), (unsigned long long)thread->cpu);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, entry);
    }
    return list;
}

PyObject *result_profile(PyObject *object) {
    const struct taken *taken = recording_object_taken(object);
    PyObject *result = PyDict_New();
    if (result != NULL && put(result, "codes", codes_list(taken)) && put(result, "nodes", nodes_of(object)) &&
        put(result, "samples", samples_of(object)) && put(result, "threads", threads_list(taken)) &&
        put_number(result, "started_ns", taken->recording->config.started) &&
        put(result, "stats", result_stats(&taken->stats)))
        return result;
    Py_XDECREF(result);
    return NULL;
}

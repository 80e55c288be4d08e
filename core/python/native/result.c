#include "result.h"

#include "array.h"
#include "ordinary/location.h"

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

PyObject *result_stats(const struct spprof_stats *stats) {
    PyObject *result = PyDict_New();
    if (result != NULL && put_number(result, "ticks", stats->ticks) &&
        put_number(result, "captured", stats->by_reason[SPPROF_CAPTURED]) &&
        put(result, "dropped", dropped_of(stats)) && put_number(result, "samples", stats->samples) &&
        put_number(result, "handler_runs", stats->handler_runs) && put_number(result, "threads", stats->threads) &&
        put_number(result, "threads_refused", stats->threads_refused) &&
        put_number(result, "unguarded_ticks", stats->unguarded_ticks) &&
        put_number(result, "ticks_in_progress", stats->ticks_in_progress) &&
        put_number(result, "slots_abandoned", stats->slots_abandoned) &&
        put_number(result, "unasked_ticks", stats->unasked_ticks) &&
        put_number(result, "clock_step_ns", stats->clock_step) &&
        put_number(result, "process_cpu_ns", stats->process_cpu) &&
        put_number(result, "watched_cpu_ns", stats->watched_cpu) && put_number(result, "own_cpu_ns", stats->own_cpu) &&
        put_number(result, "duration_ns", stats->duration))
        return result;
    Py_XDECREF(result);
    return NULL;
}

/* --- the profile ---------------------------------------------------------------------------- */

static PyObject *string_of(struct text text) {
    return PyUnicode_DecodeUTF8(text.bytes != NULL ? text.bytes : "", (Py_ssize_t)text.length, "surrogatepass");
}

static PyObject *codes_list(const struct recording *recording) {
    int32_t count = codes_count(recording->codes);
    PyObject *list = PyList_New(count);
    for (int32_t i = 0; list != NULL && i < count; i++) {
        static const struct code_names nameless = {.qualname = {"[unknown]", 9}};
        const struct code_names *names = codes_get(recording->codes, i);
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

struct node_record {
    int32_t parent, code, line;
};

static PyObject *nodes_array(const struct recording *recording) {
    const struct profile *profile = recording->profile;
    void *bytes;
    PyObject *array = array_new((size_t)profile->node_count * sizeof(struct node_record), &bytes);
    if (array == NULL)
        return NULL;
    struct node_record *records = bytes;
    for (int32_t i = 0; i < profile->node_count; i++) {
        const struct profile_node *node = &profile->nodes[i];
        const struct code_names *names = codes_get(recording->codes, node->code);
        int32_t line = 0;
        if (names != NULL)
            line = location_line((const uint8_t *)names->linetable.bytes, names->linetable.length, names->first_line,
                                 node->instruction);
        records[i] = (struct node_record){.parent = node->parent, .code = node->code, .line = line};
    }
    return array;
}

struct sample_record {
    int64_t time;
    uint32_t thread;
    int32_t node;
    uint32_t weight, flags;
};

static PyObject *samples_array(const struct recording *recording) {
    struct profile *profile = recording->profile;
    void *bytes;
    PyObject *array = array_new((size_t)profile->sample_count * sizeof(struct sample_record), &bytes);
    if (array == NULL)
        return NULL;
    struct sample_record *records = bytes;
    for (int64_t i = 0; i < profile->sample_count; i++) {
        const struct profile_sample *sample = profile_sample(profile, i);
        records[i] = (struct sample_record){
            .time = (int64_t)(sample->time - recording->started),
            .thread = sample->thread,
            .node = sample->node,
            .weight = sample->weight,
            .flags = sample->flags,
        };
        if ((i + 1) % PROFILE_BLOCK == 0) /* so that there is one copy of them at a time */
            profile_give_up_block(profile, i / PROFILE_BLOCK);
    }
    return array;
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

static PyObject *threads_list(const struct recording *recording) {
    PyObject *list = PyList_New((Py_ssize_t)recording->thread_count);
    for (uint64_t i = 0; list != NULL && i < recording->thread_count; i++) {
        const struct recorded_thread *thread = &recording->threads[i];
        PyObject *entry =
            Py_BuildValue("iNN", (int)thread->tid, kernel_name_of(thread), python_name_of(thread, &recording->lives));
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, entry);
    }
    return list;
}

PyObject *result_profile(const struct recording *recording) {
    PyObject *result = PyDict_New();
    if (result != NULL && put(result, "codes", codes_list(recording)) && put(result, "nodes", nodes_array(recording)) &&
        put(result, "samples", samples_array(recording)) && put(result, "threads", threads_list(recording)) &&
        put_number(result, "started_ns", recording->started) && put(result, "stats", result_stats(&recording->stats)))
        return result;
    Py_XDECREF(result);
    return NULL;
}

/* spprof._native: the session as Python sees it; _native.pyi says what each function promises.
 * Samples are kept natively while the program runs; Python meets them when the session is over. */
#include <Python.h>

#include "ending.h"
#include "recorder.h"
#include "recording_object.h"
#include "result.h"
#include "spprof.h"

static PyObject *native_start(PyObject *Py_UNUSED(module), PyObject *arguments) {
    unsigned long long interval, most;
    unsigned int max_depth;
    int mode, form;
    PyObject *owner, *active, *limbo;
    const char *path; /* empty: no file */
    unsigned long long device, inode, size;
    if (!PyArg_ParseTuple(arguments, "KIiKiOOO(yKKK):start", &interval, &max_depth, &mode, &most, &form, &owner,
                          &active, &limbo, &path, &device, &inode, &size))
        return NULL;
    const struct recording_file_start file = {.path = path, .device = device, .inode = inode, .size = size};
    PyObject *object = recording_object_new();
    if (object == NULL)
        return NULL;
    struct recorder_request request = {
        .config = {.interval = interval, .max_depth = max_depth, .mode = (enum spprof_mode)mode},
        .most = most,
        .form = (enum recording_form)form,
        .file = *path != '\0' ? &file : NULL,
        .object = object,
        .owner = owner,
        .active = active,
        .limbo = limbo,
    };
    enum recorder_result result = recorder_start(&request);
    Py_DECREF(object);
    return result == RECORDER_FAILED ? NULL : PyBool_FromLong(result == RECORDER_DONE);
}

static PyObject *native_stop(PyObject *Py_UNUSED(module), PyObject *arguments) {
    PyObject *owner = NULL, *object = NULL;
    if (!PyArg_ParseTuple(arguments, "|O:stop", &owner))
        return NULL;
    enum recorder_result result = recorder_stop(owner, &object);
    if (result == RECORDER_FAILED)
        return NULL;
    return result == RECORDER_DONE ? object : Py_NewRef(Py_None);
}

static PyObject *native_put_back(PyObject *Py_UNUSED(module), PyObject *object) {
    if (!recording_object_check(object)) {
        PyErr_SetString(PyExc_TypeError, "put_back takes what stop gave");
        return NULL;
    }
    recorder_put_back(object);
    Py_RETURN_NONE;
}

static PyObject *native_stats(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    struct recorder_stats stats;
    PyObject *owner;
    if (!recorder_stats(&stats, &owner))
        return NULL;
    return Py_BuildValue("NN", owner != NULL ? owner : Py_NewRef(Py_None), result_stats(&stats));
}

static PyObject *native_is_active(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    return PyBool_FromLong(spprof_is_active());
}

static PyObject *native_signal_number(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    PyThreadState *detached = PyEval_SaveThread();
    int number = spprof_signal();
    PyEval_RestoreThread(detached);
    return PyLong_FromLong(number);
}

/* The hooks of a fork: no Python code, which a trace function would see at every fork. */
static PyObject *native_pause(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    PyThreadState *detached = PyEval_SaveThread();
    spprof_pause();
    ending_pause();
    PyEval_RestoreThread(detached);
    Py_RETURN_NONE;
}

static PyObject *native_resume(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    PyThreadState *detached = PyEval_SaveThread();
    ending_resume();
    spprof_resume();
    PyEval_RestoreThread(detached);
    Py_RETURN_NONE;
}

static PyObject *native_catch_termination(PyObject *Py_UNUSED(module), PyObject *deliver) {
    if (!ending_begin(deliver))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *native_release_termination(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    ending_end();
    Py_RETURN_NONE;
}

static int fill_module(PyObject *module) {
    return recording_object_prepare() ? PyModule_Add(module, "REASONS", result_reasons()) : -1;
}

static PyMethodDef methods[] = {
    {"start", native_start, METH_VARARGS,
     "start(interval_ns, max_depth, mode, memory_bytes, recording, owner, active, limbo, file) -> bool"},
    {"stop", native_stop, METH_VARARGS, "stop([owner]) -> Recording | None"},
    {"put_back", native_put_back, METH_O, "put_back(recording) -> None"},
    {"stats", native_stats, METH_NOARGS, "stats() -> (owner, dict)"},
    {"is_active", native_is_active, METH_NOARGS, "is_active() -> bool"},
    {"signal_number", native_signal_number, METH_NOARGS, "signal_number() -> int"},
    {"pause", native_pause, METH_NOARGS, "pause() -> None"},
    {"resume", native_resume, METH_NOARGS, "resume() -> None"},
    {"catch_termination", native_catch_termination, METH_O, "catch_termination(deliver) -> None"},
    {"release_termination", native_release_termination, METH_NOARGS, "release_termination() -> None"},
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

#include "watchers.h"

/* Numbers are kept in the interpreter's own dictionary, by kind and callback: another copy of this
 * extension has another callback. Where one cannot be kept, the next call takes another. */
static int known_or_new(const char *kind, void *callback, int (*add)(void *callback)) {
    char key[64];
    snprintf(key, sizeof key, "spprof._native: %s watcher %p", kind, callback);
    PyObject *interpreter = PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *number = NULL;
    if (interpreter != NULL && PyDict_GetItemStringRef(interpreter, key, &number) == 0) {
        int added = add(callback);
        number = added >= 0 ? PyLong_FromLong(added) : NULL;
        if (number != NULL)
            PyDict_SetItemString(interpreter, key, number);
    }
    int watcher = number != NULL ? (int)PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    return watcher;
}

static int add_code(void *callback) { return PyCode_AddWatcher((PyCode_WatchCallback)callback); }
static int add_dict(void *callback) { return PyDict_AddWatcher((PyDict_WatchCallback)callback); }

int watchers_code(PyCode_WatchCallback callback) { return known_or_new("code", (void *)callback, add_code); }

int watchers_dict(PyDict_WatchCallback callback) { return known_or_new("dict", (void *)callback, add_dict); }

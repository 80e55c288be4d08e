#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "watchers.h"

#include <dlfcn.h>
#include <stdbool.h>

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
    int watcher = number != NULL ? (int)PyLong_AsLong(number) : WATCHERS_NONE;
    Py_XDECREF(number);
    bool no_memory = watcher < 0 && PyErr_ExceptionMatches(PyExc_MemoryError);
    PyErr_Clear();
    return no_memory ? WATCHERS_NO_MEMORY : watcher;
}

/* CPython's own functions that stop and start all other threads; both are there, or neither is called. */
struct world {
    void (*stop)(PyInterpreterState *);
    void (*start)(PyInterpreterState *);
};

/* False: this build has no need of them, or does not let an extension call them. */
static bool find_world(struct world *world) {
#ifdef Py_GIL_DISABLED
    *(void **)&world->stop = dlsym(RTLD_DEFAULT, "_PyEval_StopTheWorld");
    *(void **)&world->start = dlsym(RTLD_DEFAULT, "_PyEval_StartTheWorld");
    return world->stop != NULL && world->start != NULL;
#else
    (void)world;
    return false;
#endif
}

/* A free-threaded CPython adds a code watcher with two plain stores, and calls watchers without a
 * lock: a thread that saw the second store alone would call NULL. So the world stands still
 * meanwhile, from 3.14 on. 3.13 cannot be asked to; there the order is kept by x86-64, and on ARM64
 * by how rarely a thread makes a code object in that very moment. */
static int add_code(void *callback) {
    struct world world;
    bool stops = find_world(&world);
    if (stops)
        world.stop(PyInterpreterState_Get());
    int number = PyCode_AddWatcher((PyCode_WatchCallback)callback);
    if (stops)
        world.start(PyInterpreterState_Get());
    return number;
}

static int add_dict(void *callback) { return PyDict_AddWatcher((PyDict_WatchCallback)callback); }

int watchers_code(PyCode_WatchCallback callback) { return known_or_new("code", (void *)callback, add_code); }

int watchers_dict(PyDict_WatchCallback callback) { return known_or_new("dict", (void *)callback, add_dict); }

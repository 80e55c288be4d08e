/* CPython's watchers, of which each interpreter has eight of a kind for everybody.
 *
 * The first call in an interpreter takes one, for good: clearing a watcher while another thread is
 * calling it makes a free-threaded CPython call NULL (PyCode_ClearWatcher and notify_code_watchers
 * take no lock, in 3.13 to 3.15). So a callback does nothing where there is nothing to do.
 *
 * Runs no foreign code and leaves no exception. Calls must be serialised by the caller. */
#ifndef SPPROF_NATIVE_WATCHERS_H
#define SPPROF_NATIVE_WATCHERS_H

#include <Python.h>

#define WATCHERS_NONE (-1) /* is free */
#define WATCHERS_NO_MEMORY (-2)

/* The number of this interpreter's watcher with that callback, or one of these. */
int watchers_code(PyCode_WatchCallback callback);
int watchers_dict(PyDict_WatchCallback callback);

#endif

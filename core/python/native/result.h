/* What a session recorded, as Python objects. Every function needs an attached thread state, may
 * run foreign code (the collector's) and returns a new reference, or NULL with an exception set. */
#ifndef SPPROF_NATIVE_RESULT_H
#define SPPROF_NATIVE_RESULT_H

#include <Python.h>

#include "recorder.h"

/* The names of the reasons for which a tick gives no sample. */
PyObject *result_reasons(void);

/* NativeStats of _native.pyi. */
PyObject *result_stats(const struct recorder_stats *stats);

/* NativeProfile of _native.pyi, of a recording_object whose recording is there. Where it fails, the
 * recording is as it was, and this can be called again. */
PyObject *result_profile(PyObject *recording_object);

#endif

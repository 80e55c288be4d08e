/* What a session recorded, as Python objects. Every function needs an attached thread state, may
 * run foreign code (the collector's) and returns a new reference, or NULL with an exception set. */
#ifndef SPPROF_NATIVE_RESULT_H
#define SPPROF_NATIVE_RESULT_H

#include <Python.h>

#include "recording.h"

/* The names of the reasons for which a tick gives no sample. */
PyObject *result_reasons(void);

/* NativeStats of _native.pyi. */
PyObject *result_stats(const struct spprof_stats *stats);

/* NativeProfile of _native.pyi; MemoryError where some of the recording is missing. */
PyObject *result_profile(const struct recording *recording);

#endif

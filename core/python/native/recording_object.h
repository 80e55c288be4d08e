/* What a session recorded, as an object of Python: `spprof._native.Recording`. One that ends before it was said to be
 * delivered is put back (recorder_put_back).
 *
 * It is made before the session starts, so that ending one needs no memory; nothing of the recording is copied into
 * it. Its arrays are the recording's own blocks, seen through the buffer protocol: each keeps the object alive. */
#ifndef SPPROF_NATIVE_RECORDING_OBJECT_H
#define SPPROF_NATIVE_RECORDING_OBJECT_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

#include "recorder.h"

/* Makes the types ready. False: MemoryError is set. */
bool recording_object_prepare(void);

/* An empty one; NULL: MemoryError is set. Runs no foreign code. */
PyObject *recording_object_new(void);

bool recording_object_check(PyObject *object);

/* Where its recording is, or is to be put; freed with the object. */
struct taken *recording_object_taken(PyObject *object);

/* Its end is the recording's from now on. */
void recording_object_delivered(PyObject *object);

/* `size` bytes of the object's recording as an object with the buffer protocol, and nothing else; NULL: MemoryError is set. */
PyObject *recording_object_array(PyObject *object, void *bytes, size_t size);

#endif

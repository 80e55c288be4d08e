/* An array of records as Python sees it: an object with the buffer protocol, and nothing else. */
#ifndef SPPROF_NATIVE_ARRAY_H
#define SPPROF_NATIVE_ARRAY_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

/* Makes the type ready. False: MemoryError is set. */
bool array_prepare(void);

/* A new array of `size` zero bytes, which begin at *bytes and live as long as the array. They
 * lie on pages of their own, which the kernel has back when it dies: as bytes objects, megabytes
 * that came and went with each session would leave the interpreter's allocator larger each time.
 * Runs no foreign code and raises no audit event. NULL: MemoryError is set. */
PyObject *array_new(size_t size, void **bytes);

#endif

#include "array.h"

#include "ordinary/pages.h"

struct array {
    PyObject_HEAD size_t size;
    void *pages; /* NULL where size is 0 */
};

static void array_dealloc(PyObject *self) {
    struct array *array = (struct array *)self;
    pages_free(array->pages, array->size);
    PyObject_Free(array);
}

static int array_get_buffer(PyObject *self, Py_buffer *view, int flags) {
    static char nothing;
    struct array *array = (struct array *)self;
    void *bytes = array->pages != NULL ? array->pages : &nothing;
    return PyBuffer_FillInfo(view, self, bytes, (Py_ssize_t)array->size, 0, flags);
}

static PyBufferProcs array_as_buffer = {.bf_getbuffer = array_get_buffer};

static PyTypeObject array_type = {
    .ob_base = PyVarObject_HEAD_INIT(NULL, 0).tp_name = "spprof._native.Array",
    .tp_basicsize = sizeof(struct array),
    .tp_dealloc = array_dealloc,
    .tp_as_buffer = &array_as_buffer,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Records that a session collected, for the buffer protocol.",
};

bool array_prepare(void) { return PyType_Ready(&array_type) == 0; }

PyObject *array_new(size_t size, void **bytes) {
    struct array *array = PyObject_New(struct array, &array_type);
    if (array == NULL)
        return NULL;
    array->size = size;
    array->pages = size != 0 ? pages_grow(NULL, 0, size) : NULL;
    if (size != 0 && array->pages == NULL) {
        Py_DECREF(array);
        return PyErr_NoMemory();
    }
    *bytes = array->pages;
    return (PyObject *)array;
}

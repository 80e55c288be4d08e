#include "recording_object.h"

#include "result.h"

/* --- arrays ----------------------------------------------------------------------------------- */

struct array {
    PyObject_HEAD PyObject *keeper; /* the recording that the bytes are of */
    void *bytes;
    size_t size;
};

static void array_dealloc(PyObject *self) {
    PyObject *keeper = ((struct array *)self)->keeper;
    PyObject_Free(self);
    Py_DECREF(keeper);
}

static int array_get_buffer(PyObject *self, Py_buffer *view, int flags) {
    const struct array *array = (struct array *)self;
    return PyBuffer_FillInfo(view, self, array->bytes, (Py_ssize_t)array->size, 1, flags);
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

PyObject *recording_object_array(PyObject *object, void *bytes, size_t size) {
    struct array *array = PyObject_New(struct array, &array_type);
    if (array == NULL)
        return NULL;
    array->keeper = Py_NewRef(object);
    array->bytes = bytes;
    array->size = size;
    return (PyObject *)array;
}

/* --- the recording ---------------------------------------------------------------------------- */

struct recording_object {
    PyObject_HEAD struct taken taken; /* all 0 until it is put there */
    bool delivered;                   /* who stopped the session has what it recorded */
};

struct taken *recording_object_taken(PyObject *object) { return &((struct recording_object *)object)->taken; }

/* Who stopped the session may have had no memory to get as far as a profile. */
static void object_finalize(PyObject *self) {
    const struct recording_object *object = (struct recording_object *)self;
    if (object->taken.recording != NULL && !object->delivered)
        recorder_put_back(self);
}

void recording_object_delivered(PyObject *object) { ((struct recording_object *)object)->delivered = true; }

static void object_dealloc(PyObject *self) {
    if (PyObject_CallFinalizerFromDealloc(self) < 0)
        return; /* it lives on */
    taken_free(recording_object_taken(self));
    PyObject_Free(self);
}

static PyObject *object_owner(PyObject *self, void *Py_UNUSED(closure)) {
    PyObject *owner = recording_object_taken(self)->owner;
    return Py_NewRef(owner != NULL ? owner : Py_None);
}

static PyObject *object_delivered(PyObject *self, PyObject *Py_UNUSED(arguments)) {
    recording_object_delivered(self);
    Py_RETURN_NONE;
}

static PyObject *object_profile(PyObject *self, PyObject *Py_UNUSED(arguments)) { return result_profile(self); }

/* The file's end, unless it lacks something already. */
static int end_file(struct taken *taken, const char *end, size_t size) {
    int error = recording_file_error(taken->file);
    if (error != 0 || recording_file_end(taken->file, end, size))
        return error;
    return recording_file_error(taken->file);
}

static PyObject *object_end_file(PyObject *self, PyObject *end) {
    struct taken *taken = recording_object_taken(self);
    if (!PyBytes_Check(end) || taken->file == NULL) {
        PyErr_SetString(PyExc_TypeError, "end_file takes bytes, for a session with a file");
        return NULL;
    }
    PyThreadState *detached = PyEval_SaveThread();
    int error = end_file(taken, PyBytes_AS_STRING(end), (size_t)PyBytes_GET_SIZE(end));
    PyEval_RestoreThread(detached);
    return PyLong_FromLong(error);
}

static PyGetSetDef object_attributes[] = {
    {"owner", object_owner, NULL, "What its session was started for.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef object_methods[] = {
    {"profile", object_profile, METH_NOARGS, "profile() -> dict"},
    {"delivered", object_delivered, METH_NOARGS, "delivered() -> None"},
    {"end_file", object_end_file, METH_O, "end_file(end) -> int"},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject object_type = {
    .ob_base = PyVarObject_HEAD_INIT(NULL, 0).tp_name = "spprof._native.Recording",
    .tp_basicsize = sizeof(struct recording_object),
    .tp_dealloc = object_dealloc,
    .tp_finalize = object_finalize,
    .tp_getset = object_attributes,
    .tp_methods = object_methods,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "What a session recorded.",
};

bool recording_object_prepare(void) { return PyType_Ready(&array_type) == 0 && PyType_Ready(&object_type) == 0; }

bool recording_object_check(PyObject *object) { return Py_IS_TYPE(object, &object_type); }

PyObject *recording_object_new(void) {
    struct recording_object *object = PyObject_New(struct recording_object, &object_type);
    if (object != NULL)
        *object = (struct recording_object){.ob_base = object->ob_base};
    return (PyObject *)object;
}

#include <Python.h>

#include "names.h"

/* Writes one code point as UTF-8; lone surrogates too, as if they were characters. Returns past the last byte. */
static char *put_code_point(char *at, Py_UCS4 point) {
    if (point < 0x80) {
        *at++ = (char)point;
        return at;
    }
    unsigned tail = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *at++ = (char)(lead[tail] | point >> (6 * tail));
    while (tail-- > 0)
        *at++ = (char)(0x80 | (point >> (6 * tail) & 0x3f));
    return at;
}

bool names_take_string(const void *object, struct text *text) {
    PyObject *string = (PyObject *)object;
    if (string == NULL || !PyUnicode_Check(string))
        return true; /* a code object that is no compiler's: it stays without this name */
    Py_ssize_t length = PyUnicode_GET_LENGTH(string);
    int kind = PyUnicode_KIND(string);
    const void *data = PyUnicode_DATA(string);
    size_t most = (size_t)length * (kind == PyUnicode_1BYTE_KIND ? 2 : kind == PyUnicode_2BYTE_KIND ? 3 : 4);
    text->bytes = malloc(most + 1);
    if (text->bytes == NULL)
        return false;
    char *at = text->bytes;
    for (Py_ssize_t i = 0; i < length; i++)
        at = put_code_point(at, PyUnicode_READ(kind, data, i));
    text->length = (size_t)(at - text->bytes);
    return true;
}

static bool take_bytes(PyObject *bytes, struct text *text) {
    if (bytes == NULL || !PyBytes_Check(bytes))
        return true;
    text->length = (size_t)PyBytes_GET_SIZE(bytes);
    text->bytes = malloc(text->length + 1);
    if (text->bytes == NULL)
        return false;
    memcpy(text->bytes, PyBytes_AS_STRING(bytes), text->length);
    return true;
}

bool names_take(const void *code, struct code_names *names) {
    const PyCodeObject *object = code;
    *names = (struct code_names){.first_line = object->co_firstlineno};
    if (names_take_string(object->co_qualname, &names->qualname) &&
        names_take_string(object->co_filename, &names->filename) && take_bytes(object->co_linetable, &names->linetable))
        return true;
    code_names_free(names);
    return false;
}

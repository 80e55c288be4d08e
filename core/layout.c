#include "layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where a field stands in the table, in 64-bit words from its start, for one version. The order of the fields is that
 * of `_Py_DebugOffsets` in CPython 3.13.15, 3.14.7 and 3.15.0rc2. */
struct table_shape {
    uint32_t version;
    uint8_t words; /* of the table, as far as it is read here */
    uint8_t runtime_size, interpreters_head;
    uint8_t interpreter_size, interpreter_next, threads_head;
    uint8_t thread_size, thread_next, thread_interpreter, current_frame, base_frame, thread_id, native_thread_id,
        datastack_chunk, status;
    uint8_t frame_size, frame_previous, frame_executable, frame_instr_ptr, frame_owner, frame_tlbc_index;
    uint8_t code_size, code_filename, code_qualname, code_first_line, code_adaptive, code_tlbc;
    uint8_t object_size, object_type;
    uint8_t tuple_size, tuple_ob_size;
};

/* A word 0 in a shape means that the version's table has no such field: word 0 is the cookie. */
static const struct table_shape shapes[] = {
    {
        .version = 0x030d,
        .words = 53,
        .runtime_size = 3,
        .interpreters_head = 5,
        .interpreter_size = 6,
        .interpreter_next = 8,
        .threads_head = 9,
        .thread_size = 19,
        .thread_next = 21,
        .thread_interpreter = 22,
        .current_frame = 23,
        .thread_id = 24,
        .native_thread_id = 25,
        .datastack_chunk = 26,
        .status = 27,
        .frame_size = 28,
        .frame_previous = 29,
        .frame_executable = 30,
        .frame_instr_ptr = 31,
        .frame_owner = 33,
        .code_size = 34,
        .code_filename = 35,
        .code_qualname = 37,
        .code_first_line = 39,
        .code_adaptive = 43,
        .object_size = 44,
        .object_type = 45,
        .tuple_size = 50,
        .tuple_ob_size = 52,
    },
    {
        .version = 0x030e,
        .words = 59,
        .runtime_size = 3,
        .interpreters_head = 5,
        .interpreter_size = 6,
        .interpreter_next = 8,
        .threads_head = 9,
        .thread_size = 22,
        .thread_next = 24,
        .thread_interpreter = 25,
        .current_frame = 26,
        .thread_id = 27,
        .native_thread_id = 28,
        .datastack_chunk = 29,
        .status = 30,
        .frame_size = 31,
        .frame_previous = 32,
        .frame_executable = 33,
        .frame_instr_ptr = 34,
        .frame_owner = 36,
        .frame_tlbc_index = 38,
        .code_size = 39,
        .code_filename = 40,
        .code_qualname = 42,
        .code_first_line = 44,
        .code_adaptive = 48,
        .code_tlbc = 49,
        .object_size = 50,
        .object_type = 51,
        .tuple_size = 56,
        .tuple_ob_size = 58,
    },
    {
        .version = 0x030f,
        .words = 71,
        .runtime_size = 3,
        .interpreters_head = 5,
        .interpreter_size = 6,
        .interpreter_next = 8,
        .threads_head = 9,
        .thread_size = 22,
        .thread_next = 24,
        .thread_interpreter = 25,
        .current_frame = 26,
        .base_frame = 27,
        .thread_id = 30,
        .native_thread_id = 31,
        .datastack_chunk = 32,
        .status = 33,
        .frame_size = 39,
        .frame_previous = 40,
        .frame_executable = 41,
        .frame_instr_ptr = 42,
        .frame_owner = 44,
        .frame_tlbc_index = 46,
        .code_size = 47,
        .code_filename = 48,
        .code_qualname = 50,
        .code_first_line = 52,
        .code_adaptive = 56,
        .code_tlbc = 57,
        .object_size = 58,
        .object_type = 59,
        .tuple_size = 68,
        .tuple_ob_size = 70,
    },
};

/* No structure that is read here comes near this size; a table that says so is damaged. */
#define LARGEST_STRUCTURE (1u << 24)

/* The cookie, the version and the threading build: they stand first in every table. */
#define HEAD_BYTES 24

struct table {
    uint64_t words[LAYOUT_TABLE_BYTES / 8];
    const char *damage; /* the first field that cannot be right, or NULL */
};

static uint32_t size_of(struct table *table, unsigned word, uint64_t least, const char *name) {
    uint64_t size = table->words[word];
    if ((size < least || size > LARGEST_STRUCTURE) && table->damage == NULL)
        table->damage = name;
    return (uint32_t)size;
}

/* An offset of a field of `width` bytes in a structure of `size` bytes. */
static uint32_t offset_of(struct table *table, unsigned word, uint32_t size, uint32_t width, const char *name) {
    uint64_t offset = table->words[word];
    if ((offset % width != 0 || offset > size || size - offset < width) && table->damage == NULL)
        table->damage = name;
    return (uint32_t)offset;
}

static void read_states(struct layout *layout, struct table *table, const struct table_shape *shape) {
    uint32_t size = size_of(table, shape->runtime_size, 64, "the runtime's size");
    layout->runtime.interpreters_head = offset_of(table, shape->interpreters_head, size, 8, "the interpreters' list");

    size = layout->interpreter.size = size_of(table, shape->interpreter_size, 64, "the interpreter state's size");
    layout->interpreter.next = offset_of(table, shape->interpreter_next, size, 8, "the next interpreter");
    layout->interpreter.threads_head = offset_of(table, shape->threads_head, size, 8, "the threads' list");

    size = layout->thread.size = size_of(table, shape->thread_size, 64, "the thread state's size");
    layout->thread.next = offset_of(table, shape->thread_next, size, 8, "the next thread state");
    layout->thread.interpreter = offset_of(table, shape->thread_interpreter, size, 8, "a thread's interpreter");
    layout->thread.current_frame = offset_of(table, shape->current_frame, size, 8, "the current frame");
    if (shape->base_frame != 0) {
        layout->thread.base_frame = offset_of(table, shape->base_frame, size, 8, "the base frame");
        /* 0 would say that this version has none, and a chain could end anywhere. */
        if (layout->thread.base_frame == 0 && table->damage == NULL)
            table->damage = "the base frame";
    }
    layout->thread.thread_id = offset_of(table, shape->thread_id, size, 8, "the thread id");
    layout->thread.native_thread_id = offset_of(table, shape->native_thread_id, size, 8, "the native thread id");
    layout->thread.datastack_chunk = offset_of(table, shape->datastack_chunk, size, 8, "the data stack");
    layout->thread.status = offset_of(table, shape->status, size, 4, "the thread's status");
    /* Bits of `_status`, Include/cpython/pystate.h: initialized, bound, unbound, bound_gilstate, active. */
    layout->thread.status_bound = 1u << 1;
    layout->thread.status_unbound = 1u << 2;
    layout->thread.status_active = 1u << 4;

    /* `_PyStackChunk`, Include/cpython/pystate.h: previous, size, top, data. */
    layout->chunk.previous = 0;
    layout->chunk.size = 8;
    layout->chunk.data = 24;
}

static void read_frames(struct layout *layout, struct table *table, const struct table_shape *shape) {
    uint32_t size = layout->frame.size = size_of(table, shape->frame_size, 48, "the frame's size");
    layout->frame.previous = offset_of(table, shape->frame_previous, size, 8, "a frame's caller");
    layout->frame.executable = offset_of(table, shape->frame_executable, size, 8, "a frame's executable");
    layout->frame.instr_ptr = offset_of(table, shape->frame_instr_ptr, size, 8, "a frame's instruction pointer");
    layout->frame.owner = offset_of(table, shape->frame_owner, size, 1, "a frame's owner");

    size = layout->code.size = size_of(table, shape->code_size, 64, "the code object's size");
    layout->code.filename = offset_of(table, shape->code_filename, size, 8, "a code object's file name");
    layout->code.qualname = offset_of(table, shape->code_qualname, size, 8, "a code object's qualified name");
    layout->code.first_line = offset_of(table, shape->code_first_line, size, 4, "a code object's first line");
    layout->code.code_adaptive = offset_of(table, shape->code_adaptive, size, 1, "a code object's instructions");

    bool tlbc = layout->free_threaded && shape->code_tlbc != 0;
    if (tlbc) {
        layout->frame.tlbc_index = offset_of(table, shape->frame_tlbc_index, layout->frame.size, 4, "a bytecode index");
        layout->code.tlbc = offset_of(table, shape->code_tlbc, size, 8, "a code object's thread-local bytecode");
        if ((layout->frame.tlbc_index == 0 || layout->code.tlbc == 0) && table->damage == NULL)
            table->damage = "the thread-local bytecode";
    }
    /* `_PyCodeArray`, Include/cpython/code.h: size, entries. */
    layout->tlbc_array.size = 0;
    layout->tlbc_array.entries = 8;

    size = size_of(table, shape->object_size, 16, "an object's size");
    layout->object_type = offset_of(table, shape->object_type, size, 8, "an object's type");
    /* A code object is a PyVarObject, as a tuple is: both keep their length at the same place. */
    size = size_of(table, shape->tuple_size, 24, "the tuple's size");
    layout->code.units = offset_of(table, shape->tuple_ob_size, size, 8, "an object's length");
    /* `_PyStackRef` from 3.14: at most the two lowest bits are a tag (Include/internal/pycore_stackref.h). */
    layout->executable_tag_mask = shape->version >= 0x030e ? 3 : 0;
}

static const struct table_shape *shape_of(uint64_t hexversion) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (hexversion >> 16 == shapes[i].version)
            return &shapes[i];
    return NULL;
}

bool layout_read(struct layout *layout, const void *bytes, size_t count, char *problem, size_t room) {
    struct table table = {.damage = NULL};
    if (count > sizeof table.words)
        count = sizeof table.words;
    /* What lies past the table belongs to the running interpreter: no word more is read than the version has. */
    memcpy(table.words, bytes, count < HEAD_BYTES ? count : HEAD_BYTES);

    if (count < HEAD_BYTES || memcmp(table.words, "xdebugpy", 8) != 0) {
        snprintf(problem, room,
                 "the interpreter has no table of offsets (its cookie is missing); "
                 "spprof needs CPython 3.13, 3.14 or 3.15");
        return false;
    }
    uint64_t hexversion = table.words[1];
    unsigned major = hexversion >> 24 & 0xff, minor = hexversion >> 16 & 0xff;
    const struct table_shape *shape = shape_of(hexversion);
    if (shape == NULL || hexversion >> 32 != 0) {
        snprintf(problem, room, "CPython %u.%u is not supported; spprof needs 3.13, 3.14 or 3.15", major, minor);
        return false;
    }
    /* Before the release candidates (level 0xC) the table still changes. */
    if ((hexversion >> 4 & 0xf) < 0xc) {
        snprintf(problem, room, "this pre-release of CPython %u.%u is not supported; use a release or a candidate",
                 major, minor);
        return false;
    }
    if (count < shape->words * sizeof(uint64_t)) {
        snprintf(problem, room, "the table of offsets of CPython %u.%u is cut short", major, minor);
        return false;
    }
    memcpy(table.words, bytes, shape->words * sizeof(uint64_t));
    struct layout made = {.version = shape->version, .free_threaded = table.words[2] == 1};
    if (table.words[2] > 1)
        table.damage = "the threading build";
    read_states(&made, &table, shape);
    read_frames(&made, &table, shape);
    if (table.damage != NULL) {
        snprintf(problem, room, "the table of offsets of CPython %u.%u is damaged: %s cannot be right", major, minor,
                 table.damage);
        return false;
    }
    *layout = made;
    return true;
}

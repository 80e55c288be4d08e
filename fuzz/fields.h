/* Where interpreters keep what a walk reads, written down here a second time: nothing of the core goes into it. Read off
 * the headers of CPython 3.13.15, 3.14.7 and 3.15.0rc2, and off running builds of them on x86-64. */
#ifndef SPPROF_FUZZ_FIELDS_H
#define SPPROF_FUZZ_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

/* name, the one that `field_name` gives, and bytes that the field has; 0: it is a structure's size. */
#define FIELD_LIST(_)                                                                                                  \
    _(RUNTIME_SIZE, "runtime.size", 0)                                                                                 \
    _(RUNTIME_INTERPRETERS_HEAD, "runtime.interpreters_head", 8)                                                       \
    _(INTERPRETER_SIZE, "interpreter.size", 0)                                                                         \
    _(INTERPRETER_NEXT, "interpreter.next", 8)                                                                         \
    _(INTERPRETER_THREADS_HEAD, "interpreter.threads_head", 8)                                                         \
    _(THREAD_SIZE, "thread.size", 0)                                                                                   \
    _(THREAD_NEXT, "thread.next", 8)                                                                                   \
    _(THREAD_INTERPRETER, "thread.interpreter", 8)                                                                     \
    _(THREAD_CURRENT_FRAME, "thread.current_frame", 8)                                                                 \
    _(THREAD_BASE_FRAME, "thread.base_frame", 8)                                                                       \
    _(THREAD_THREAD_ID, "thread.thread_id", 8)                                                                         \
    _(THREAD_NATIVE_THREAD_ID, "thread.native_thread_id", 8)                                                           \
    _(THREAD_DATASTACK_CHUNK, "thread.datastack_chunk", 8)                                                             \
    _(THREAD_STATUS, "thread.status", 4)                                                                               \
    _(FRAME_SIZE, "frame.size", 0)                                                                                     \
    _(FRAME_PREVIOUS, "frame.previous", 8)                                                                             \
    _(FRAME_EXECUTABLE, "frame.executable", 8)                                                                         \
    _(FRAME_INSTR_PTR, "frame.instr_ptr", 8)                                                                           \
    _(FRAME_OWNER, "frame.owner", 1)                                                                                   \
    _(FRAME_TLBC_INDEX, "frame.tlbc_index", 4)                                                                         \
    _(CODE_SIZE, "code.size", 0)                                                                                       \
    _(CODE_FILENAME, "code.filename", 8)                                                                               \
    _(CODE_QUALNAME, "code.qualname", 8)                                                                               \
    _(CODE_FIRST_LINE, "code.first_line", 4)                                                                           \
    _(CODE_ADAPTIVE, "code.code_adaptive", 1)                                                                          \
    _(CODE_TLBC, "code.tlbc", 8)                                                                                       \
    _(OBJECT_SIZE, "object.size", 0)                                                                                   \
    _(OBJECT_TYPE, "object_type", 8)                                                                                   \
    _(TUPLE_SIZE, "tuple.size", 0)                                                                                     \
    _(CODE_UNITS, "code.units", 8)

#define FIELD_ENUM(name, text, width) name,
enum field { FIELD_LIST(FIELD_ENUM) FIELDS };

/* A version's build. */
struct interpreter {
    const char *name; /* 3.14t */
    uint32_t version; /* 0x030e */
    bool free_threaded;
    bool has_base_frame;
    bool has_tlbc;        /* thread-local bytecode */
    uint64_t tag_mask;    /* of a frame's executable */
    uint32_t at[FIELDS];  /* offset or size, bytes; 0 where the build has no such field */
    uint8_t word[FIELDS]; /* where the table of offsets says it, in 64-bit words; 0: nowhere */
};

#define INTERPRETERS 6
extern const struct interpreter interpreters[INTERPRETERS];

extern const char *const field_name[FIELDS];
extern const uint8_t field_width[FIELDS];

/* What the table of offsets does not say. */
enum {
    STATUS_BOUND = 2,
    STATUS_UNBOUND = 4,
    STATUS_ACTIVE = 16,
    CHUNK_PREVIOUS = 0,
    CHUNK_SIZE = 8,
    CHUNK_DATA = 24,
    ARRAY_SIZE = 0,
    ARRAY_ENTRIES = 8,
};

#define TABLE_WORDS 128
/* The table that the interpreter has at the head of its runtime, as far as it is read. */
void fields_table(const struct interpreter *interpreter, uint64_t table[TABLE_WORDS]);

#endif

/* Where CPython keeps what the walker reads.
 *
 * CPython 3.13 and later begin `_PyRuntime` with a table of offsets, `_Py_DebugOffsets` (cookie "xdebugpy"; in
 * Include/internal/pycore_runtime.h in 3.13, pycore_debug_offsets.h from 3.14). A `struct layout` is the part of it
 * that matters here, plus the few constants that the table leaves out; layout.c names the source of each. All offsets
 * are in bytes from the start of their structure. Constant once it is made.
 */
#ifndef SPPROF_LAYOUT_H
#define SPPROF_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct layout {
    uint32_t version; /* major << 8 | minor: 0x030d, 0x030e or 0x030f */
    bool free_threaded;

    struct {
        uint32_t interpreters_head;
    } runtime;

    struct {
        uint32_t size;
        uint32_t next;
        uint32_t threads_head;
    } interpreter;

    struct {
        uint32_t size;
        uint32_t next;
        uint32_t interpreter;
        uint32_t current_frame;
        uint32_t base_frame; /* pointer to the sentinel that every chain ends at; 0: this version has none */
        uint32_t thread_id;
        uint32_t native_thread_id;
        uint32_t datastack_chunk;
        uint32_t status;
        uint32_t status_bound;   /* bit of status: belongs to an OS thread */
        uint32_t status_unbound; /* bit of status: does not any more */
        uint32_t status_active;  /* bit of status: is the thread's current state, attached or about to be */
    } thread;

    struct {
        uint32_t previous;
        uint32_t size;
        uint32_t data; /* where frames can begin */
    } chunk;

    struct {
        uint32_t size; /* without locals: no frame is smaller */
        uint32_t previous;
        uint32_t executable;
        uint32_t instr_ptr;
        uint32_t owner;
        uint32_t tlbc_index; /* 0: no thread-local bytecode */
    } frame;

    struct {
        uint32_t size;
        uint32_t units; /* its length in code units */
        uint32_t filename;
        uint32_t qualname;
        uint32_t first_line;
        uint32_t code_adaptive;
        uint32_t tlbc; /* pointer to the array of thread-local bytecodes; 0: none */
    } code;

    struct {
        uint32_t size;    /* number of entries */
        uint32_t entries; /* pointers to bytecode */
    } tlbc_array;

    uint32_t object_type;         /* of any object */
    uint64_t executable_tag_mask; /* bits of frame.executable that are a tag and not address */
};

/* Values of a frame's owner byte. The first three mean the same in every version; of the rest, any value marks a frame
 * that the interpreter keeps for itself (3.13: CSTACK 3; 3.14: INTERPRETER 3, CSTACK 4; 3.15: INTERPRETER 3). */
enum frame_owner {
    OWNED_BY_THREAD = 0,
    OWNED_BY_GENERATOR = 1,
    OWNED_BY_FRAME_OBJECT = 2,
    OWNED_BY_INTERPRETER = 3,
    OWNED_BY_CSTACK = 4,
};

/* How many bytes of the table are read, at most. */
#define LAYOUT_TABLE_BYTES 1024

/* Reads a table of `bytes` bytes. False where it is not one that is understood: `problem` (of `room` bytes) then holds
 * one sentence, and *layout is unchanged. Ordinary code: not for signal handlers. */
bool layout_read(struct layout *layout, const void *table, size_t bytes, char *problem, size_t room);

#endif

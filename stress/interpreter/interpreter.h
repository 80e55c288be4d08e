/* A synthetic interpreter: threads that call, return, resume generators and make and free code objects, and that store
 * every word of their stacks in the order in which CPython 3.14t stores it, with no more synchronisation than it has.
 *
 * It runs no bytecode. What it is for is its memory: real frames on real data-stack chunks (mapped and unmapped), on C
 * stacks and in generators, thread states in a list, code objects with thread-local bytecode. The core samples it
 * through its public header, as it would sample CPython: `interpreter.runtime` begins with a table of offsets.
 *
 * Where a store's place in the order matters it is written PUT. After each comes a delivery point (delivery.h).
 */
#ifndef SPPROF_INTERPRETER_H
#define SPPROF_INTERPRETER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CODE_UNITS 16
#define FRAME_LOCALS_MOST 48
#define TLBC_INDEXES 64 /* a thread has its number's remainder */

typedef uint16_t code_unit;

/* _PyCodeArray, Include/cpython/code.h */
struct bytecodes {
    int64_t size;
    code_unit *entries[];
};

struct code {
    uint64_t ob_tid, ob_ref_shared;
    const void *ob_type;
    int64_t ob_size;
    _Atomic int32_t references;
    int32_t first_line; /* what it is: oracle.h */
    const char *filename, *name, *qualname;
    struct bytecodes *tlbc; /* other threads may replace it, under the interpreter's code lock */
    struct bytecodes
        *replaced[8]; /* another thread may be reading them: freed with the code object, CPython does earlier */
    int replaced_count;
    int64_t locals;
    code_unit adaptive[CODE_UNITS];
};

/* _PyInterpreterFrame, Include/internal/pycore_interpframe_structs.h */
struct frame {
    uintptr_t executable;
    struct frame *previous;
    uintptr_t funcobj, globals, builtins, locals, frame_obj;
    code_unit *instr_ptr;
    uintptr_t *stackpointer;
    int32_t tlbc_index;
    uint16_t return_offset;
    uint8_t visited, owner;
    /* The local variables follow. */
};

/* _PyStackChunk, Include/cpython/pystate.h */
struct chunk {
    struct chunk *previous;
    uint64_t size, top;
    uintptr_t data[];
};

struct thread_state {
    struct thread_state *prev, *next;
    struct interpreter *interpreter;
    uint32_t status;
    int32_t tlbc_index;
    struct frame *current_frame;
    uint64_t thread_id, native_thread_id;
    struct chunk *datastack_chunk, *datastack_cached_chunk;
    uintptr_t *datastack_top, *datastack_limit;
};

struct generator {
    struct code *code;
    struct frame frame;
    uintptr_t locals[FRAME_LOCALS_MOST]; /* the frame's */
};

/* The interpreter's own frame, a variable of the C function that runs Python code. */
struct entry_frame {
    struct frame frame;
    uintptr_t stack[1];
};

struct interpreter {
    uint64_t id;
    struct interpreter *next;
    struct thread_state *threads_head; /* changed under a lock; the core reads it without */
    uint64_t room[8];
};

extern struct interpreter the_interpreter;
extern const void *const interpreter_runtime;   /* spprof_config.runtime */
extern const void *const interpreter_code_type; /* spprof_config.code_type */

void interpreter_begin(void);

/* A thread state for the calling thread: made, linked, bound, attached. */
struct thread_state *thread_state_new(uint32_t number);
/* Detached, unlinked, unbound and freed. */
void thread_state_delete(struct thread_state *thread);
void thread_attach(struct thread_state *thread);
void thread_detach(struct thread_state *thread);

/* A code object with one reference. */
struct code *code_new(int32_t first_line, int64_t locals);
/* The last one to let go tells the core of the object's death and frees it. */
void code_release(struct code *code);

/* The current frame comes to an instruction. */
void frame_at(struct thread_state *thread, unsigned instruction);
/* The first instruction of a function: moves the frame to the thread's own copy of the bytecode. */
void frame_resume(struct thread_state *thread);
/* Python code calls a function: its frame becomes the current one. */
void call(struct thread_state *thread, struct code *code);
/* Returns to the caller. */
void call_return(struct thread_state *thread);

/* C code runs a frame that is not linked yet: with `entry`, which must live until entry_leave, under it. */
void call_from_c(struct thread_state *thread, struct code *code, struct entry_frame *entry);
void entry_leave(struct thread_state *thread, struct entry_frame *entry);

struct generator *generator_new(struct thread_state *thread, struct code *code);
void generator_send(struct thread_state *thread, struct generator *generator);
void generator_send_from_c(struct thread_state *thread, struct generator *generator, struct entry_frame *entry);
void generator_yield(struct thread_state *thread);
/* The running generator returns, and is not to be resumed again. */
void generator_return(struct thread_state *thread);
/* Frees one that does not run. */
void generator_free(struct generator *generator);

#endif

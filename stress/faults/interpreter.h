/* A made-up interpreter: the table of offsets, the list of thread states and the frames that the core reads, as CPython
 * 3.13 (with a GIL) has them, and nothing else. Every thread has one stack: `inner` called by `outer`. */
#ifndef INTERPRETER_H
#define INTERPRETER_H

#include <stddef.h>
#include <stdint.h>

struct code {
    uint64_t references, type, units;
    uint64_t filename, qualname;
    int32_t first_line, filler;
    uint16_t instructions[8];
};

struct frame {
    uint64_t executable, previous, filler[4], instr_ptr;
    uint8_t owner, rest[7];
};

struct chunk {
    uint64_t previous, size, top;
    struct frame frames[2]; /* outer, inner */
};

struct state {
    uint64_t next, interpreter, current_frame, thread_id, native_thread_id, datastack_chunk;
    uint32_t status, filler;
    struct chunk chunk;
};

#define STATUS_ATTACHED (1 | 1 << 1 | 1 << 4) /* initialized, bound, active */
#define STATUS_DETACHED (1 | 1 << 1)
#define STATUS_UNBOUND (STATUS_DETACHED | 1 << 2)

#define OUTER_AT 3 /* the instructions at which the two stand */
#define INNER_AT 5

/* By the names that CPython gives them, so that the core can find them by itself. */
extern struct runtime _PyRuntime;
extern const char PyCode_Type[];
extern const struct code outer, inner;

/* The state of a thread with the stack; `entry` is the interpreter's own frame, on the thread's C stack. */
void state_make(struct state *state, int32_t tid, uintptr_t thread_id, struct frame *entry);
/* Puts it at the head of the interpreter's list, as CPython does; takes it out. */
void state_link(struct state *state);
void state_unlink(struct state *state);
/* The first of the list, or 0. */
uint64_t state_first(void);

#endif

/* Bring your own walker: what `ninja truth WALKER=path.so` judges.
 *
 * A walker is a shared object that exports the two names below, and the third where it needs it. It is called from a
 * thread of its own, while the threads it looks at run on. stress/seed_walker.c is an example.
 */
#ifndef SPPROF_WALKER_H
#define SPPROF_WALKER_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "spprof.h"

/* Whose stack. */
struct walker_target {
    const struct layout *layout; /* where the interpreter keeps what there is to read */
    uintptr_t code_type;         /* &PyCode_Type */
    uintptr_t thread_state;
    uint64_t tid;                    /* the kernel's id of the thread that the state was bound to a moment ago */
    uintptr_t stack_low, stack_high; /* bounds of the thread's C stack, where the interpreter keeps its entry frames */
};

struct walker_frame {
    uint64_t code;        /* address of the code object */
    uint32_t instruction; /* index of the current instruction, in code units of 2 bytes from the code's start */
};

/* How the tables call it. */
extern const char walker_name[];

/* Fills `frames`, innermost first, with at most `room` of them; returns how many, or minus one of enum spprof_reason.
 * Never called twice at once. */
int walker_walk(const struct walker_target *target, struct walker_frame *frames, int room);

/* Optional. Called first by the handler of SIGSEGV and SIGBUS, on any thread: true where the fault was the walker's own
 * and `ucontext` now continues past it. A walker without it must not fault. */
bool walker_recover(void *ucontext);

#endif

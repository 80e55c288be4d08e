/* Where the C stack of a thread lies. Ordinary code, one call at a time; stack_learn_first and, where
 * libc's note is not known, stack_find read /proc/self/maps, and so take a file descriptor of the
 * calling thread for a moment. */
#ifndef SPPROF_STACK_H
#define SPPROF_STACK_H

#include <stdint.h>

#include "load.h"

/* The first address past the initial thread's stack: the strings that the kernel put above it. */
uintptr_t stack_initial_high(void);

/* To be called by a thread that starts a session, and by the one thread of a forked child: if it
 * is the process's first thread, notes where it stands. Opens no file. */
void stack_note_caller(void);

/* Finds out on which stack the process's first thread runs, from where it stood, and how far down
 * the initial stack may grow. To be called before the first stack_find, and after each
 * stack_note_caller. */
void stack_learn_first(void);

/* Learns where libc notes a thread's stack in its descriptor, from the calling thread's, which
 * must not be the initial one. To be called before the first stack_find; where it learns
 * nothing, the kernel's mappings are asked. */
void stack_learn(void);

/* The C stack of thread `tid`, whose pthread_t is `thread_id`, which may be that of a thread
 * that has ended: its descriptor is read through `reader`. The lowest address that the stack may
 * grow to, and the first one past its end; both 0 where it cannot be found. */
void stack_find(const struct reader *reader, int32_t tid, uintptr_t thread_id, uintptr_t *low, uintptr_t *high);

#endif

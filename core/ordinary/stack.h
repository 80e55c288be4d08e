/* Where the C stack of a thread lies. Ordinary code; reads /proc/self/maps. */
#ifndef SPPROF_STACK_H
#define SPPROF_STACK_H

#include <stdint.h>

/* The first address past the initial thread's stack: the strings that the kernel put above it. */
uintptr_t stack_initial_high(void);

/* To be called by a thread that starts a session, and by the one thread of a forked child: if it is the process's first
 * thread, remembers which stack that runs on. */
void stack_note_caller(void);

/* The C stack of thread `tid`, whose pthread_t is `thread_id`: the lowest address that it may grow to, and the first one
 * past its end. Both 0 where it cannot be found: every entry frame is then out of bounds. */
void stack_find(int32_t tid, uintptr_t thread_id, uintptr_t *low, uintptr_t *high);

#endif

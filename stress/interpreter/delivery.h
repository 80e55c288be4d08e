/* How ticks reach the synthetic interpreter's threads. Two ways:
 *
 * delivery_explicit.c, for ThreadSanitizer, which holds back asynchronous signals: the session's timers are words that a
 * thread looks at after each of its stores; now and then it calls the handler there, as the kernel would, or keeps the
 * tick for later, as a signal that is pending when its timer is deleted. None of this orders memory (all accesses are
 * relaxed), so nothing that the sanitizer sees is owed to the harness.
 *
 * delivery_kernel.c, for a build without it: the kernel's own timers, and a storm of forged ticks besides.
 */
#ifndef SPPROF_DELIVERY_H
#define SPPROF_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef EXPLICIT_DELIVERY
/* A tick may come here. Called by sampled threads alone. */
void delivery_point(void);
#else
static inline void delivery_point(void) {}
#endif

/* Around a sampled thread's life. */
void delivery_thread_begin(uint64_t seed);
void delivery_thread_end(void);

/* Around a session in CPU mode. The second may come after the session's stop. */
bool delivery_storm_start(void);
void delivery_storm_stop(void);

/* A signal that is not ours reached its former owner, so many times. */
uint64_t delivery_foreign_signals(void);

/* Becomes the owner of the signal that asks, before there is a session. */
void delivery_take_signal(void);

#endif

/* What stands behind the wrapped calls where no fault is planned: the real kernel, with the session's thread on a leash
 * (kernel.c), or a made-up one where every event must be the program's own (fuzz/targets/session_kernel.c). */
#ifndef KERNEL_H
#define KERNEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

int kernel_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument);
int kernel_join(pthread_t thread);
/* pthread_cond_timedwait, and what comes before pthread_cond_signal: only the session's thread waits. */
int kernel_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until);
void kernel_wake(void);
int kernel_clock(clockid_t clock, struct timespec *time);
int kernel_clock_step(clockid_t clock, struct timespec *step);
int kernel_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int kernel_open(const char *path, int flags);
FILE *kernel_fopen(const char *path, const char *mode);
long kernel_system_call(long number, const long arguments[6]);

/* --- the leash (kernel.c) ---
 *
 * The session's thread waits in pthread_cond_timedwait until it is let look once more, or is stopped. So what it calls,
 * and when, is the same in every run. */

/* Lets the session's thread take one look, and returns when it waits again: CLOCK_MONOTONIC leaps to where that look is
 * due. A session must be active. */
void leash_look(void);

/* From now on the threads run whenever their CPU clocks are read, for longer than a signal takes that asks them; or not. */
void leash_let_run(bool run);

/* The value that the signals of a thread's running timer carry. False where it has none. */
bool kernel_timer_value(pid_t tid, uint64_t *value);

#endif

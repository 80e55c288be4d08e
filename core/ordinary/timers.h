/* Timers that signal one thread, by raw system calls: libc's wrappers hide the kernel's timer id, and the clock of another
 * thread has no portable name. Any thread may call these for any thread of the process. */
#ifndef SPPROF_TIMERS_H
#define SPPROF_TIMERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* No timer. The kernel's first id is 0. */
#define NO_TIMER (-1)

/* Makes a timer that will send thread `tid` that signal with `value`. Its clock is the thread's CPU time
 * (clock.h). The kernel keeps room for its signal, so none is lost or comes without its value.
 * Returns its id or a negative errno value. */
int timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value);

/* Has it send its signal, one time, before this returns, whether or not the thread runs. What it was
 * set for before is off; a signal that still waits may come in the place of this one (before Linux
 * 6.13) or not any more. Returns 0 or a negative errno value: ESRCH where the thread has ended;
 * NO_TIMER is refused. */
int timers_ask(int timer);

/* The same at a tick of the kernel's once the thread has run. */
int timers_ask_later(int timer);

/* Whether it has sent the signal that it was last set for, or was not set. NO_TIMER never has. */
bool timers_has_fired(int timer);

/* Lets it run: after `first` nanoseconds, then every `interval`. Returns 0 or a negative errno value. */
int timers_run(int timer, uint64_t first, uint64_t interval);

/* Deletes a timer. NO_TIMER is allowed. */
void timers_close(int timer);

/* Whether timers, and sleeps, can be finer than the kernel's own ticks: it has high-resolution timers. */
bool timers_are_fine(void);

/* Nanoseconds of CPU time that thread `tid` has used, or a negative errno value. */
int64_t timers_cpu_time(pid_t tid);

#endif

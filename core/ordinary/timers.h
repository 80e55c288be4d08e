/* Per-thread CPU timers, by raw system calls: libc's wrappers hide the kernel's timer id, and the clock of another
 * thread has no portable name. Any thread may call these for any thread of the process. */
#ifndef SPPROF_TIMERS_H
#define SPPROF_TIMERS_H

#include <stdint.h>
#include <sys/types.h>

/* No timer. The kernel's first id is 0. */
#define NO_TIMER (-1)

/* Makes a timer on the CPU time of thread `tid` that will send it SIGPROF with `value`. Returns its id or a negative
 * errno value. */
int timers_open(pid_t tid, uint64_t value);

/* Lets it run: after `first` nanoseconds, then every `interval`. Returns 0 or a negative errno value. */
int timers_run(int timer, uint64_t first, uint64_t interval);

/* Deletes a timer. NO_TIMER is allowed. */
void timers_close(int timer);

/* Nanoseconds of CPU time that thread `tid` has used, or a negative errno value. */
int64_t timers_cpu_time(pid_t tid);

#endif

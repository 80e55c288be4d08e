/* The time of samples and sessions, and what a thread has used. Async-signal-safe; clock_cpu_time changes errno where it
 * fails. */
#ifndef SPPROF_CLOCK_H
#define SPPROF_CLOCK_H

#include <errno.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* CLOCK_MONOTONIC, nanoseconds. */
static inline uint64_t clock_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* How far apart the kernel's own ticks are, nanoseconds: no CPU timer is finer. */
static inline uint64_t clock_kernel_tick(void) {
    struct timespec tick;
    return clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 ? (uint64_t)tick.tv_nsec : 0;
}

/* The kernel's name for a thread's CPU clock (include/linux/posix-timers_types.h): the inverted id, CPUCLOCK_SCHED (2)
 * and the per-thread bit (4). */
static inline clockid_t clock_of_thread(pid_t tid) { return (clockid_t)(~(unsigned)tid << 3 | 2 | 4); }

/* Nanoseconds of CPU time that thread `tid` of this process has used, or a negative errno value. */
static inline int64_t clock_cpu_time(pid_t tid) {
    struct timespec used;
    if (clock_gettime(clock_of_thread(tid), &used) != 0)
        return -errno;
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* Nanoseconds of CPU time that all threads of this process have used, those that have ended too. */
static inline uint64_t clock_process(void) {
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

#endif

/* Threads of ours that must be gone before anyone counts the process's threads. */
#ifndef SPPROF_ENDED_H
#define SPPROF_ENDED_H

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "clock.h"

#define ENDED_WAIT UINT64_C(10000000000) /* nanoseconds, at most */

/* Returns when the kernel no longer counts thread `tid` of this process, which has been joined:
 * that takes it a moment longer than the join. The limit is for a debugger that keeps the dead. */
static inline void ended_await(pid_t tid) {
    uint64_t until = clock_now() + ENDED_WAIT;
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0 && clock_now() < until)
        sched_yield();
}

#endif

#define _GNU_SOURCE /* SIGEV_THREAD_ID, syscall */
#include "timers.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

static struct timespec to_timespec(uint64_t nanoseconds) {
    return (struct timespec){.tv_sec = (time_t)(nanoseconds / 1000000000u),
                             .tv_nsec = (long)(nanoseconds % 1000000000u)};
}

int timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
    event.sigev_value.sival_ptr = (void *)(uintptr_t)value;
    event._sigev_un._tid = tid; /* glibc before 2.38 has no sigev_notify_thread_id */
    int timer;
    if (syscall(SYS_timer_create, clock, &event, &timer) != 0)
        return -errno;
    return timer;
}

int timers_run(int timer, uint64_t first, uint64_t interval) {
    struct itimerspec times = {.it_value = to_timespec(first), .it_interval = to_timespec(interval)};
    return syscall(SYS_timer_settime, timer, 0, &times, NULL) == 0 ? 0 : -errno;
}

/* Once, when the clock has gone on by a nanosecond or, with TIMER_ABSTIME, shows one. */
static int set_once(int timer, int flags) {
    struct itimerspec times = {.it_value = {.tv_nsec = 1}};
    return syscall(SYS_timer_settime, timer, flags, &times, NULL) == 0 ? 0 : -errno;
}

/* Of a CPU clock the kernel signals a time that is past in this call. By any other clock it would set
 * the processor's timer and take an interrupt, which a virtual machine pays for several times. */
int timers_ask(int timer) { return set_once(timer, TIMER_ABSTIME); }

int timers_ask_later(int timer) { return set_once(timer, 0); }

bool timers_has_fired(int timer) {
    struct itimerspec left;
    return syscall(SYS_timer_gettime, timer, &left) == 0 && left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0;
}

void timers_close(int timer) {
    if (timer != NO_TIMER)
        syscall(SYS_timer_delete, timer);
}

bool timers_are_fine(void) {
    struct timespec step;
    return clock_getres(CLOCK_MONOTONIC, &step) == 0 && step.tv_sec == 0 &&
           (uint64_t)step.tv_nsec < clock_kernel_tick();
}

int64_t timers_cpu_time(pid_t tid) { return clock_cpu_time(tid); }

/* A kernel without high-resolution timers, for a program that this is loaded into first. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_getres(clockid_t clock, struct timespec *step) {
    return (int)syscall(SYS_clock_getres, clock == CLOCK_MONOTONIC ? CLOCK_MONOTONIC_COARSE : clock, step);
}

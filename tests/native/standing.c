/* The core with threads' CPU clocks that stand, or go on at each reading, as a test says. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Whether threads run, as their CPU clocks have it; and how often these were read. */
atomic_bool running;
atomic_uint readings;

/* A thread's status, and what it becomes at each reading: the thread has its state again before it is looked at. */
uint32_t *status;
uint32_t status_then;

__attribute__((visibility("hidden"))) int clock_gettime(clockid_t clock, struct timespec *time) {
    static atomic_uint used;
    if (clock >= 0) /* those of threads are negative */
        return (int)syscall(SYS_clock_gettime, clock, time);
    atomic_fetch_add(&readings, 1);
    if (status != NULL)
        *status = status_then;
    unsigned now = running ? atomic_fetch_add(&used, 1) : atomic_load(&used);
    *time = (struct timespec){.tv_sec = 1, .tv_nsec = now % 1000000};
    return 0;
}

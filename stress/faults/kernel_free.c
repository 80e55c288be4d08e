/* The real kernel as it is: for programs whose session's thread runs by the clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "kernel.h"

int kernel_clock(clockid_t clock, struct timespec *time) { return clock_gettime(clock, time); }

int kernel_clock_step(clockid_t clock, struct timespec *time) { return clock_getres(clock, time); }

int kernel_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument) {
    return pthread_create(thread, attributes, function, argument);
}

int kernel_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return pthread_atfork(prepare, parent, child);
}

int kernel_open(const char *path, int flags) { return open(path, flags); }

FILE *kernel_fopen(const char *path, const char *mode) { return fopen(path, mode); }

int kernel_join(pthread_t thread) { return pthread_join(thread, NULL); }

int kernel_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    return pthread_cond_timedwait(condition, mutex, until);
}

void kernel_wake(void) {}

long kernel_system_call(long number, const long arguments[6]) {
    return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}

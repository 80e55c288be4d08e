/* The real kernel, with a note of the timers that it was asked for. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- the clock --------------------------------------------------------------------------------------- */

#define RUNS_FOR INT64_C(30000000) /* nanoseconds: more than ASKED_MOST of core/ordinary/monitor.h */

static _Atomic int64_t ahead; /* nanoseconds that the clock has leapt, */
static _Atomic int64_t used; /* and what each thread has used: else it would differ from run to run which of them run */
static _Atomic bool running;

void leash_let_run(bool run) { atomic_store(&running, run); }

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * INT64_C(1000000000) + time->tv_nsec; }

int kernel_clock(clockid_t clock, struct timespec *time) {
    int result = clock_gettime(clock, time);
    if (clock == CLOCK_MONOTONIC) {
        int64_t now = nanoseconds(time) + atomic_load(&ahead);
        *time = (struct timespec){.tv_sec = now / 1000000000, .tv_nsec = now % 1000000000};
    } else if (result == 0) {
        int64_t now = atomic_load(&running) ? atomic_fetch_add(&used, RUNS_FOR) : atomic_load(&used);
        *time = (struct timespec){.tv_sec = now / 1000000000, .tv_nsec = now % 1000000000};
    }
    return result;
}

/* Without high-resolution timers, so that threads have CPU timers: the monitor has wall mode. */
int kernel_clock_step(clockid_t clock, struct timespec *step) {
    (void)clock;
    return clock_getres(CLOCK_MONOTONIC_COARSE, step);
}

static void leap_to(const struct timespec *until) {
    struct timespec now;
    kernel_clock(CLOCK_MONOTONIC, &now);
    int64_t missing = nanoseconds(until) - nanoseconds(&now);
    if (missing > 0)
        atomic_fetch_add(&ahead, missing);
}

/* --- the leash --------------------------------------------------------------------------------------- */

static sem_t waiting, go; /* the session's thread waits; it may run on */
static bool stopping;     /* written before `go` is posted */

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        ; /* a signal came */
}

int kernel_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument) {
    sem_init(&waiting, 0, 0);
    sem_init(&go, 0, 0);
    stopping = false;
    return pthread_create(thread, attributes, function, argument);
}

int kernel_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return pthread_atfork(prepare, parent, child);
}

int kernel_open(const char *path, int flags) { return open(path, flags); }

FILE *kernel_fopen(const char *path, const char *mode) { return fopen(path, mode); }

int kernel_join(pthread_t thread) { return pthread_join(thread, NULL); }

int kernel_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    (void)condition;
    pthread_mutex_unlock(mutex);
    sem_post(&waiting);
    wait_for(&go);
    pthread_mutex_lock(mutex);
    if (stopping)
        return 0;
    leap_to(until);
    return ETIMEDOUT;
}

void kernel_wake(void) {
    stopping = true;
    sem_post(&go);
}

void leash_look(void) {
    wait_for(&waiting);
    sem_post(&go);
    wait_for(&waiting);
    sem_post(&waiting);
}

/* --- timers -------------------------------------------------------------------------------------------- */

#define TIMERS 64

static struct {
    int id;
    pid_t process, tid; /* a forked child has none of its parent's timers, and the same numbers */
    uint64_t value, serial;
    bool made, running;
} timers[TIMERS];

static void note_made(int id, const struct sigevent *event) {
    static uint64_t serial;
    for (int i = 0; i < TIMERS; i++) {
        if (timers[i].made)
            continue;
        timers[i].id = id;
        timers[i].process = getpid();
        timers[i].tid = event->_sigev_un._tid;
        timers[i].value = (uintptr_t)event->sigev_value.sival_ptr;
        timers[i].serial = ++serial;
        timers[i].made = true;
        timers[i].running = false;
        return;
    }
}

static void note_change(int id, bool made) {
    for (int i = 0; i < TIMERS; i++) {
        if (!timers[i].made || timers[i].id != id || timers[i].process != getpid())
            continue;
        timers[i].made = timers[i].running = made;
        return;
    }
}

bool kernel_timer_value(pid_t tid, uint64_t *value) {
    uint64_t newest = 0; /* where an older one could not be deleted */
    for (int i = 0; i < TIMERS; i++) {
        if (!timers[i].running || timers[i].tid != tid || timers[i].serial <= newest)
            continue;
        newest = timers[i].serial;
        *value = timers[i].value;
    }
    return newest > 0;
}

long kernel_system_call(long number, const long arguments[6]) {
    long result = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    if (result != 0)
        return result;
    if (number == SYS_timer_create)
        note_made(*(int *)arguments[2], (const struct sigevent *)arguments[1]); // NOLINT: addresses as long
    else if (number == SYS_timer_settime || number == SYS_timer_delete)
        note_change((int)arguments[0], number == SYS_timer_settime);
    return result;
}

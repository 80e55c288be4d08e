/* delivery.h, for a build without ThreadSanitizer: the kernel delivers, in the middle of anything. The timers are the
 * core's own; the link leads calls of timers_open and timers_close by here (ld --wrap), so that the storm knows which
 * ticks are due where. A thread may send a signal to another of its own process that looks like a timer's. */
#define _GNU_SOURCE /* syscall, struct sigaction's members */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "delivery.h"
#include "handler.h"
#include "ordinary/timers.h"
#include "spprof.h"

#define TIMERS 512
#define PAUSE 5000 /* nanoseconds between two rounds */

struct entry {
    pid_t tid; /* 0: free */
    int timer;
    uint64_t value;
};

static struct {
    pthread_mutex_t lock;
    struct entry entries[TIMERS]; /* under `lock` */
    pthread_t thread;
    _Atomic bool stopping;
} storm = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Atomic uint64_t foreign;

int __real_timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value);
void __real_timers_close(int timer);
int __wrap_timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value);
void __wrap_timers_close(int timer);

int __wrap_timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value) {
    int timer = __real_timers_open(clock, tid, signal, value);
    if (timer < 0)
        return timer;
    pthread_mutex_lock(&storm.lock);
    for (int i = 0; i < TIMERS; i++)
        if (storm.entries[i].tid == 0) {
            storm.entries[i] = (struct entry){tid, timer, value};
            break;
        }
    pthread_mutex_unlock(&storm.lock);
    return timer;
}

void __wrap_timers_close(int timer) {
    pthread_mutex_lock(&storm.lock);
    for (int i = 0; i < TIMERS; i++)
        if (storm.entries[i].tid != 0 && storm.entries[i].timer == timer)
            storm.entries[i].tid = 0;
    pthread_mutex_unlock(&storm.lock);
    __real_timers_close(timer);
}

/* Also after the timer was closed meanwhile: the kernel's late ticks come so too. */
static void forge(const struct entry *entry) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sampler.signal;
    info.si_code = SI_TIMER;
    info.si_value.sival_ptr = (void *)(uintptr_t)entry->value; // NOLINT: a number on purpose
    syscall(SYS_rt_tgsigqueueinfo, getpid(), entry->tid, sampler.signal, &info);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *blow(void *unused) {
    static struct entry entries[TIMERS];
    for (unsigned round = 0; !atomic_load_explicit(&storm.stopping, memory_order_relaxed); round++) {
        pthread_mutex_lock(&storm.lock);
        memcpy(entries, storm.entries, sizeof entries);
        pthread_mutex_unlock(&storm.lock);
        for (int i = 0; i < TIMERS; i++)
            if (entries[i].tid != 0)
                forge(&entries[i]);
        if (round % 64 == 0)
            kill(getpid(), sampler.signal); /* somebody else's */
        for (uint64_t until = now() + PAUSE; now() < until;)
            ; /* a sleep would be ten times as long */
    }
    return unused;
}

void delivery_thread_begin(uint64_t seed) { (void)seed; }
void delivery_thread_end(void) {}

bool delivery_storm_start(void) {
    atomic_store_explicit(&storm.stopping, false, memory_order_relaxed);
    return pthread_create(&storm.thread, NULL, blow, NULL) == 0;
}

void delivery_storm_stop(void) {
    atomic_store_explicit(&storm.stopping, true, memory_order_relaxed);
    pthread_join(storm.thread, NULL);
}

static void count(int signal) {
    (void)signal;
    atomic_fetch_add_explicit(&foreign, 1, memory_order_relaxed);
}

void delivery_take_signal(void) {
    struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
    sigaction(spprof_signal(), &action, NULL);
}

uint64_t delivery_foreign_signals(void) { return atomic_load_explicit(&foreign, memory_order_relaxed); }

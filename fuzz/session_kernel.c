#define _GNU_SOURCE /* sigevent, fmemopen */
#include "session_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../stress/faults/kernel.h"
#include "handler.h"
#include "target.h"

struct fake_timer fake_timers[FAKE_TIMERS];
struct fake_thread fake_threads[FAKE_THREADS];

/* --- the clock ----------------------------------------------------------------------------------------- */

#define BEGINNING UINT64_C(1000000000000)

static uint64_t now;

uint64_t fake_now(void) { return now; }
void fake_pass(uint64_t nanoseconds) { now += nanoseconds; }

static struct fake_thread *thread_of(pid_t tid) {
    for (int i = 0; i < FAKE_THREADS; i++)
        if (fake_threads[i].alive && fake_threads[i].tid == tid)
            return &fake_threads[i];
    return NULL;
}

/* The kernel's number for a thread's CPU clock: the id's complement above three bits, of which 6 says "scheduler, of a
 * thread" (include/linux/posix-timers_types.h). */
static struct fake_thread *thread_of_clock(clockid_t clock) {
    FUZZ_LAW((clock & 7) == 6);
    return thread_of(~(clock >> 3));
}

int64_t fake_read_clock(struct fake_thread *thread) {
    int64_t used = thread->used;
    if (!thread->pauses) {
        thread->used += thread->busy;
        thread->busy = 0;
    }
    thread->pauses = false;
    return used;
}

static int64_t ended; /* what threads that are there no more have used */

static int64_t process_time(void) {
    int64_t sum = ended;
    for (int i = 0; i < FAKE_THREADS; i++)
        if (fake_threads[i].alive)
            sum += fake_threads[i].used;
    return sum;
}

int kernel_clock(clockid_t clock, struct timespec *time) {
    uint64_t value = now;
    if (clock == CLOCK_PROCESS_CPUTIME_ID) {
        value = (uint64_t)process_time();
    } else if (clock == CLOCK_THREAD_CPUTIME_ID) {
        value = 0; /* of the watcher, which takes no time */
    } else if (clock != CLOCK_MONOTONIC) {
        struct fake_thread *thread = thread_of_clock(clock);
        if (thread == NULL) {
            errno = EINVAL;
            return -1;
        }
        value = (uint64_t)fake_read_clock(thread);
    }
    *time = (struct timespec){.tv_sec = (time_t)(value / 1000000000), .tv_nsec = (long)(value % 1000000000)};
    return 0;
}

static bool clock_fine;

void fake_clock_is_fine(bool fine) { clock_fine = fine; }

int kernel_clock_step(clockid_t clock, struct timespec *step) {
    bool fine = clock_fine && clock == CLOCK_MONOTONIC;
    *step = (struct timespec){.tv_nsec = fine ? 1 : (long)FAKE_KERNEL_TICK};
    return 0;
}

/* --- timers -------------------------------------------------------------------------------------------- */

static int refuse(int error) {
    errno = error;
    return -1;
}

struct fake_refused fake_refused;

/* The first id is 0, as the kernel's is. */
static int make_timer(clockid_t clock, const struct sigevent *event, int *id) {
    pid_t tid = event->_sigev_un._tid;
    uint64_t value = (uintptr_t)event->sigev_value.sival_ptr;
    FUZZ_LAW(clock != CLOCK_MONOTONIC);
    const struct fake_thread *thread = thread_of_clock(clock);
    FUZZ_LAW(event->sigev_notify == SIGEV_THREAD_ID && event->sigev_signo == sampler.signal);
    if (thread == NULL)
        return refuse(EINVAL);
    FUZZ_LAW(tid == thread->tid);
    if (value & VALUE_ASKS && fake_refused.timers)
        return refuse(EAGAIN);
    for (int i = 0; i < FAKE_TIMERS; i++) {
        if (fake_timers[i].made)
            continue;
        fake_timers[i] = (struct fake_timer){.tid = tid, .value = value, .made = true};
        *id = i;
        return 0;
    }
    return refuse(EAGAIN);
}

static struct fake_timer *made_timer(long id) {
    return id >= 0 && id < FAKE_TIMERS && fake_timers[id].made ? &fake_timers[id] : NULL;
}

static int run_timer(int id, int flags, const struct itimerspec *times) {
    if (id < 0) /* none could be made */
        return refuse(EINVAL);
    struct fake_timer *timer = made_timer(id);
    FUZZ_LAW(timer != NULL);
    uint64_t first = (uint64_t)times->it_value.tv_sec * 1000000000 + (uint64_t)times->it_value.tv_nsec;
    timer->interval = (uint64_t)times->it_interval.tv_sec * 1000000000 + (uint64_t)times->it_interval.tv_nsec;
    if (timer->interval == 0) {
        const struct fake_thread *thread = thread_of(timer->tid);
        FUZZ_LAW(first == 1 && !timer->running && (timer->value & VALUE_ASKS));
        FUZZ_LAW(flags == 0 || flags == TIMER_ABSTIME);
        timer->asks = true;
        timer->later = flags == 0;
        timer->set_at = thread != NULL ? thread->used : 0;
        return 0;
    }
    FUZZ_LAW(first > 0 && first <= timer->interval && flags == 0);
    timer->running = true;
    return 0;
}

static int left_of_timer(long id, struct itimerspec *left) {
    const struct fake_timer *timer = made_timer(id);
    FUZZ_LAW(timer != NULL && !timer->running);
    *left = (struct itimerspec){.it_value = {.tv_nsec = timer->asks}};
    return 0;
}

static int delete_timer(long id) {
    struct fake_timer *timer = made_timer(id);
    FUZZ_LAW(timer != NULL);
    *timer = (struct fake_timer){0};
    return 0;
}

const struct fake_timer *fake_timer_of(pid_t tid) {
    for (int i = FAKE_TIMERS - 1; i >= 0; i--) /* where one could not be deleted, it has a lower number */
        if (fake_timers[i].running && fake_timers[i].tid == tid)
            return &fake_timers[i];
    return NULL;
}

static struct fake_timer *asker(pid_t tid) {
    for (int i = FAKE_TIMERS - 1; i >= 0; i--) { /* as above */
        struct fake_timer *timer = &fake_timers[i];
        if (timer->made && timer->tid == tid && timer->value & VALUE_ASKS)
            return timer;
    }
    return NULL;
}

const struct fake_timer *fake_asker(pid_t tid) { return asker(tid); }

bool fake_asked(pid_t tid, uint64_t *value) {
    struct fake_timer *timer = asker(tid);
    if (timer == NULL || !timer->asks || (timer->later && thread_of(tid)->used <= timer->set_at))
        return false;
    timer->asks = false;
    *value = timer->value;
    return true;
}

bool fake_timer_has(uint64_t value) {
    for (int i = 0; i < FAKE_TIMERS; i++)
        if (fake_timers[i].made && fake_timers[i].value == value)
            return true;
    return false;
}

void fake_kernel_die(struct fake_thread *thread) {
    for (int i = 0; i < FAKE_TIMERS; i++)
        if (fake_timers[i].tid == thread->tid)
            fake_timers[i].tid = 0;
    ended += thread->used;
    thread->alive = false;
}

void fake_timers_silence(void) {
    for (int i = 0; i < FAKE_TIMERS; i++) {
        fake_timers[i].tid = 0;
        fake_timers[i].value = 0;
        fake_timers[i].running = fake_timers[i].asks = false;
    }
}

unsigned fake_timers_made(void) {
    unsigned count = 0;
    for (int i = 0; i < FAKE_TIMERS; i++)
        count += fake_timers[i].made;
    return count;
}

long kernel_system_call(long number, const long arguments[6]) {
    switch (number) {
    case SYS_timer_create:
        return make_timer((clockid_t)arguments[0], (const struct sigevent *)arguments[1],
                          (int *)arguments[2]); // NOLINT
    case SYS_timer_settime:
        return run_timer((int)arguments[0], (int)arguments[1],
                         (const struct itimerspec *)arguments[2]); // NOLINT
    case SYS_timer_gettime:
        return (int)arguments[0] < 0 ? refuse(EINVAL)
                                     : left_of_timer((int)arguments[0], (struct itimerspec *)arguments[1]); // NOLINT
    case SYS_timer_delete:
        return delete_timer(arguments[0]);
    case SYS_tgkill: /* asks for the session's thread, which has ended and been joined */
        FUZZ_LAW(arguments[2] == 0 && !fake_watcher());
        return refuse(ESRCH);
    case SYS_close_range: /* there is one thread, whose files are the target's */
        return 0;
    default:
        return syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    }
}

/* --- the session's thread ---------------------------------------------------------------------------------- */

static struct {
    ucontext_t context, caller;
    void *(*function)(void *);
    bool exists, woken;
    struct timespec until;
} watcher;
static char watcher_stack[256 << 10] __attribute__((aligned(64)));

static void begin_watching(void) {
    watcher.function(NULL);
    watcher.exists = false;
    setcontext(&watcher.caller);
}

static void let_run(void) { swapcontext(&watcher.caller, &watcher.context); }

int kernel_thread(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument) {
    FUZZ_LAW(!watcher.exists && attributes == NULL && argument == NULL);
    watcher.exists = true;
    watcher.woken = false;
    watcher.function = function;
    *thread = pthread_self();
    ASAN_UNPOISON_MEMORY_REGION(watcher_stack, sizeof watcher_stack); /* it may have been left in a forked child */
    getcontext(&watcher.context);
    watcher.context.uc_stack = (stack_t){.ss_sp = watcher_stack, .ss_size = sizeof watcher_stack};
    makecontext(&watcher.context, begin_watching, 0);
    let_run(); /* until it waits */
    return 0;
}

int kernel_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    (void)condition;
    watcher.until = *until;
    pthread_mutex_unlock(mutex);
    swapcontext(&watcher.context, &watcher.caller);
    pthread_mutex_lock(mutex);
    return watcher.woken ? 0 : ETIMEDOUT;
}

void kernel_wake(void) { watcher.woken = true; }

int kernel_join(pthread_t thread) {
    FUZZ_LAW(thread == pthread_self() && watcher.exists && watcher.woken);
    let_run();
    FUZZ_LAW(!watcher.exists);
    return 0;
}

bool fake_watcher(void) { return watcher.exists; }

uint64_t fake_wanted(void) {
    const struct timespec *until = &watcher.until;
    return (uint64_t)until->tv_sec * 1000000000 + (uint64_t)until->tv_nsec;
}

void fake_look(void) {
    let_run();
    FUZZ_LAW(watcher.exists);
}

/* --- fork ---------------------------------------------------------------------------------------------------- */

static void (*before_fork)(void), (*in_parent_after_fork)(void), (*in_child_after_fork)(void);

int kernel_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    FUZZ_LAW(before_fork == NULL); /* more than once would lock twice */
    before_fork = prepare;
    in_parent_after_fork = parent;
    in_child_after_fork = child;
    return 0;
}

void fake_fork(bool in_child) {
    if (before_fork == NULL)
        return;
    before_fork();
    if (!in_child) {
        in_parent_after_fork();
        return;
    }
    memset(fake_timers, 0, sizeof fake_timers);
    watcher.exists = false;
    in_child_after_fork();
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static char maps[200];

void fake_kernel_stacks(uintptr_t low, uintptr_t high) {
    snprintf(maps, sizeof maps, "10000-20000 r-xp 00000000 00:00 0 \nno line of it\n%lx-%lx rw-p 00000000 00:00 0 \n",
             low, high);
}

#define MAPS "/proc/self/maps"

int kernel_open(const char *path, int flags) {
    return fake_refused.maps && strcmp(path, MAPS) == 0 ? refuse(EMFILE) : open(path, flags);
}

FILE *kernel_fopen(const char *path, const char *mode) {
    FUZZ_LAW(strcmp(path, MAPS) == 0 && strcmp(mode, "re") == 0);
    if (!fake_refused.maps)
        return fmemopen(maps, strlen(maps), "r");
    refuse(EMFILE);
    return NULL;
}

void fake_kernel_begin(void) {
    now = BEGINNING;
    clock_fine = false;
    fake_refused = (struct fake_refused){0};
}

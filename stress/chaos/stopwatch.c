/* Times the runs of the handler by which threads look at themselves, from outside: preloaded (LD_PRELOAD), it stands between
 * sigaction and libc, and puts its own function before any handler of a signal that a session may choose that takes a
 * siginfo. Who asks for the handler is told the one that was given, so a session does not see that it is timed.
 *
 * A run is timed by the thread's CPU clock: what another thread takes of the processor meanwhile does not count. Times
 * are in nanoseconds; the least that is shown is two readings of that clock.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "../../core/signals.h"

#define BUCKETS 40 /* by powers of two, the last for all that is longer */

typedef void handler_function(int, siginfo_t *, void *);
typedef int sigaction_function(int, const struct sigaction *, struct sigaction *);

static sigaction_function *next;
static _Atomic(handler_function *) timed;
static _Atomic uint64_t runs[BUCKETS]; /* written by handlers of any thread, read by stopwatch_read */
static _Atomic uint64_t worst;

__attribute__((constructor)) static void find_next(void) {
    if (next == NULL)
        next = (sigaction_function *)dlsym(RTLD_NEXT, "sigaction");
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void note(uint64_t taken) {
    int bucket = taken == 0 ? 0 : 63 - __builtin_clzll(taken);
    atomic_fetch_add(&runs[bucket < BUCKETS ? bucket : BUCKETS - 1], 1);
    uint64_t seen = atomic_load(&worst);
    while (taken > seen && !atomic_compare_exchange_weak(&worst, &seen, taken))
        ;
}

static void stand_before(int signal, siginfo_t *info, void *context) {
    int saved = errno;
    uint64_t began = now();
    errno = saved;
    atomic_load (&timed)(signal, info, context);
    saved = errno;
    note(now() - began);
    errno = saved;
}

int sigaction(int signal, const struct sigaction *action, struct sigaction *former) {
    find_next();
    if (signal < SIGNALS_CHOICE_LAST || signal > SIGNALS_CHOICE_FIRST)
        return next(signal, action, former);
    handler_function *told = atomic_load(&timed);
    struct sigaction changed;
    if (action != NULL && (action->sa_flags & SA_SIGINFO)) {
        changed = *action;
        changed.sa_sigaction = stand_before;
        atomic_store(&timed, action->sa_sigaction);
        action = &changed;
    }
    int result = next(signal, action, former);
    if (result == 0 && former != NULL && former->sa_sigaction == stand_before)
        former->sa_sigaction = told;
    return result;
}

/* Fills in the runs by bucket (bucket i: 2^i to 2^(i+1) nanoseconds) and the longest. */
void stopwatch_read(uint64_t by_bucket[BUCKETS], uint64_t *longest) {
    for (int i = 0; i < BUCKETS; i++)
        by_bucket[i] = atomic_load(&runs[i]);
    *longest = atomic_load(&worst);
}

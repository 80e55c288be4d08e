/* delivery.h, for ThreadSanitizer: takes the place of core/ordinary/timers.c as well. */
#define _GNU_SOURCE /* gettid, register names */
#ifndef EXPLICIT_DELIVERY
#define EXPLICIT_DELIVERY /* what it is compiled with beside the rest */
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "delivery.h"
#include "handler.h"
#include "ordinary/timers.h"
#include "spprof.h"

#define CELLS 512
#define POINTS_BETWEEN_TICKS 64 /* on average */
#define LATE_ONE_IN 8           /* ticks are kept */
#define LATE_POINTS 200         /* for so many points at most */
#define FOREIGN_ONE_IN 32       /* for a tick, one of somebody else's */
#define TICKS_AT_THE_END 8      /* that a thread may still take when its state has gone */

#if defined(__x86_64__)
#define STACK_POINTER(context) ((context)->uc_mcontext.gregs[REG_RSP])
#else
#define STACK_POINTER(context) ((context)->uc_mcontext.sp)
#endif

/* A thread, and the timer that it has, if any. The thread writes its tid, who opens timers the rest. */
struct cell {
    _Atomic int32_t tid;
    _Atomic int32_t owner; /* whom `value` is for: the cell may have changed hands meanwhile */
    _Atomic uint64_t value;
    _Atomic int32_t timer; /* 0: none runs */
};
static struct cell cells[CELLS];
static _Atomic int32_t timers_made;
static _Atomic uint64_t foreign;

#define get(object) atomic_load_explicit((object), memory_order_relaxed)
#define put(object, value) atomic_store_explicit((object), (value), memory_order_relaxed)

/* --- timers.h ---------------------------------------------------------------------------------------------- */

int timers_open(clockid_t clock, pid_t tid, int signal, uint64_t value) {
    (void)signal;
    (void)clock;
    for (int i = 0; i < CELLS; i++) {
        if (get(&cells[i].tid) != tid)
            continue;
        put(&cells[i].owner, tid);
        put(&cells[i].value, value);
        return (int)atomic_fetch_add_explicit(&timers_made, 1, memory_order_relaxed) << 9 | i;
    }
    return -EINVAL; /* as the kernel for a thread that has ended */
}

int timers_run(int timer, uint64_t first, uint64_t interval) {
    (void)first;
    (void)interval;
    put(&cells[timer % CELLS].timer, timer + 1);
    return 0;
}

/* Delivered at one of the thread's next points, and then no more: what asks is not due again until it asks again. */
int timers_ask(int timer) {
    if (timer == NO_TIMER)
        return -EINVAL;
    put(&cells[timer % CELLS].timer, timer + 1);
    return 0;
}

int timers_ask_later(int timer) { return timers_ask(timer); }

bool timers_has_fired(int timer) { return timer != NO_TIMER && get(&cells[timer % CELLS].timer) == 0; }

void timers_close(int timer) {
    if (timer == NO_TIMER)
        return;
    int32_t expected = timer + 1;
    atomic_compare_exchange_strong_explicit(&cells[timer % CELLS].timer, &expected, 0, memory_order_relaxed,
                                            memory_order_relaxed);
}

/* In CPU mode ticks are delivered, as by a kernel without fine timers; in wall mode the monitor asks. */
bool timers_are_fine(void) { return false; }

int64_t timers_cpu_time(pid_t tid) {
    for (int i = 0; i < CELLS; i++)
        if (get(&cells[i].tid) == tid)
            return 0;
    return -EINVAL;
}

/* --- delivery ------------------------------------------------------------------------------------------------- */

static __thread struct {
    struct cell *cell;
    int32_t tid;
    uint64_t random;
    uint64_t late; /* a tick that is pending; 0: none */
    unsigned wait;
} own;

static uint64_t draw(void) { /* xorshift64 */
    own.random ^= own.random << 13;
    own.random ^= own.random >> 7;
    own.random ^= own.random << 17;
    return own.random;
}

/* Runs the handler as the kernel would. */
static void deliver(int code, uint64_t value) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sampler.signal;
    info.si_code = code;
    info.si_value.sival_ptr = (void *)(uintptr_t)value; // NOLINT: a number on purpose
    info.si_overrun = (int)(draw() % 3);
    ucontext_t context;
    memset(&context, 0, sizeof context);
    pthread_sigmask(SIG_SETMASK, NULL, &context.uc_sigmask);
    STACK_POINTER(&context) = (__typeof__(STACK_POINTER(&context)))__builtin_frame_address(0);
    struct sigaction present;
    sigaction(sampler.signal, NULL, &present);
    present.sa_sigaction(sampler.signal, &info, &context);
}

static uint64_t armed(void) {
    return get(&own.cell->timer) != 0 && get(&own.cell->owner) == own.tid ? get(&own.cell->value) : 0;
}

void delivery_point(void) {
    if (own.cell == NULL)
        return;
    if (own.late != 0 && own.wait-- == 0) {
        deliver(SI_TIMER, own.late);
        own.late = 0;
    }
    if (draw() % POINTS_BETWEEN_TICKS != 0)
        return;
    uint64_t value = armed();
    if (value == 0)
        return;
    if (value & VALUE_ASKS)
        timers_close(get(&own.cell->timer) - 1);
    if (draw() % FOREIGN_ONE_IN == 0)
        deliver(SI_USER, 0);
    if (own.late != 0 || draw() % LATE_ONE_IN != 0) {
        deliver(SI_TIMER, value);
        return;
    }
    own.late = value;
    own.wait = (unsigned)(draw() % LATE_POINTS);
}

void delivery_thread_begin(uint64_t seed) {
    own.random = seed | 1;
    own.tid = gettid();
    own.late = 0;
    for (int i = 0; own.cell == NULL; i = (i + 1) % CELLS) {
        int32_t nobody = 0;
        if (atomic_compare_exchange_strong_explicit(&cells[i].tid, &nobody, own.tid, memory_order_relaxed,
                                                    memory_order_relaxed))
            own.cell = &cells[i];
    }
}

void delivery_thread_end(void) {
    for (unsigned i = draw() % TICKS_AT_THE_END; i > 0; i--)
        if (armed() != 0)
            deliver(SI_TIMER, armed());
    if (own.late != 0)
        deliver(SI_TIMER, own.late);
    struct cell *cell = own.cell;
    own.cell = NULL;
    put(&cell->timer, 0);
    put(&cell->tid, 0);
}

bool delivery_storm_start(void) { return true; }
void delivery_storm_stop(void) {}

static void count(int signal) {
    (void)signal;
    atomic_fetch_add_explicit(&foreign, 1, memory_order_relaxed);
}

void delivery_take_signal(void) {
    struct sigaction action = {.sa_handler = count};
    sigaction(spprof_signal(), &action, NULL);
}

uint64_t delivery_foreign_signals(void) { return get(&foreign); }

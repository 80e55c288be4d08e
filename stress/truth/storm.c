#define _GNU_SOURCE /* syscall */
#include "storm.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "handler.h"

#define ROUNDS_BETWEEN_IDLE 64

/* Between rounds, nanoseconds: time for the handlers to run, and for what they interrupt. */
#define PAUSE 3000

/* What is known of a slot's tenancy. A slot whose lease has moved on is nobody's until it has a new thread number:
 * ticks sent then would be charged to a thread that they did not interrupt, which the kernel's never are. */
struct tenancy {
    uint32_t lease;
    uint64_t thread;
    bool live;
};

static struct {
    struct tenancy tenancies[SLOTS_MAX];
    int32_t idle_tid;
    uint64_t sent;
    pthread_t thread;
    _Atomic bool stopping;
} storm;

static void forge(uint32_t number, uint32_t lease, int32_t tid) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = sampler.signal;
    info.si_code = SI_TIMER;
    info.si_value.sival_ptr = (void *)tick_value(number, lease); // NOLINT: an integer on purpose
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, sampler.signal, &info) == 0)
        storm.sent++;
}

/* Whether the slot has the tenant that it had a round ago. A new one is believed from the next round on. */
static bool is_live(struct tenancy *tenancy, const struct slot *slot, uint32_t lease) {
    bool same = tenancy->lease == lease;
    bool fresh = tenancy->thread != slot->thread + 1;
    if (!same)
        tenancy->live = false;
    if (fresh)
        tenancy->live = true;
    tenancy->lease = lease;
    tenancy->thread = slot->thread + 1;
    return same && !fresh && tenancy->live;
}

static void send_round(uint64_t round) {
    for (uint32_t number = 0; number < SLOTS_MAX; number++) {
        struct slot *slot = atomic_read(slot_find, &sampler.slots[number]);
        if (slot == NULL)
            return;
        uint32_t lease = atomic_read(enter_lease, &slot->lease);
        if (is_live(&storm.tenancies[number], slot, lease) &&
            (slot->tid != storm.idle_tid || round % ROUNDS_BETWEEN_IDLE == 0))
            forge(number, lease, slot->tid);
    }
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *blow(void *unused) {
    (void)unused;
    prctl(PR_SET_TIMERSLACK, 1UL); /* the usual 50 us would be most of a round */
    for (uint64_t round = 0; !atomic_read(active_peek, &storm.stopping); round++) {
        send_round(round);
        for (uint64_t until = now() + PAUSE; now() < until;)
            ;
    }
    return NULL;
}

bool storm_start(int32_t idle_tid) {
    storm.idle_tid = idle_tid;
    storm.sent = 0;
    atomic_write(active_write, &storm.stopping, false);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&storm.thread, NULL, blow, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

uint64_t storm_stop(void) {
    atomic_write(active_write, &storm.stopping, true);
    pthread_join(storm.thread, NULL);
    return storm.sent;
}

#define _GNU_SOURCE /* syscall */
#include "held.h"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static const int faults[] = {SIGSEGV, SIGBUS};
#define FAULTS 2

/* The calling thread is the session's: so for one thread at a time. */
static __thread volatile bool is_ours __attribute__((tls_model("initial-exec")));

/* That thread writes and reads these, and handlers on it. */
static volatile sig_atomic_t resting;
static volatile sig_atomic_t is_held[FAULTS], is_blocked[FAULTS];
static siginfo_t held[FAULTS];

/* The kernel lets only a process's first thread say of a signal to the process that kill(2) sent it
 * (do_rt_sigqueueinfo in kernel/signal.c): such a one is then this process's own. */
static void give_to_process(int signal, const siginfo_t *info) {
    if (syscall(SYS_rt_sigqueueinfo, getpid(), signal, info) != 0)
        kill(getpid(), signal);
}

static void change_mask(int how, int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(how, &set, NULL);
}

void held_begin(void) {
    is_held[0] = is_held[1] = 0;
    is_blocked[0] = is_blocked[1] = 1;
    is_ours = true;
    held_go_on();
}

void held_rest(void) {
    resting = 1;
    for (int i = 0; i < FAULTS; i++) {
        if (!is_held[i])
            continue;
        is_held[i] = 0;
        is_blocked[i] = 1;
        change_mask(SIG_BLOCK, faults[i]);
        give_to_process(faults[i], &held[i]);
    }
}

void held_go_on(void) {
    sigset_t waiting;
    resting = 0;
    for (int i = 0; i < FAULTS; i++) {
        if (!is_blocked[i] || sigpending(&waiting) != 0 || sigismember(&waiting, faults[i]))
            continue;
        is_blocked[i] = 0;
        change_mask(SIG_UNBLOCK, faults[i]);
    }
}

bool held_take(int signal, const siginfo_t *info, void *ucontext) {
    if (info->si_code > 0 || !is_ours)
        return false;
    int i = signal == SIGBUS;
    if (resting) {
        is_blocked[i] = 1; /* when the handler returns */
        sigaddset(&((ucontext_t *)ucontext)->uc_sigmask, signal);
        give_to_process(signal, info);
    } else {
        held[i] = *info;
        is_held[i] = 1;
    }
    return true;
}

#define _GNU_SOURCE /* sigorset, syscall */
#include "signals.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "atomics.h"

_Atomic(const struct sigaction *) signals_former[NSIG];

/* A former owner that kept our handler as *its* former owner calls back here, and would for ever. Such a call comes
 * deeper in the stack than the one before, and with the same context, or with one of its own where the owner sends the
 * fault signal again to get past itself; any other follows a handler that was left by longjmp. */
struct nesting {
    uintptr_t frame;
    const void *ucontext;
    int depth;
};
static __thread struct nesting nesting __attribute__((tls_model("initial-exec")));
/* One would do, but for a handler that was left by longjmp. More would not fit: each has a signal's frame and its owner's
 * report on what may be an alternate stack of a few pages. Where that overflows, the kernel of ARM64 begins it anew at its
 * top, so that the next looks like none that was called back. */
#define DEEPEST_NESTING 2

bool signals_installed(int signal, signal_function *function) {
    struct sigaction current;
    return sigaction(signal, NULL, &current) == 0 && (current.sa_flags & SA_SIGINFO) &&
           current.sa_sigaction == function;
}

static bool is_fault(int signal) { return signal == SIGSEGV || signal == SIGBUS; }

/* The default action of every signal taken here is to end the process, with this signal as its cause. A fault happens
 * again by itself when the handler returns, with its own address and registers for the core file; anything that was
 * sent must be sent again, and is delivered when the handler's mask is lifted. */
static void take_default_action(int signal, const siginfo_t *info) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal, &action, NULL);
    bool recurs = info->si_code > 0 && is_fault(signal);
    if (!recurs)
        syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), signal);
}

static void call_handler(const struct sigaction *owner, int signal, siginfo_t *info, void *ucontext) {
    sigset_t before, during;
    sigorset(&during, &owner->sa_mask, &((ucontext_t *)ucontext)->uc_sigmask);
    if (!(owner->sa_flags & SA_NODEFER))
        sigaddset(&during, signal);
    pthread_sigmask(SIG_SETMASK, &during, &before);
    if (owner->sa_flags & SA_SIGINFO)
        owner->sa_sigaction(signal, info, ucontext);
    else
        owner->sa_handler(signal);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Calls the owner unless it keeps calling back. */
static bool call_nested(const struct sigaction *owner, int signal, siginfo_t *info, void *ucontext) {
    struct nesting outer = nesting;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    bool sent_again = is_fault(signal) && info->si_code <= 0;
    bool called_back = outer.depth > 0 && frame < outer.frame && (ucontext == outer.ucontext || sent_again);
    int depth = called_back ? outer.depth + 1 : 1;
    if (depth > DEEPEST_NESTING)
        return false;
    nesting = (struct nesting){.frame = frame, .ucontext = ucontext, .depth = depth};
    call_handler(owner, signal, info, ucontext);
    nesting = outer;
    return true;
}

void signals_chain(int signal, siginfo_t *info, void *ucontext) {
    const struct sigaction *owner = atomic_read(disposition_find, &signals_former[signal]);
    bool plain = owner == NULL || !(owner->sa_flags & SA_SIGINFO);
    bool is_default = owner == NULL || (plain && owner->sa_handler == SIG_DFL);
    bool is_ignored = owner != NULL && plain && owner->sa_handler == SIG_IGN;
    bool handled;
    if (is_default || is_ignored)
        handled = is_ignored && !(is_fault(signal) && info->si_code > 0); /* a real fault cannot be ignored */
    else
        handled = call_nested(owner, signal, info, ucontext) || !is_fault(signal);
    if (!handled)
        take_default_action(signal, info);
}

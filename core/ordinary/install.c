#define _GNU_SOURCE /* struct sigaction's members */
#include "install.h"

#include <errno.h>
#include <stdlib.h>

#include "atomics.h"

/* While one of our handlers runs, nothing but a fault may interrupt it: another handler could take long, or leave by
 * longjmp and never come back. */
static sigset_t all_but_faults(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&set, faults[i]);
    return set;
}

/* A disposition that was published may be read by a handler at any time, so none is ever freed; each is kept once. */
struct owner {
    struct sigaction action;
    struct owner *older;
};

/* Signal by signal: libc leaves the part of the set that has no signals as it happens to be. */
static bool same_set(const sigset_t *left, const sigset_t *right) {
    for (int signal = 1; signal < NSIG; signal++)
        if (sigismember(left, signal) != sigismember(right, signal))
            return false;
    return true;
}

static bool same_action(const struct sigaction *left, const struct sigaction *right) {
    return left->sa_sigaction == right->sa_sigaction && left->sa_flags == right->sa_flags &&
           same_set(&left->sa_mask, &right->sa_mask);
}

/* The kept copy of `action`; NULL where there is no memory for one. */
static const struct sigaction *keep(const struct sigaction *action) {
    static struct owner *newest;
    for (struct owner *owner = newest; owner != NULL; owner = owner->older)
        if (same_action(&owner->action, action))
            return &owner->action;
    struct owner *owner = malloc(sizeof *owner);
    if (owner == NULL)
        return NULL;
    *owner = (struct owner){.action = *action, .older = newest};
    newest = owner;
    return &owner->action;
}

/* Makes `owner` the former owner and `ours` the handler. */
static int take_over(int signal, const struct sigaction *owner, const struct sigaction *ours) {
    const struct sigaction *before = atomic_read(disposition_find, &signals_former[signal]);
    atomic_write(disposition_publish, &signals_former[signal], owner);
    if (sigaction(signal, ours, NULL) == 0)
        return 0;
    int error = errno;
    atomic_write(disposition_publish, &signals_former[signal], before);
    return -error;
}

int install_handler(int signal, signal_function *function) {
    struct sigaction present;
    if (sigaction(signal, NULL, &present) != 0)
        return -errno; /* not taken for somebody else's: what is ours must not become our own former owner */
    if ((present.sa_flags & SA_SIGINFO) && present.sa_sigaction == function)
        return 0;
    const struct sigaction *owner = keep(&present);
    if (owner == NULL)
        return -ENOMEM;
    struct sigaction ours = {.sa_sigaction = function, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    ours.sa_mask = all_but_faults();
    return take_over(signal, owner, &ours);
}

void install_restore(int signal, signal_function *function) {
    const struct sigaction *owner = atomic_read(disposition_find, &signals_former[signal]);
    if (owner != NULL && signals_installed(signal, function))
        sigaction(signal, owner, NULL);
}

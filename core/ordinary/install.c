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

int install_handler(int signal, signal_function *function) {
    if (signals_installed(signal, function))
        return 0;
    struct sigaction *owner = malloc(sizeof *owner); /* kept for ever, see signals_former */
    if (owner == NULL)
        return -ENOMEM;
    if (sigaction(signal, NULL, owner) != 0) {
        int error = errno;
        free(owner);
        return -error;
    }
    const struct sigaction *before = atomic_read(disposition_find, &signals_former[signal]);
    atomic_write(disposition_publish, &signals_former[signal], owner);
    struct sigaction ours = {.sa_sigaction = function, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    ours.sa_mask = all_but_faults();
    if (sigaction(signal, &ours, NULL) == 0)
        return 0;
    int error = errno;
    atomic_write(disposition_publish, &signals_former[signal], before);
    return -error;
}

void install_restore(int signal, signal_function *function) {
    const struct sigaction *owner = atomic_read(disposition_find, &signals_former[signal]);
    if (owner != NULL && signals_installed(signal, function))
        sigaction(signal, owner, NULL);
}

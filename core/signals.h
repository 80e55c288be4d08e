/* Handing on the signals that are not ours.
 *
 * Both functions are async-signal-safe. Taking a signal over is ordinary code (ordinary/install.h). A handler that was
 * once installed stays fit to run for the life of the process: a neighbour may have kept a pointer to it and call it
 * at any time.
 */
#ifndef SPPROF_SIGNALS_H
#define SPPROF_SIGNALS_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef void signal_function(int signal, siginfo_t *info, void *ucontext);

/* The former owner of each signal that we took. install.c writes, handlers read. What an entry points to is written
 * whole before the entry is, and never changed or freed after: a handler may be reading it. */
extern _Atomic(const struct sigaction *) signals_former[NSIG];

/* Whether `function` is the handler of `signal` now. Changes errno. */
bool signals_installed(int signal, signal_function *function);

/* Does with the signal what its former owner would have done: its handler, nothing, or the default action. */
void signals_chain(int signal, siginfo_t *info, void *ucontext);

#endif

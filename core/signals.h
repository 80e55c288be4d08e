/* Who owns a signal: a process has one handler for each, and many who want it.
 *
 * For each signal that we take there is a list of owners, newest first. Each is what our handler
 * replaced at one moment, kept unchanged for the life of the process, and has a function of its own
 * (thunks.h), which is what stands in its place in the kernel. A neighbour that takes the signal
 * from us gets the address of the newest owner's function as its predecessor; when we take the
 * signal back, the neighbour becomes an owner with another function. So whoever chains, by calling
 * its predecessor, by restoring it and sending the signal again, or not at all, reaches what it
 * would have reached without us, and there is no count of nested calls to lose to a siglongjmp.
 *
 * Each signal goes to its claim first, which says whether it is ours, and else to the owner of the
 * place that was called.
 *
 * Taking and giving back: one call at a time (the session's locks see to that), from ordinary code.
 * What runs in handlers is async-signal-safe. It is wait-free, except that a signal which is not
 * ours waits for an ordinary thread that is between two system calls of signals_take, for a bounded
 * time, and that a handler which changes who is in front does so again while others do.
 */
#ifndef SPPROF_SIGNALS_H
#define SPPROF_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

#include "thunks.h"

/* Of the real-time signals the lowest are libc's and what programs take first, and emulators cannot pass on the last two. */
#define SIGNALS_CHOICE_FIRST 58
#define SIGNALS_CHOICE_LAST 40

/* A signal that nobody has an action for, and that the calling thread does not block, as who waits for one does; to be ours: a
 * real-time one, of which two do not become one, and which programs leave alone. SIGPROF where there is none. From ordinary
 * code. */
int signals_choose(void);

/* Says whether a signal is ours, and if so deals with it. May change errno. */
typedef bool signal_claim(int signal, siginfo_t *info, void *ucontext);

/* Puts us in front of the present owner of `signal`; nothing happens where we are. Returns 0 or
 * a negative errno value: -ENOSPC after THUNKS different owners. The owner is then as it was. */
int signals_take(int signal, signal_claim *claim);

/* Gives `signal` back to its newest owner, where we are in front of it. */
void signals_give_back(int signal);

/* Whether we are in front. Changes errno. Async-signal-safe. */
bool signals_in_front(int signal);

#endif

/* One function for each place in a list of signal owners (signals.h).
 *
 * A signal handler is known by its address alone, and whoever put it in front of another keeps that
 * address and calls it later. So each place has a function of its own, a few instructions that say
 * which place was called and how.
 *
 * Async-signal-safe and wait-free; the functions live as long as the process.
 */
#ifndef SPPROF_THUNKS_H
#define SPPROF_THUNKS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef void signal_function(int signal, siginfo_t *info, void *ucontext);

#define THUNKS 256

/* The function of a place, 0 to THUNKS - 1. */
signal_function *thunk_of(int place);

/* The place whose function this is; -1: it is none of these. */
int thunk_place(signal_function *function);

/* Whether the kernel called the function and not another handler. `stack` is the stack pointer
 * at the call: the kernel's frame, which holds what it passes, begins there. Some emulators lay
 * it out differently; there the answer is no. */
bool thunk_called_by_kernel(uintptr_t stack, const siginfo_t *info, const void *ucontext);

/* What each of them goes on to: `function` is its own address, `stack` as above. Defined in
 * signals.c; the compiler does not see who calls it. */
__attribute__((visibility("hidden"), used)) void signals_enter(int signal, siginfo_t *info, void *ucontext,
                                                               uintptr_t function, uintptr_t stack);

#endif

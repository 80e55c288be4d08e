/* Fault signals that the kernel has given to the session's own thread, and that are the program's.
 *
 * A signal that is sent to the process goes to any thread that does not block it. The session's
 * thread cannot block SIGSEGV and SIGBUS, for its reads may fault; so where all of the program's
 * threads block one, to wait for it or to do without it for a while, ours is given it. It is sent to
 * the process again while ours blocks it, which it does until another thread has taken it. In the
 * midst of reads that may fault it cannot, and holds the signal until they are over.
 *
 * One thread uses all but held_take; that is for the handler, wait-free and async-signal-safe.
 */
#ifndef SPPROF_HELD_H
#define SPPROF_HELD_H

#include <signal.h>
#include <stdbool.h>

/* The calling thread, which blocks every signal, is the session's and reads from here on: lets fault
 * signals through that do not wait for others. */
void held_begin(void);

/* It reads no more, until held_go_on or until it ends: what it has held goes back to the process, and
 * what comes goes at once. */
void held_rest(void);

/* It is going to read again: lets signals through that wait no more. */
void held_go_on(void);

/* Whether the signal, which came to a handler with that, is no fault of the thread and has been
 * taken from it. */
bool held_take(int signal, const siginfo_t *info, void *ucontext);

#endif

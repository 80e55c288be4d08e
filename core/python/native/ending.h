/* The end of the process by SIGTERM or SIGHUP, put off until the profile is delivered.
 *
 * Each of the two that has its default action when the run begins gets a handler of ours, set with
 * sigaction: Python goes on saying SIG_DFL, and a program that sets an action of its own has the
 * signal alone from then on. The first signal wakes a thread that is there for this alone. It ends
 * the sampling, calls a Python callable, and then the process dies of that signal. Another signal
 * that comes ENDING_PATIENCE or more after the first ends the process at once; `timeout` and
 * others send each twice.
 *
 * The thread is not made by the session's thread, which has no file descriptor of the program's,
 * and a handler cannot make one. It is ended around forks, as the session's is.
 *
 * Functions may be called from any thread: begin and end attached, pause and resume detached. */
#ifndef SPPROF_NATIVE_ENDING_H
#define SPPROF_NATIVE_ENDING_H

#include <Python.h>

#include <stdbool.h>

#define ENDING_PATIENCE UINT64_C(1000000000) /* nanoseconds */

/* Takes those of the two signals that have their default action, and has `deliver` called without
 * arguments, once, on the thread for it, when the first comes. Takes none where the default action
 * does nothing, in the first process of a container. False, with RuntimeError and nothing changed,
 * where no thread can be started, and between a beginning and its end. */
bool ending_begin(PyObject *deliver);

/* Gives the signals their default action back, where nobody has given them another. Does not
 * return when one has come: the process dies of it when `deliver` has returned. Without a
 * beginning, and in a forked child, it does nothing. Before the interpreter is finalized. */
void ending_end(void);

/* Around a fork, as spprof_pause and spprof_resume: in between there is no thread of ours, and a
 * signal that comes waits. Where a signal has come before, the thread goes on. */
void ending_pause(void);

/* Where the thread cannot be started again, the signals have their default action back, and one
 * that has come ends the process. */
void ending_resume(void);

#endif

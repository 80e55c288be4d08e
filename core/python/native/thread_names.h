/* What Python called the threads of a session, those too that have ended.
 *
 * `threading` keeps the threads that it is starting in one dictionary, `threading._limbo`, and
 * those that run in another, `threading._active`, to which a new thread adds itself and which it
 * leaves as it ends. A dict watcher sees all of it: a thread was started after it came to the
 * first; one that adds itself to the second has the kernel id of the caller; and when it leaves,
 * its Thread object still has the name that it was given last. The objects are the dictionaries';
 * nothing of the program is kept alive or changed.
 *
 * A lock of this file is held for moments and never while foreign code can run. */
#ifndef SPPROF_NATIVE_THREAD_NAMES_H
#define SPPROF_NATIVE_THREAD_NAMES_H

#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ordinary/lives.h"

/* Threads whose kernel ids are still to be found out, with a strong reference to each. */
struct running {
    struct running_thread {
        const PyObject *dictionary;
        uint64_t key;
        PyObject *thread;
    } *of; /* malloc'ed */
    size_t count;
};

/* Begins to note lives in `active` and `limbo` (those of `threading`), and gives in *running the
 * threads that run now, for thread_names_identify. Once for each session; the caller serialises. No
 * foreign code. Where one is no dictionary or no watcher is free, nothing is noted. Without memory
 * single threads stay without a name. */
void thread_names_begin(PyObject *active, PyObject *limbo, struct running *running);

/* Finds out the kernel ids of those threads, and frees *running. May run foreign code, since a
 * Thread object may end here. */
void thread_names_identify(struct running *running);

/* Ends the noting and hands over all lives; the `thread` of one that goes on is a strong
 * reference to its object. To be freed by thread_names_free. No foreign code. */
void thread_names_end(struct lives *lives);

/* Reads the names of those that go on, and lets go of their objects, which may run foreign code.
 * Afterwards lives_find finds a life. */
void thread_names_read(struct lives *lives);

/* May run foreign code, unless they were read. */
void thread_names_free(struct lives *lives);

/* In a forked child: what the parent noted is forgotten, and its memory, which another thread may
 * have been changing, is left. */
void thread_names_forget(void);

#endif

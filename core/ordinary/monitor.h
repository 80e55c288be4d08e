/* The monitor's side of sampling: the ticks that come due on each thread, and who looks at its stack.
 *
 * A thread that does not run during a look at it, as its CPU clock shows, is looked at from outside: nothing moves its stack.
 * One that runs is asked to look at itself (ask.h). No look is tried again until it succeeds, so which stacks are shown
 * does not depend on how long they stand. Ticks of CPU time are of a thread that runs: where it is found standing, they stay
 * due until it runs again, or for LEFT_MOST.
 *
 * Ordinary code of the session's own thread, with its work lock held; the handler may run at any time.
 */
#ifndef SPPROF_MONITOR_H
#define SPPROF_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "handler.h"
#include "observe.h"

/* CPU time that a thread may use before a signal that asks it counts as not deliverable, nanoseconds: it blocks the signal, or
 * is in a long system call. The kernel delivers at the next return to the program, and at each of its ticks (1 to 10 ms). */
#define ASKED_MOST INT64_C(20000000)

/* How long ticks of CPU time stay due on a thread that is not met running: one that runs for moments and rarely. */
#define LEFT_MOST UINT64_C(1000000000) /* nanoseconds */

/* Between two searches for one thread's stack, at least. */
#define SOUGHT_APART UINT64_C(1000000000) /* nanoseconds */

struct monitor {
    struct observer *observer; /* for threads that run and cannot be asked */
    struct reader reader;
    uint64_t interval; /* of each thread's CPU time, ns; 0: all threads have `ticks` due, by the clock */
    uint32_t ticks;
    uint64_t apart; /* ticks by the clock are so far from each other, ns */
    uint64_t now;   /* CLOCK_MONOTONIC, ns */
    bool is_last;   /* the session ends: ticks do not stay due */
    uint32_t turn;  /* that of this look: a thread that has not run for some visits is visited in one */
    uint32_t turns; /* look of so many; 1: in each */
    uint32_t met;   /* counted up: threads that were there */
    /* The caller may open a file, to find one thread's stack that is not known. Cleared when one was
     * looked for: before Linux 6.11 that takes a reading of all of the process's mappings. */
    bool finds_stack;
    uint64_t wait; /* set: nanoseconds until the next tick can come due on a thread that ran, UINT64_MAX: none ran */
};

/* A session begins. */
void monitor_begin(void);

/* Ticks whose samples have SPPROF_SAMPLE_UNASKED, since then. Any thread, at any time. */
uint64_t monitor_unasked(void);

/* CPU time of threads while they had a slot, each from its birth, or the start, to the last look at it, nanoseconds. Any thread,
 * at any time. */
uint64_t monitor_watched(void);

/* Lays on the slot what has come due, and sees to it that somebody looks. False: its thread has ended. */
bool monitor_slot(struct slot *slot, struct monitor *monitor);

#endif

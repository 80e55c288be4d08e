/* The made-up kernel behind the session target: timers that only the input makes due, a clock that only the input moves,
 * a session's thread that runs when it is let, and a fork that returns where the input says. */
#ifndef SPPROF_FUZZ_SESSION_KERNEL_H
#define SPPROF_FUZZ_SESSION_KERNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fake_timer {
    pid_t tid;
    uint64_t value, interval; /* nanoseconds */
    bool made, running;
    bool asks;      /* was set to signal, and has not yet; */
    bool later;     /* when its thread's CPU clock has moved, else at once */
    int64_t set_at; /* its thread's CPU time then */
};

#define FAKE_TIMERS 128
extern struct fake_timer fake_timers[FAKE_TIMERS];

/* Whether the kernel makes no more timers that ask, else there are FAKE_TIMERS, more than a session
 * has; and whether it opens no list of the process's mappings. */
struct fake_refused {
    bool timers, maps;
};
extern struct fake_refused fake_refused;

#define FAKE_STACK_BYTES 16384

/* What the kernel knows of a thread; the index is the program's own. */
struct fake_thread {
    pid_t tid;
    bool alive;
    int64_t used; /* CPU time, nanoseconds */
    int64_t busy; /* what it uses once that clock was read the next time; */
    bool pauses;  /* not before the time after that */
};

#define FAKE_THREADS 8
extern struct fake_thread fake_threads[FAKE_THREADS];

/* Reads the thread's CPU clock, which moves then if the thread is busy. */
int64_t fake_read_clock(struct fake_thread *thread);

/* The clock stands at its beginning, and is coarse; timers can be made. */
void fake_kernel_begin(void);

/* How far apart the kernel's own ticks are, nanoseconds. A fine clock has high-resolution timers
 * beside them. */
#define FAKE_KERNEL_TICK UINT64_C(4000000)
void fake_clock_is_fine(bool fine);

/* What the core throws dice for comes out as in a process that has just begun. No session may be
 * active. Defined beside the dice, in session_dice.c. */
void fake_dice_begin(void);

/* A thread dies: its timers stay until they are deleted, but do not come due. */
void fake_kernel_die(struct fake_thread *thread);

/* No timer that there is comes due any more. */
void fake_timers_silence(void);

/* The C stacks of the fake threads, as /proc/self/maps has them. */
void fake_kernel_stacks(uintptr_t low, uintptr_t high);

uint64_t fake_now(void);
void fake_pass(uint64_t nanoseconds);

/* The running timer of a thread, or NULL. */
const struct fake_timer *fake_timer_of(pid_t tid);
unsigned fake_timers_made(void);

/* The timer of a thread that signals once when it is set; NULL: it has none. */
const struct fake_timer *fake_asker(pid_t tid);

/* The signal of that timer, if it is on its way, which it is then not any more. */
bool fake_asked(pid_t tid, uint64_t *value);

/* Whether a timer of the session has that value. */
bool fake_timer_has(uint64_t value);

/* Whether there is a thread of the session; when it wants to run; lets it run until it waits
 * again. */
bool fake_watcher(void);
uint64_t fake_wanted(void);
void fake_look(void);

/* fork(2), which returns in the parent or in the child. */
void fake_fork(bool in_child);

#endif

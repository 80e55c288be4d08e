/* spprof: the race-safety core of a sampling profiler for CPython on Linux (x86-64, aarch64).
 *
 * Samples the Python stacks of a running CPython (3.13, 3.14, 3.15; with the GIL or free-threaded) and gives, for each
 * tick of a clock, either one whole stack or one reason why there is none. It never stops a thread, takes no lock and
 * calls no Python API while it looks. Needs no Python.h: where CPython keeps what is read from the interpreter's own
 * table of offsets.
 *
 * One session at a time in a process. Unless a function says otherwise, it returns 0 or a negative errno value;
 * `spprof_error` then has the sentence to print. What may be called from where:
 *
 *                        from any thread,  from a sink  in a signal  in a forked
 *                        beside any other  (caught_up)  handler      child
 *   spprof_start         waits             -EDEADLK     no           yes
 *   spprof_stop          waits             -EDEADLK     no           yes
 *   spprof_pause         waits             -EDEADLK     no           yes
 *   spprof_resume        waits             -EDEADLK     no           yes
 *   spprof_drain         waits             -EDEADLK     no           yes
 *   spprof_get_stats     waits             -EDEADLK     no           yes
 *   spprof_thread_name   waits             false        no           yes
 *   spprof_thread_found  waits             false        no           yes
 *   spprof_thread_time   waits             false        no           yes
 *   spprof_signal        waits             yes          no           yes
 *   spprof_is_active     yes               yes          yes          yes
 *   spprof_code_died     yes               yes          yes          yes
 *   spprof_reason_name   yes               yes          yes          yes
 *   spprof_error         yes               yes          no           yes
 *
 * Those that wait run one at a time, each to its end before the next; the others never wait. A sink
 * runs with the session's locks held: what would wait for them on the sink's own thread is refused,
 * and a sink that waits for another thread's call waits for ever. In a signal handler they could
 * wait for the very thread that was interrupted. fork() may be called beside all of them, and waits
 * as they do; not from a sink. A child that it made has no session, whatever its parent had. (One
 * that vfork() or a bare clone made must call nothing but exec.)
 */
#ifndef SPPROF_H
#define SPPROF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPPROF_VERSION "0.1.0"

/* Why a tick gave no sample. The names (`spprof_reason_name`) are the same in statistics, tests and specifications. */
enum spprof_reason {
    SPPROF_CAPTURED = 0,    /* no drop: the tick became a sample */
    SPPROF_BOUNDS,          /* a pointer outside the memory that its kind of object can live in */
    SPPROF_ALIGNMENT,       /* a pointer that is not aligned as its kind of object is */
    SPPROF_TYPE,            /* an executable that is not a code object */
    SPPROF_OWNER,           /* a frame whose owner no frame of a running chain can have */
    SPPROF_PROGRESS,        /* a frame that lies on the wrong side of the one it was reached from */
    SPPROF_CYCLE,           /* a chain that comes back to a frame it has passed */
    SPPROF_FAULT,           /* memory that could not be read */
    SPPROF_CODE_RANGE,      /* an instruction pointer outside its code object's instructions */
    SPPROF_TORN,            /* the stack changed while it was read */
    SPPROF_INCOMPLETE,      /* a chain that does not end at the thread's root */
    SPPROF_DETACHED,        /* the thread has given up the thread state it was known by */
    SPPROF_NO_THREAD_STATE, /* a tick for a thread that no thread state is known of */
    SPPROF_RING_FULL,       /* no room in the thread's ring: the drain fell behind */
    SPPROF_BUSY,            /* a tick that came while the session was being stopped */
    SPPROF_THROTTLED,       /* no look: those before took so long that the thread has to run first */
    SPPROF_STACK_UNKNOWN,   /* a look from outside, at a thread whose C stack was not found */
    SPPROF_NO_MEMORY,       /* a stack that was taken, and that who keeps them (the Python package) had no memory for */
    SPPROF_REASONS          /* how many there are */
};

/* The reason's name ("bounds", "ring_full", ...); "captured" for SPPROF_CAPTURED, NULL outside the enum. Static
 * storage. Async-signal-safe. */
const char *spprof_reason_name(enum spprof_reason reason);

/* One frame of a captured stack. */
struct spprof_frame {
    uint64_t code;        /* address of the code object: alive when the sample was taken, maybe not any more */
    uint64_t generation;  /* how many deaths `spprof_code_died` had been told of then: with `code`, names one object */
    uint32_t instruction; /* index of the current instruction, in code units of 2 bytes from the code's start */
    int32_t first_line;   /* the code object's first line */
};

/* In wall mode, a sample without frames is of a thread that was idle (it ran no Python code), a
 * detached one of a thread that was blocked or busy in C code, and any other of one that was
 * running Python code or about to. */
enum spprof_sample_flag {
    SPPROF_SAMPLE_DETACHED = 1,  /* the thread was inside C code, its thread state detached, or it had none */
    SPPROF_SAMPLE_TRUNCATED = 2, /* deeper than max_depth: the innermost frames are here, the outer ones are not */
    SPPROF_SAMPLE_UNASKED = 4,   /* seen from outside, for the thread did not take the signal that asks
                                  * it to look itself, or was not met running: if it ran, frames may be
                                  * from different moments, and if it stood in CPU mode, they are from
                                  * after the time that was used */
};

/* One captured stack. Valid during the call it is passed to. */
struct spprof_sample {
    uint64_t time;                     /* CLOCK_MONOTONIC, nanoseconds */
    uint64_t thread;                   /* number of the thread within the session, from 0 in order of discovery */
    int32_t tid;                       /* the kernel's thread id */
    uint32_t weight;                   /* ticks that this sample stands for: 1 + timer overruns */
    uint32_t flags;                    /* enum spprof_sample_flag */
    uint32_t depth;                    /* frames that follow; 0 where the thread had no Python frame */
    const struct spprof_frame *frames; /* innermost first */
};

typedef void spprof_sample_function(void *context, const struct spprof_sample *sample);

enum spprof_mode {
    SPPROF_CPU = 0, /* ticks of each thread's own CPU time; a thread that runs takes the sample itself, in a handler */
    SPPROF_WALL,    /* ticks of the clock, of every thread; one that stands is looked at and not interrupted */
};

enum spprof_flag {
    /* The session's own thread, on which the sink is called, has a table of file descriptors of its
     * own, which is empty. It opens files for moments (/proc/self/task/N/comm for threads' names,
     * /proc/self/maps), and without this flag takes the lowest number for it, which a program that
     * closes a file and opens another may count on. With it the sink cannot use the program's files:
     * descriptors that others opened are none there. (The last samples come from spprof_stop, on its
     * caller's thread and so with the program's files.) Where the kernel has no such tables (before
     * Linux 5.9), or a sandbox forbids them, the flag is heeded as far as it goes: names are
     * read at the stop alone, so threads that have ended by then have none, and maps at the start and,
     * where libc does not note where a thread's stack is, when one is found, and not again. While a
     * pause lasts (spprof_pause), who starts or stops a session uses its own descriptors. */
    SPPROF_OWN_FILES = 1,
};

struct spprof_config {
    /* sizeof(struct spprof_config): by it the library tells which version of this header the
     * program was made with. What an older program lacks is 0, its default. What a newer one has
     * besides must be 0. */
    size_t size;
    uint64_t interval;  /* nanoseconds between ticks, 100,000 to 10,000,000,000: CPU time of the thread, or real time */
    uint32_t max_depth; /* frames kept of one stack, 1 to 4096; 0 means 1024 */
    uint32_t ring_bytes; /* ring of each thread, power of two, 4096 to 16 MiB; 0 means, by max_depth, 65536 or more, and
                          * in wall mode with a sink 4096 or more */
    /* Where the interpreter is. NULL means: found by name among the symbols of the process. */
    const void *runtime;   /* &_PyRuntime */
    const void *code_type; /* &PyCode_Type */
    /* The thread state of the caller (PyThreadState_Get()); its interpreter is the one that is sampled. */
    const void *thread_state;
    /* Takes the samples: called on the session's own thread, once an interval or every 1 to 10 ms, and from
     * spprof_stop, after a pause also from spprof_resume and spprof_get_stats; never from a signal
     * handler and never twice at once. Locks of the session are held then: it must not fork or call
     * the Python API, and of this header only what the table above allows. NULL means: samples wait
     * in their rings for spprof_drain. */
    spprof_sample_function *sink;
    void *sink_context;
    /* Told from time to time, on the sink's thread, that every sample whose generation is below `generation` has been
     * handed over: what was kept for older ones (names of code objects that died) may go. May be NULL. */
    void (*caught_up)(void *context, uint64_t generation);
    enum spprof_mode mode;
    uint64_t flags; /* of enum spprof_flag; any other bit is an error */
};

/* Starts sampling every thread of the interpreter, those born later too. Needs no Python API
 * lock, but `thread_state` must stay alive during the call. `config` is copied. Errors: -EBUSY a
 * session is active; -EINVAL a bad configuration (of a size that no version of this header has,
 * or one that sets what the library does not know, too) or an interpreter whose offsets table is
 * not understood; -ENOMEM, -EAGAIN no memory, thread or timer; -ENOSPC a signal that has had so
 * many owners that there is no place for one more. After an error nothing is left running. */
int spprof_start(const struct spprof_config *config);

/* Stops: when it returns no handler of the session runs, none of its timers exists, and every
 * sample has gone to the sink. A handler that has not returned after a second in all, because
 * its thread was stopped or gets no processor, is not waited for any longer: what it may still
 * use is never used again or freed (`slots_abandoned`), and the handlers of SIGSEGV and SIGBUS
 * stay installed for its reads. The sink is waited for as long as it takes. With no sink,
 * samples stay for spprof_drain until the next start. The handler of spprof_signal stays installed
 * and inert, for a tick that the kernel still holds for a thread that blocks the signal must not
 * meet the default action, which ends the process; such a signal from elsewhere goes to its former
 * owner. Error: -ESRCH no session is active. */
int spprof_stop(void);

/* For who is about to fork, or to do something else during which the process must have no thread
 * but its own: spprof_pause ends the session's own thread, and waits until the kernel counts it no
 * more; spprof_resume starts it again. Calls may nest and come from several threads: the thread is
 * back when each pause has been answered. Ticks go on; in wall mode the look that spprof_resume
 * makes stands for all that came due. Where pauses overlap for long, or no thread can be started,
 * spprof_resume, spprof_get_stats and spprof_stop do the thread's work, and try again; what finds
 * no room in a ring until then is counted as `ring_full`. Without a session a pause counts too, so
 * that one which is started meanwhile has no thread before its end; a resume that answers none
 * does nothing, and a forked child begins without any. Error: -EDEADLK from a sink. */
int spprof_pause(void);
int spprof_resume(void);

/* The signal by which sessions of this process ask its threads: one for the life of the process, a real-time signal that
 * nobody had an action for, and that the caller did not block, when this or spprof_start was called first, or SIGPROF where
 * there was none. A program that handles, blocks or waits for every signal there is can leave it out, and a debugger pass
 * it on. */
int spprof_signal(void);

/* Whether a session is active in this process. A forked child starts without one. Async-signal-safe. */
bool spprof_is_active(void);

/* Hands every waiting sample to `sink`. For configurations without a sink of their own; returns the number of samples
 * or -EBUSY where the session has one. */
int64_t spprof_drain(spprof_sample_function *sink, void *context);

/* Room for outcomes that are to come: a program that sums them up sums up all of it. */
#define SPPROF_REASONS_ROOM 32

struct spprof_stats {
    size_t size;                             /* sizeof(struct spprof_stats); the caller sets it */
    uint64_t ticks;                          /* expirations of the threads' timers; the sum of `by_reason` */
    uint64_t by_reason[SPPROF_REASONS_ROOM]; /* ticks by outcome; [SPPROF_CAPTURED] is what was captured */
    uint64_t samples;                        /* records made: ticks captured, with overruns folded into their weight */
    uint64_t handler_runs;                   /* signals of ours that were taken for a thread of the session */
    uint64_t threads;                        /* threads sampled since the start */
    /* Threads that could not be given a timer or a slot when they were met, each counted once: those
     * that got them at a later look and those that ended before one as well. Of more than 16,384 at
     * once, that many. */
    uint64_t threads_refused;
    uint64_t unguarded_ticks; /* ticks that read through process_vm_readv: our fault handler was displaced */
    uint64_t duration;        /* nanoseconds from start to stop, or to now */
    /* Ticks that had begun and not come to an outcome when this was read, and so are not among `ticks`:
     * of a thread that was stopped in the midst of one, or has a lower priority than the caller. */
    uint64_t ticks_in_progress;
    /* Threads whose signal handler did not return within a second when their slot was to be had back,
     * because they were stopped or did not get the processor. The slot's memory stays theirs. */
    uint64_t slots_abandoned;
    /* Ticks, of those captured, whose stack has SPPROF_SAMPLE_UNASKED. */
    uint64_t unasked_ticks;
    /* How far apart the ticks of one thread can be at least, nanoseconds: the kernel's own tick where
     * each thread has a CPU timer; 0 where the session's thread says when they are due. */
    uint64_t clock_step;
    /* CPU time since the start, nanoseconds: of the whole process; of the threads that were sampled,
     * each from its birth to the last look at it, which is what ticks of CPU time are counted of (0
     * where clock_step is not; from when it was found, where it had used more by then than had passed
     * since the look before); of the session's own thread. What is left of the first
     * is of threads without Python, of such as lived between two looks, and of ends after the last. */
    uint64_t process_cpu;
    uint64_t watched_cpu;
    uint64_t own_cpu;
};

/* The active session's counters, or the last one's after it was stopped; zeros before the first.
 * Consistent: ticks == sum of by_reason, always. Fills stats->size bytes and no more: a program
 * that was made with an older version of this header does not get the counters that have come
 * since, one that was made with a newer gets 0 for those that the library does not have. Returns
 * 0, or -EINVAL and writes nothing where the size is none of any version. */
int spprof_get_stats(struct spprof_stats *stats);

/* To be called whenever a code object dies, while it is still whole (from a PyCode_AddWatcher callback): advances the
 * generation, so that samples taken before and after tell one object from the next at its address. Returns the
 * generation of the death: samples with `generation` below it that name `code` mean the object that died. Lock-free. */
uint64_t spprof_code_died(const void *code);

/* The kernel's name and id of a thread by its number in the session; for after spprof_stop. False: no such thread. */
bool spprof_thread_name(uint64_t thread, int32_t *tid, char name[16]);

/* The kernel's id of a thread by its number in the session, and two times (CLOCK_MONOTONIC,
 * nanoseconds) between which it was found, and so ran: that tells it from others that have had the
 * same id. Until the next start, during the session too. False: no such thread,
 * or no memory to note it. */
bool spprof_thread_found(uint64_t thread, int32_t *tid, uint64_t *after, uint64_t *before);

/* A thread's part of `watched_cpu`, nanoseconds, by its number in the session; for after spprof_stop. 0 where that is. False: no
 * such thread. */
bool spprof_thread_time(uint64_t thread, uint64_t *cpu);

/* The last error of the calling thread as one line that says what is wrong and what to do. */
const char *spprof_error(void);

#ifdef __cplusplus
}
#endif
#endif

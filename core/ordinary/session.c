#define _GNU_SOURCE /* RTLD_DEFAULT, pthread_condattr_setclock, gettid */
#include "spprof.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomics.h"
#include "beat.h"
#include "clock.h"
#include "descriptors.h"
#include "ended.h"
#include "handler.h"
#include "held.h"
#include "monitor.h"
#include "observe.h"
#include "session.h"
#include "signals.h"
#include "stack.h"
#include "threads.h"
#include "timers.h"
#include "versioned.h"

/* Nanoseconds. A harness that looks as often as it can has another. */
__attribute__((weak, visibility("hidden"))) uint64_t session_interval_least = 100000;
#define INTERVAL_MOST UINT64_C(10000000000)
#define DEPTH_MOST 4096
#define DEPTH_USUAL 1024
#define RING_LEAST 4096
#define RING_USUAL 65536
#define RING_MOST (16 << 20)

#define FIRST_TRIES 16 /* at a sound reading of the list of threads, before a session starts without one */
#define RING_RECORDS 4 /* of the greatest depth, that a ring of the usual size has room for at least */

/* How often the session's thread looks for new threads and empties the rings, nanoseconds: four times an interval, within
 * these limits. A thread may live for less than an interval. */
#define LOOK_LEAST UINT64_C(1000000)
#define LOOK_MOST UINT64_C(10000000)

/* A reading of the list of threads in which one was met for the first time: when it began and ended. */
struct finding {
    uint64_t after, before;
};

static struct {
    pthread_mutex_t lock; /* start, stop, fork, statistics: one at a time */
    pthread_mutex_t work; /* the threads' registry and the rings' consumer: one at a time. Taken after `lock`. */

    /* Written under `lock` while the session's thread does not run; read by it. */
    struct spprof_config config;
    bool monitored;              /* `thread` says when ticks are due; else, in CPU mode, a timer of each thread does */
    struct spprof_frame *frames; /* a sample being handed over */
    struct record *record;
    struct observer observer; /* for wall mode */
    uint64_t started;
    uint64_t process_began; /* the process's CPU time then, ns */
    /* Of `thread`; where it is not there, of whoever holds both locks. CLOCK_MONOTONIC. */
    uint64_t due;          /* wall mode: the last tick that a look stands for */
    uint64_t wait;         /* as the last look left it in struct monitor, */
    uint32_t met;          /* and that */
    uint32_t turn;         /* of the next look, for struct monitor */
    uint64_t scanned;      /* when the list of threads was last read */
    bool opens_files;      /* at looks: `thread` may, who looks in its place not; under `work` */
    struct finding *found; /* of each thread, by its number; under `work` */
    uint64_t found_count, found_room;
    bool waiting; /* stopped, with samples left for spprof_drain */
    struct spprof_stats last;

    pthread_t thread; /* looks for threads, drains */
    bool admitting;   /* the first threads are to be admitted: under `lock`, before `thread` is made; it reads it */
    bool ending;      /* the session is: under `lock`, before `thread` is told to stop; it reads it then */
    uint64_t spent;   /* CPU time of those that have been `thread`, ns: each adds its own last; who joined it reads */
    pid_t tid;        /* of `thread`: it writes it first, and who joined it reads it */
    bool running;     /* under `lock`: `thread` is there */
    uint32_t pauses;  /* under `lock`: calls of spprof_pause that no spprof_resume has answered */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    bool stopping; /* under wake_lock */

    int admission;  /* what the first threads' came to: that thread writes before it posts `admitted` */
    sem_t admitted; /* who starts waits for it */

    sigset_t mask_before_fork;
} session = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_MUTEX_INITIALIZER};

static bool by_the_clock(void) { return session.config.mode == SPPROF_WALL; }

static bool is_monitored(void) { return session.monitored; }

/* --- errors --------------------------------------------------------------------------------------- */

static __thread char error_text[256];

const char *spprof_error(void) { return error_text; }

__attribute__((format(printf, 2, 3))) static int fail(int error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return -error;
}

static int no_memory(void) { return fail(ENOMEM, "no memory for a session"); }

/* The calling thread is in a sink, or in caught_up: it holds locks of the session. */
static __thread bool handing_over;

/* What would wait for a lock that its own thread holds is refused. */
static int refuse_in_sink(const char *function) {
    if (!handing_over)
        return 0;
    return fail(EDEADLK, "%s was called from a sink, while the session's locks are held; call it from another thread",
                function);
}

/* --- draining -------------------------------------------------------------------------------------- */

static void hand_over(const struct record *record, spprof_sample_function *sink, void *context) {
    for (uint32_t i = 0; i < record->head.depth; i++)
        session.frames[i] = (struct spprof_frame){
            .code = record->frames[i].code,
            .generation = record->head.generation,
            .instruction = record->frames[i].instruction,
            .first_line = record->frames[i].first_line,
        };
    struct spprof_sample sample = {
        .time = record->head.time,
        .thread = record->head.thread,
        .tid = record->head.tid,
        .weight = record->head.weight,
        .flags = record->head.flags,
        .depth = record->head.depth,
        .frames = session.frames,
    };
    handing_over = true;
    sink(context, &sample);
    handing_over = false;
}

struct drain {
    spprof_sample_function *sink;
    void *context;
    int64_t samples;
    bool quiet; /* no handler was inside a slot when its ring was emptied */
};

/* This and the two below with the work lock held. */
static void drain_slot(struct slot *slot, void *context) {
    struct drain *drain = context;
    if (atomic_read(quiesce_check, &slot->inside) != 0)
        drain->quiet = false;
    while (ring_pop(&slot->ring, (uint64_t *)session.record, RECORD_WORDS(sampler.max_depth)) != 0) {
        hand_over(session.record, drain->sink, drain->context);
        drain->samples++;
    }
}

/* Every ring into the session's sink. A sample that was begun before `deaths` was read, and so may have a lower
 * generation, was either found in its ring or its handler was found inside its slot. */
static void drain_all(void) {
    struct drain drain = {.sink = session.config.sink, .context = session.config.sink_context, .quiet = true};
    if (drain.sink == NULL)
        return;
    uint64_t deaths = atomic_read(generation_read, &sampler.deaths);
    threads_each(drain_slot, &drain);
    if (!drain.quiet || session.config.caught_up == NULL)
        return;
    handing_over = true;
    session.config.caught_up(drain.context, deaths);
    handing_over = false;
}

static bool drain_retired(struct slot *slot) {
    struct drain drain = {.sink = session.config.sink, .context = session.config.sink_context};
    if (drain.sink == NULL)
        return ring_is_empty(&slot->ring);
    drain_slot(slot, &drain);
    return true;
}

int64_t spprof_drain(spprof_sample_function *sink, void *context) {
    int64_t result = refuse_in_sink(__func__);
    if (result != 0)
        return result;
    pthread_mutex_lock(&session.lock);
    if (session.config.sink != NULL) {
        result =
            fail(EBUSY, "the session hands its samples to its own sink; start it without one to drain it yourself");
    } else if (session.waiting || atomic_read(active_peek, &sampler.active)) {
        struct drain drain = {.sink = sink, .context = context};
        pthread_mutex_lock(&session.work);
        threads_each(drain_slot, &drain);
        pthread_mutex_unlock(&session.work);
        result = drain.samples;
    }
    pthread_mutex_unlock(&session.lock);
    return result;
}

/* --- the session's thread ---------------------------------------------------------------------------- */

/* How the calling thread may read. */
static struct reader ordinary_reader(void) {
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    return handler_choose_reader(&blocked);
}

/* Sleeps until it is time for the next look; false once the session is being stopped. */
static bool sleep_until(uint64_t time) {
    struct timespec until = {.tv_sec = (time_t)(time / 1000000000u), .tv_nsec = (long)(time % 1000000000u)};
    held_rest();
    pthread_mutex_lock(&session.wake_lock);
    while (!session.stopping && pthread_cond_timedwait(&session.wake, &session.wake_lock, &until) != ETIMEDOUT)
        ;
    bool go_on = !session.stopping;
    pthread_mutex_unlock(&session.wake_lock);
    held_go_on();
    return go_on;
}

static uint64_t look_interval(void) {
    uint64_t interval = session.config.interval / 4;
    return interval < LOOK_LEAST ? LOOK_LEAST : interval > LOOK_MOST ? LOOK_MOST : interval;
}

/* A neighbour that took a signal gets its own through us; ours would end or confuse it, and while a fault handler is in
 * front of ours each load is a system call. */
static int take_fault_signals(void) {
    int error = signals_take(SIGSEGV, handler_on_fault);
    return error == 0 ? signals_take(SIGBUS, handler_on_fault) : error;
}

static void give_fault_signals_back(void) {
    if (threads_stuck())
        return; /* to be handed on from here, as long as the process lives */
    signals_give_back(SIGSEGV);
    signals_give_back(SIGBUS);
}

static int take_tick_signal(void) { return signals_take(sampler.signal, handler_on_profile_signal); }

/* Notes when the threads were found that are new since the last time; where there is no memory, next
 * time. This and the next two with the work lock held. */
static void note_found(uint64_t after) {
    int32_t tid;
    char name[16];
    while (threads_name(session.found_count, &tid, name)) {
        if (session.found_count == session.found_room) {
            uint64_t room = session.found_room ? 2 * session.found_room : 64;
            struct finding *grown = realloc(session.found, room * sizeof *grown);
            if (grown == NULL)
                return;
            session.found = grown;
            session.found_room = room;
        }
        session.found[session.found_count++] = (struct finding){after, clock_now()};
    }
}

static bool find_threads(struct reader reader) {
    uint64_t after = session.scanned == 0 ? session.started : clock_now(); /* the first is admitted */
    bool sound = threads_scan(reader);
    session.scanned = clock_now();
    note_found(after);
    return sound;
}

static void watch(void) {
    take_tick_signal();
    take_fault_signals();
    find_threads(ordinary_reader());
    drain_all();
}

static void keep_watch(void) {
    while (sleep_until(clock_now() + look_interval())) {
        pthread_mutex_lock(&session.work);
        watch();
        pthread_mutex_unlock(&session.work);
    }
}

static bool visit_slot(struct slot *slot, void *monitor) { return monitor_slot(slot, monitor); }

/* Threads at rest that one look visits: reading the clocks of so many takes a fortieth of the interval or so. */
static uint32_t idle_at_once(void) { return 1 + (uint32_t)(session.config.interval / 10000); }

/* Every thread once, but for most of those at rest where there are many: what is due on it by its CPU time, or `ticks`. */
static void look_at_all(uint32_t ticks, bool is_last) {
    struct monitor monitor = {.observer = &session.observer,
                              .reader = ordinary_reader(),
                              .interval = by_the_clock() ? 0 : session.config.interval,
                              .ticks = ticks,
                              .apart = session.config.interval,
                              .now = clock_now(),
                              .is_last = is_last,
                              .turn = session.turn++,
                              .turns = by_the_clock() || is_last ? 1 : 1 + session.met / idle_at_once(),
                              .finds_stack = session.opens_files,
                              .wait = UINT64_MAX};
    threads_each_live(visit_slot, &monitor);
    session.wait = monitor.wait;
    session.met = monitor.met;
}

/* One look at every thread, which is due. With the work lock held. Who asks a thread is in front of its neighbours: one
 * that comes between the two is called for that tick. */
static void observe(uint64_t due, uint32_t ticks, bool is_last) {
    session.due = due;
    take_fault_signals();
    if (clock_now() - session.scanned >= LOOK_LEAST)
        find_threads(ordinary_reader());
    take_tick_signal();
    look_at_all(ticks, is_last);
    drain_all();
}

/* Ticks of CPU time: a thread that ran is looked at when its next can be due, and others now and then, at random distances:
 * no thread that begins to run can be in step with them. */
static uint64_t next_wait(void) {
    uint64_t least = session.config.interval / 4;
    uint64_t most = look_interval() / 2 + observer_throw(&session.observer) % look_interval();
    return session.wait > most || least > most ? most : session.wait < least ? least : session.wait;
}

/* When the first look after now is due, and the ticks that it stands for. */
static uint32_t next_look(uint64_t *due) {
    if (!by_the_clock()) {
        *due = clock_now() + next_wait();
        return 0;
    }
    struct beat beat = {.interval = session.config.interval, .due = session.due};
    uint32_t ticks = beat_next(&beat, clock_now());
    *due = beat.due;
    return ticks;
}

/* Where a look by the clock comes late, it stands for the ticks it missed. */
static void keep_monitoring(void) {
    for (;;) {
        uint64_t due;
        uint32_t ticks = next_look(&due);
        if (!sleep_until(due))
            return;
        pthread_mutex_lock(&session.work);
        observe(due, ticks, false);
        pthread_mutex_unlock(&session.work);
    }
}

/* Whether a thread may open files while the program runs: `own` says that it has a table of
 * descriptors of its own. */
static bool may_open(bool own) { return own || !(session.config.flags & SPPROF_OWN_FILES); }

/* A thread that is about to look at others, with the work lock held. */
static void name_threads_at_once(bool own) { threads_name_at_once(may_open(own)); }

/* Gives the thread that starts the session a slot and a timer, and then all others. Nothing can fail once a timer runs,
 * so that no tick of a session that failed can be on its way. With the work lock held. */
static int admit_threads(void) {
    stack_learn_first();
    int error = threads_admit((uintptr_t)session.config.thread_state, ordinary_reader());
    for (int tries = 0; error == 0 && tries < FIRST_TRIES && !find_threads(ordinary_reader()); tries++)
        ; /* what a changing list hides now, a later look finds */
    return error;
}

static __thread bool is_own_thread;

/* What takes a descriptor is done here, on the session's own thread: the program may count on the lowest one. What it
 * learns of its own stack, all others' are found by. */
static bool begin_on_thread(void) {
    held_begin();
    session.tid = gettid();
    if (is_monitored())
        prctl(PR_SET_TIMERSLACK, 1UL); /* the usual 50 us are half of the shortest interval */
    bool own = session.config.flags & SPPROF_OWN_FILES && descriptors_own();
    pthread_mutex_lock(&session.work);
    name_threads_at_once(own);
    session.opens_files = may_open(own);
    stack_learn();
    int error = session.admitting ? admit_threads() : 0;
    pthread_mutex_unlock(&session.work);
    if (session.admitting) {
        session.admission = error;
        sem_post(&session.admitted);
    }
    return error == 0;
}

/* The last names, which a thread may have been given meanwhile. */
static void read_names(void) {
    pthread_mutex_lock(&session.work);
    threads_read_names();
    pthread_mutex_unlock(&session.work);
}

/* Nanoseconds. */
static uint64_t thread_time(clockid_t clock) {
    struct timespec used = {0};
    clock_gettime(clock, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void *run_session(void *unused) {
    (void)unused;
    is_own_thread = true;
    if (!begin_on_thread()) {
        while (sleep_until(UINT64_MAX))
            ; /* until who started it ends it */
        return NULL;
    }
    if (is_monitored())
        keep_monitoring();
    else
        keep_watch();
    if (session.ending)
        read_names();
    held_rest();
    session.spent += thread_time(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

static int start_thread(void) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&session.wake_lock, NULL);
    pthread_cond_init(&session.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    session.stopping = false;
    /* The program's signals are not for this thread; its own faults it lets through itself (held_begin). */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&session.thread, NULL, run_session, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    session.running = error == 0;
    return -error;
}

/* This, look_instead and carry_on with `lock` held. */
static void stop_thread(void) {
    if (!session.running)
        return;
    pthread_mutex_lock(&session.wake_lock);
    session.stopping = true;
    pthread_cond_signal(&session.wake);
    pthread_mutex_unlock(&session.wake_lock);
    pthread_join(session.thread, NULL);
    session.running = false;
    ended_await(session.tid); /* who counts threads after this must not find ours */
}

/* --- pauses ---------------------------------------------------------------------------------- */

/* A look for all ticks until now; none where the next has not come due yet. */
static void observe_what_is_due(bool is_last) {
    uint64_t next;
    uint32_t ticks = next_look(&next);
    if (!by_the_clock())
        observe(next, 0, is_last);
    else if (ticks > 1)
        observe(next - session.config.interval, ticks - 1, is_last);
}

/* What the session's thread would have done by now, in its place. Without the signal, whose handler
 * looks at this thread as well. */
static void look_instead(bool is_last) {
    sigset_t ticks, before;
    sigemptyset(&ticks);
    sigaddset(&ticks, sampler.signal);
    pthread_sigmask(SIG_BLOCK, &ticks, &before);
    pthread_mutex_lock(&session.work);
    name_threads_at_once(false);
    session.opens_files = false;
    if (is_monitored())
        observe_what_is_due(is_last);
    else if (clock_now() - session.scanned >= look_interval())
        watch();
    pthread_mutex_unlock(&session.work);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Looks first, so that a pause is the time of whoever paused. Where the thread cannot be started,
 * whoever comes here next tries again. */
static void carry_on(void) {
    if (session.running || !atomic_read(active_peek, &sampler.active))
        return;
    look_instead(false);
    if (session.pauses == 0)
        start_thread();
}

int spprof_pause(void) {
    int error = refuse_in_sink(__func__);
    if (error != 0)
        return error;
    pthread_mutex_lock(&session.lock);
    session.pauses++;
    stop_thread();
    pthread_mutex_unlock(&session.lock);
    return 0;
}

int spprof_resume(void) {
    int error = refuse_in_sink(__func__);
    if (error != 0)
        return error;
    pthread_mutex_lock(&session.lock);
    if (session.pauses > 0)
        session.pauses--;
    carry_on();
    pthread_mutex_unlock(&session.lock);
    return 0;
}

/* --- fork --------------------------------------------------------------------------------------------- */

/* The kernel restarts a fork that a signal interrupts; a timer that fires more often than a large fork takes would keep
 * it from ever ending. So its signal waits meanwhile. */
static void before_fork(void) {
    pthread_mutex_lock(&session.lock);
    pthread_mutex_lock(&session.work);
    sigset_t ticks;
    sigemptyset(&ticks);
    sigaddset(&ticks, sampler.signal);
    pthread_sigmask(SIG_BLOCK, &ticks, &session.mask_before_fork);
}

static void after_fork_in_parent(void) {
    pthread_sigmask(SIG_SETMASK, &session.mask_before_fork, NULL);
    pthread_mutex_unlock(&session.work);
    pthread_mutex_unlock(&session.lock);
}

/* The child has neither our thread nor our timers, and no tick waits for it: it begins as if no session had ever been
 * started, and a program that it becomes finds ignored what was ignored. */
static void after_fork_in_child(void) {
    atomic_write(active_write, &sampler.active, false);
    threads_forget();
    give_fault_signals_back();
    signals_give_back(sampler.signal);
    stack_note_caller();
    session.config = (struct spprof_config){0};
    session.running = false;
    session.pauses = 0;
    session.waiting = false;
    session.last = (struct spprof_stats){0};
    pthread_mutex_init(&session.work, NULL);
    pthread_mutex_init(&session.lock, NULL);
    pthread_sigmask(SIG_SETMASK, &session.mask_before_fork, NULL);
}

/* --- start and stop ------------------------------------------------------------------------------------ */

/* Once in a process: a late tick may come when the session is over. With `lock` held. */
static void choose_signal(void) {
    if (sampler.signal == 0)
        sampler.signal = signals_choose();
}

int spprof_signal(void) {
    if (handing_over) /* the session's thread holds the locks, and the session has one */
        return sampler.signal;
    pthread_mutex_lock(&session.lock);
    choose_signal();
    pthread_mutex_unlock(&session.lock);
    return sampler.signal;
}

static int prepare_process(void) {
    static bool prepared; /* under session.lock */
    if (prepared)
        return 0;
    choose_signal();
    uint32_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint32_t)clock_now() ^ (uint32_t)getpid() << 16;
    atomic_write(cookie, &tick_cookie, tick_cookie_of(random));
    int error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    prepared = error == 0;
    return -error;
}

/* An observer with a sink empties each ring before it fills it again, and goes round it with every thread that waits: so
 * there a ring has room for one stack, and no more memory is touched for such a thread. */
static uint32_t usual_ring(const struct spprof_config *config, uint64_t longest) {
    bool emptied_at_once = config->mode == SPPROF_WALL && config->sink != NULL;
    uint64_t least = emptied_at_once ? longest : RING_RECORDS * longest;
    uint32_t size = emptied_at_once ? RING_LEAST : RING_USUAL;
    while (size < least)
        size *= 2;
    return size;
}

static int check_numbers(struct spprof_config *config) {
    if (config->interval < session_interval_least || config->interval > INTERVAL_MOST)
        return fail(EINVAL, "the interval is %llu ns; it must be between 0.1 ms and 10 s",
                    (unsigned long long)config->interval);
    if (config->mode != SPPROF_CPU && config->mode != SPPROF_WALL)
        return fail(EINVAL, "mode %d is unknown; it must be SPPROF_CPU or SPPROF_WALL", (int)config->mode);
    if (config->flags & ~(uint64_t)SPPROF_OWN_FILES)
        return fail(EINVAL, "flags are %#llx; only SPPROF_OWN_FILES is known", (unsigned long long)config->flags);
    if (config->max_depth == 0)
        config->max_depth = DEPTH_USUAL;
    if (config->max_depth > DEPTH_MOST)
        return fail(EINVAL, "max_depth is %u; it must be between 1 and %u", config->max_depth, DEPTH_MOST);
    uint64_t longest = (RECORD_WORDS(config->max_depth) + 1) * 8;
    if (config->ring_bytes == 0)
        config->ring_bytes = usual_ring(config, longest);
    if (config->ring_bytes < RING_LEAST || config->ring_bytes > RING_MOST ||
        (config->ring_bytes & (config->ring_bytes - 1)) != 0)
        return fail(EINVAL, "ring_bytes is %u; it must be a power of two between %d and %d", config->ring_bytes,
                    RING_LEAST, RING_MOST);
    if (config->ring_bytes < longest)
        return fail(EINVAL, "ring_bytes is %u, but one stack of max_depth %u needs %llu", config->ring_bytes,
                    config->max_depth, (unsigned long long)longest);
    return 0;
}

/* Finds the interpreter and checks that it is one that the walker understands. */
static int find_interpreter(struct spprof_config *config) {
    if (config->runtime == NULL)
        config->runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    if (config->code_type == NULL)
        config->code_type = dlsym(RTLD_DEFAULT, "PyCode_Type");
    if (config->runtime == NULL || config->code_type == NULL)
        return fail(EINVAL, "no CPython was found in this process; link the program with -rdynamic, or pass the "
                            "addresses of _PyRuntime and PyCode_Type");
    if (config->thread_state == NULL)
        return fail(EINVAL, "no thread state was passed; pass PyThreadState_Get()");
    char problem[200];
    if (!layout_read(&sampler.layout, config->runtime, LAYOUT_TABLE_BYTES, problem, sizeof problem))
        return fail(EINVAL, "%s", problem);
    struct reader reader = ordinary_reader();
    uint64_t found;
    if (!load_word(&reader, (uintptr_t)config->thread_state + sampler.layout.thread.interpreter, &found) || found == 0)
        return fail(EINVAL, "the thread state that was passed cannot be read; pass PyThreadState_Get()");
    sampler.interpreter = found;
    return 0;
}

static int make_buffers(uint32_t max_depth) {
    free(session.frames);
    free(session.record);
    free(session.observer.looks);
    session.frames = malloc(max_depth * sizeof *session.frames);
    session.record = malloc(RECORD_WORDS(max_depth) * 8);
    session.observer.room = OBSERVE_LOOKS(max_depth);
    session.observer.looks = malloc(session.observer.room * sizeof *session.observer.looks);
    bool made = session.frames != NULL && session.record != NULL && session.observer.looks != NULL;
    return made ? 0 : no_memory();
}

/* `took_ticks`: the signal that asks was not ours before. */
static int take_signals(bool *took_ticks) {
    int error = take_fault_signals();
    if (error == 0) {
        *took_ticks = !signals_in_front(sampler.signal);
        error = take_tick_signal();
    }
    return error == 0 ? 0 : fail(-error, "a signal handler could not be installed: %s", strerror(-error));
}

/* Takes ticks away from every thread and waits until no handler is inside, or gives up the slots of those that do not
 * come out: the session's side of the stop handshake. */
static void quiesce(void) {
    threads_disarm(); /* with `active` still true, so that ticks until here are taken */
    atomic_write(active_write, &sampler.active, false);
    threads_end();
    give_fault_signals_back();
}

/* The calling thread's own chain stands still, so what it shows is certain. */
static uintptr_t find_entry_instr_ptr(void) {
    struct walk walk = {
        .layout = &sampler.layout, .reader = ordinary_reader(), .thread_state = (uintptr_t)session.config.thread_state};
    return walk_find_entry_instr_ptr(&walk);
}

/* The calling thread, whose thread state the session's thread reads, stands still meanwhile. */
static int wait_for_admission(void) {
    while (sem_wait(&session.admitted) != 0)
        ; /* a signal came */
    session.admitting = false;
    return session.admission;
}

/* While a pause lasts there is no other thread for it. */
static int admit_here(void) {
    pthread_mutex_lock(&session.work);
    name_threads_at_once(false);
    int error = admit_threads();
    pthread_mutex_unlock(&session.work);
    return error;
}

static int begin_threads(void) {
    session.found_count = 0;
    session.ending = false;
    session.admitting = session.pauses == 0;
    sem_init(&session.admitted, 0, 0);
    int error = session.pauses > 0 ? 0 : start_thread();
    if (error != 0)
        return fail(-error, "no thread could be started: %s", strerror(-error));
    error = session.admitting ? wait_for_admission() : admit_here();
    if (error == 0)
        return 0;
    stop_thread();
    if (error == -EAGAIN)
        return fail(EAGAIN, "no timer could be made; raise the limit of pending signals (ulimit -i)");
    return fail(-error, "the calling thread could not be sampled: %s", strerror(-error));
}

static int begin_sampling(void) {
    struct threads_config threads = {.interval = by_the_clock() ? 0 : session.config.interval,
                                     .monitored = is_monitored(),
                                     .ring_bytes = session.config.ring_bytes,
                                     .drain = drain_retired};
    if (!threads_begin(&threads))
        return no_memory();
    session.started = session.due = clock_now();
    session.process_began = clock_process();
    session.spent = 0;
    session.scanned = 0;
    session.wait = UINT64_MAX;
    monitor_begin();
    atomic_write(active_write, &sampler.active, true);
    int error = begin_threads();
    if (error != 0) {
        quiesce();
        threads_release();
    }
    return error;
}

static void keep_config(const struct spprof_config *config) {
    session.config = *config;
    session.monitored = by_the_clock() || timers_are_fine();
    sampler.code_type = (uintptr_t)config->code_type;
    sampler.max_depth = config->max_depth;
    sampler.long_look = long_look_of(config->interval);
    sampler.main_stack_high = stack_initial_high();
    stack_note_caller();
    sampler.entry_instr_ptr = find_entry_instr_ptr();
}

/* With the signals taken. */
static int start_with_signals(struct spprof_config *config) {
    int error = find_interpreter(config);
    if (error != 0)
        return error;
    threads_release(); /* what nobody drained goes, and with it the geometry that it was made for */
    session.waiting = false;
    error = make_buffers(config->max_depth);
    if (error != 0)
        return error;
    keep_config(config);
    return begin_sampling();
}

static int start_locked(struct spprof_config config) {
    if (atomic_read(active_peek, &sampler.active))
        return fail(EBUSY, "a session is already active; stop it first");
    int error = check_numbers(&config);
    if (error == 0 && (error = prepare_process()) != 0)
        error = fail(-error, "the process could not be prepared: %s", strerror(-error));
    if (error != 0)
        return error;
    bool took_ticks = false;
    error = take_signals(&took_ticks);
    if (error == 0)
        error = start_with_signals(&config);
    if (error != 0) {
        give_fault_signals_back();
        if (took_ticks)
            signals_give_back(sampler.signal);
    }
    return error;
}

/* The first version of the header that had a size in its structs. */
#define FIRST_CONFIG (offsetof(struct spprof_config, mode) + 8)
#define FIRST_STATS (offsetof(struct spprof_stats, slots_abandoned) + 8)

static int take_config(struct spprof_config *config, const struct spprof_config *theirs) {
    const struct versions versions = {.first = FIRST_CONFIG, .own = sizeof *config};
    enum versioned taken = versioned_take(config, theirs, versions);
    if (taken == VERSIONED_WRONG_SIZE)
        return fail(EINVAL, "the configuration's size is %zu; set .size = sizeof(struct spprof_config)", theirs->size);
    if (taken == VERSIONED_UNKNOWN)
        return fail(EINVAL, "the configuration sets what this library does not know; leave it 0, or use the library "
                            "of that header");
    return 0;
}

int spprof_start(const struct spprof_config *config) {
    struct spprof_config taken;
    int error = refuse_in_sink(__func__);
    if (error == 0)
        error = take_config(&taken, config);
    if (error != 0)
        return error;
    pthread_mutex_lock(&session.lock);
    error = start_locked(taken);
    pthread_mutex_unlock(&session.lock);
    return error;
}

/* Of the session's own thread, those before a pause too. */
static uint64_t own_time(void) {
    if (is_own_thread)
        return session.spent + thread_time(CLOCK_THREAD_CPUTIME_ID);
    clockid_t clock;
    bool runs = session.running && pthread_getcpuclockid(session.thread, &clock) == 0;
    return session.spent + (runs ? thread_time(clock) : 0);
}

static struct spprof_stats count(void) {
    struct spprof_stats stats = {.duration = clock_now() - session.started,
                                 .unasked_ticks = monitor_unasked(),
                                 .clock_step = is_monitored() ? 0 : clock_kernel_tick(),
                                 .watched_cpu = is_monitored() ? monitor_watched() : 0};
    stats.own_cpu = own_time();
    uint64_t now = clock_process(); /* last: its parts are no more than it */
    stats.process_cpu = now > session.process_began ? now - session.process_began : 0;
    threads_count(&stats);
    return stats;
}

static int stop_locked(void) {
    if (!atomic_read(active_peek, &sampler.active))
        return fail(ESRCH, "no session is active; start one first");
    bool had_thread = session.running;
    session.ending = true;
    stop_thread();
    if (is_monitored())
        look_instead(true); /* for ticks that came due while the thread was late, or not there */
    if (!had_thread)
        read_names();
    quiesce();
    session.last = count();
    pthread_mutex_lock(&session.work);
    drain_all();
    threads_replace_abandoned(); /* where it cannot, the next start does */
    pthread_mutex_unlock(&session.work);
    session.waiting = session.config.sink == NULL;
    if (!session.waiting)
        threads_release();
    return 0;
}

int spprof_stop(void) {
    int error = refuse_in_sink(__func__);
    if (error != 0)
        return error;
    pthread_mutex_lock(&session.lock);
    error = stop_locked();
    pthread_mutex_unlock(&session.lock);
    return error;
}

bool spprof_is_active(void) { return atomic_read(active_peek, &sampler.active); }

int spprof_get_stats(struct spprof_stats *stats) {
    const struct versions versions = {.first = FIRST_STATS, .own = sizeof *stats};
    struct spprof_stats now;
    int error = refuse_in_sink(__func__);
    if (error != 0)
        return error;
    pthread_mutex_lock(&session.lock);
    if (atomic_read(active_peek, &sampler.active)) {
        carry_on();
        now = count();
    } else {
        now = session.last;
    }
    pthread_mutex_unlock(&session.lock);
    if (!versioned_give(stats, &now, versions))
        return fail(EINVAL, "the statistics' size is %zu; set .size = sizeof(struct spprof_stats)", stats->size);
    return 0;
}

uint64_t spprof_code_died(const void *code) {
    (void)code; /* one count for all addresses: a sample's generation need only be comparable with a death's */
    return atomic_add(generation_advance, &sampler.deaths, 1) + 1;
}

void session_count(struct spprof_stats *stats) { *stats = count(); }

bool session_thread(uint64_t number, int32_t *tid, char name[16]) { return threads_name(number, tid, name); }

bool session_opens_files(void) { return is_own_thread && session.opens_files; }

bool spprof_thread_name(uint64_t thread, int32_t *tid, char name[16]) {
    if (refuse_in_sink(__func__) != 0)
        return false;
    pthread_mutex_lock(&session.lock);
    bool found = !atomic_read(active_peek, &sampler.active) && threads_name(thread, tid, name);
    pthread_mutex_unlock(&session.lock);
    return found;
}

bool spprof_thread_time(uint64_t thread, uint64_t *cpu) {
    if (refuse_in_sink(__func__) != 0)
        return false;
    pthread_mutex_lock(&session.lock);
    bool found = !atomic_read(active_peek, &sampler.active) && threads_time(thread, cpu);
    pthread_mutex_unlock(&session.lock);
    return found;
}

bool spprof_thread_found(uint64_t thread, int32_t *tid, uint64_t *after, uint64_t *before) {
    char name[16];
    if (refuse_in_sink(__func__) != 0)
        return false;
    pthread_mutex_lock(&session.work);
    bool is_found = thread < session.found_count && threads_name(thread, tid, name);
    if (is_found) {
        *after = session.found[thread].after;
        *before = session.found[thread].before;
    }
    pthread_mutex_unlock(&session.work);
    return is_found;
}

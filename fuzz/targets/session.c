/* The session: start, stop, tick, look, drain, births and deaths of threads, forks, neighbours that
 * take signals and signals that are meant for them, in any order, and any call of the core failing
 * at any use. Beside a model that knows no slot, ring or registry, only which threads are known,
 * what each has shown, and how much a ring holds; and one that knows who would get a signal without
 * us (session_owners.c).
 *
 * The kernel is made up (session_kernel.c), so the input is all that happens. Once a planned fault has come about, how
 * many threads are known and what is counted can no longer be told from outside, until the next sound start; what holds
 * even then goes on being asked: the law, what stacks can be shown, and that a failed start leaves everything as it was.
 *
 *   pairs of bytes: enum operation, its argument; FAULT takes one byte more
 */
#define _GNU_SOURCE /* register names */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "../../stress/faults/faults.h"
#include "../../stress/faults/interpreter.h"
#include "../session_kernel.h"
#include "../session_owners.h"
#include "handler.h"
#include "signals.h"
#include "target.h"

const char fuzz_name[] = "session";
const size_t fuzz_largest = 512;

#define THREADS FAKE_THREADS
#define MAIN 0                      /* starts and stops; lives as long as the process */
#define INTERVAL UINT64_C(10000000) /* of most sessions; time passes in parts of it */
#define RING_WORDS (4096 / 8)
#define RECORD_HEAD_WORDS 6 /* with the word that counts them */
#define TENANCIES 64        /* of a session; after so many nobody looks for threads */
#define WARM_TENANCIES 80
#define QUEUE (RING_WORDS / RECORD_HEAD_WORDS)
#define LOOK_SHORT INT64_C(250000)  /* CPU time up to which none without a look is owed for one, */
#define OWED_MOST INT64_C(20000000) /* and how much may be */
#define HELD 4
#define ASKED_MOST INT64_C(20000000) /* CPU time after which a signal counts as not deliverable */
/* Time after which ticks of CPU time wait no longer for their thread to run. */
#define LEFT_MOST UINT64_C(1000000000)
#define SOUGHT_APART UINT64_C(1000000000) /* between searches for one thread's stack, at least */
#define CLOCKS_DIFFER 512                 /* a CPU clock and the clock: by one part in so many */
#define LOOK_LEAST UINT64_C(1000000)      /* nanoseconds between two readings of the list of threads, */
#define LOOK_MOST UINT64_C(10000000)      /* and between two looks in CPU mode */

/* The usual one; one that is shorter than looks are apart, one that is longer, and one of which a
 * quarter is. */
static const uint64_t intervals[] = {INTERVAL, 100000, 25000000, 100000000};

enum operation {
    START,
    STOP,
    TICK,
    LATE,
    LOOK,
    DRAIN,
    BIRTH,
    DEATH,
    CHANGE,
    FORK,
    CODE_DIED,
    TAKE_SIGNAL,
    FAULT,
    NAMES,
    PASS,
    GIVE_BACK,
    SEND,
    REFUSE,
    OPERATIONS
};

/* What a thread shows. */
enum kind { NORMAL, EMPTY, DETACHED, UNBOUND, STRAY_ENTRY, UNREADABLE, KINDS };

/* --- the threads ----------------------------------------------------------------------------------------------- */

static char *stacks;             /* FAKE_STACK_BYTES for each thread */
static char *no_access;          /* a page that cannot be read */
static struct frame stray_entry; /* on no thread's stack */

static struct {
    struct state states[2]; /* C code has another for each of its calls into Python */
    unsigned present;       /* which of them it has, or had last */
    bool listed;
    enum kind kind;
    int64_t tenancy; /* its number in the session; -1: the session does not know it */
} threads[THREADS];

static struct state *state_of(int thread) { return &threads[thread].states[threads[thread].present]; }

static uintptr_t stack_of(int thread) { return (uintptr_t)stacks + (uintptr_t)thread * FAKE_STACK_BYTES; }

/* No process has this id or a higher one: 2^22 is the most that Linux gives. */
#define NO_PID ((1 << 22) + 1)

/* Four ids for seven threads: they are used again. */
static pid_t tid_of(int thread) { return thread == MAIN ? NO_PID : NO_PID + 1 + thread % 4; }

static void set_kind(int thread, enum kind kind) {
    struct state *state = state_of(thread);
    uint64_t next = state->next;
    struct frame *entry = (struct frame *)(stack_of(thread) + FAKE_STACK_BYTES / 2); // NOLINT: the middle of its stack
    threads[thread].kind = kind;
    state_make(state, tid_of(thread), stack_of(thread) + FAKE_STACK_BYTES, kind == STRAY_ENTRY ? &stray_entry : entry);
    state->next = next;
    if (kind == EMPTY)
        state->current_frame = 0;
    if (kind == UNREADABLE)
        state->current_frame = (uintptr_t)no_access;
    if (kind == DETACHED)
        state->status = STATUS_DETACHED;
    if (kind == UNBOUND)
        state->status = STATUS_UNBOUND;
}

static bool id_is_free(int thread) {
    for (int i = 0; i < THREADS; i++)
        if ((threads[i].listed || fake_threads[i].alive) && tid_of(i) == tid_of(thread))
            return false;
    return true;
}

static void be_born(int thread, enum kind kind) {
    threads[thread].listed = true;
    fake_threads[thread] = (struct fake_thread){.tid = tid_of(thread), .alive = true};
    set_kind(thread, kind);
    state_link(state_of(thread));
}

/* It goes on without one, as C code does between its calls into Python. */
static void give_up_state(int thread) {
    threads[thread].listed = false;
    state_unlink(state_of(thread));
    state_of(thread)->status = STATUS_UNBOUND;
}

static void take_state(int thread, enum kind kind) {
    threads[thread].present ^= 1;
    threads[thread].listed = true;
    set_kind(thread, kind);
    state_link(state_of(thread));
}

static void die(int thread, bool stays_listed) {
    if (fake_threads[thread].alive)
        fake_kernel_die(&fake_threads[thread]);
    if (stays_listed || !threads[thread].listed)
        return;
    give_up_state(thread);
}

/* --- the model ------------------------------------------------------------------------------------------------- */

struct shown {
    uint32_t weight, flags, depth;
    uint64_t generation;
};

static struct tenancy {
    int thread;
    pid_t tid;
    unsigned slot;
    uint32_t words;     /* of its ring */
    int64_t rest_until; /* by its thread's CPU clock */
    uint32_t due;       /* ticks that nobody has taken, */
    bool asked;         /* a signal on its way that asks it to, */
    int64_t asked_at;   /* and its CPU time when that was sent */
    int64_t next;       /* by its CPU clock: when its next tick is due, */
    int64_t used;       /* what it was at the last look, */
    int64_t waits_at;   /* and where it stood when its timer was set to ask it once it runs; -1: it was not */
    uint64_t left_at;   /* since when ticks are due on it */
    bool sent, later;   /* its timer is set, and to ask it once it runs */
    bool has_timer;     /* the kernel may have refused it */
    bool is_placed;     /* looks from outside know where its stack is; */
    uint64_t sought_at; /* when that was looked for last */
    struct shown queue[QUEUE];
    uint32_t first, count;
} tenancies[WARM_TENANCIES + THREADS];

static uint32_t tenancies_most = WARM_TENANCIES;

static struct {
    bool certain; /* no fault has come about since the session's start */
    bool active, wall, sink;
    bool monitored;   /* the session's thread says when ticks are due */
    bool entry_known; /* where the interpreter's own frames stand: then fewer looks are taken */
    bool finds_stack; /* the present look at all may look for one thread's stack, and has not */
    bool sink_unsure; /* a start that a fault ended may have had another */
    bool waiting;     /* stopped, and its samples not handed over: there may be some */
    uint32_t tenancies;
    uint64_t by_reason[SPPROF_REASONS], runs, samples, unguarded, unasked;
    uint64_t interval;
    uint64_t clock_step; /* as the statistics have it */
    uint64_t strays;     /* ticks of late signals, which are of no thread */
    uint64_t earlier;    /* CPU time of threads when they were met: they may be older than the session */
    uint64_t last_look;  /* of this session; 0: none yet */
    uint64_t last_due;   /* wall mode: the last tick that a look stood for, */
    uint32_t weight;     /* and what the next look stands for */
    uint64_t scanned;    /* when it last looked for threads */
    uint64_t deaths;     /* before this input, and in it */
    uint32_t pauses;     /* that no resume has answered; they outlive a session */
    uint64_t slept;      /* when its thread went to sleep last */
    /* Until a thread that ran can have a tick due, nanoseconds; when the next look is wanted. */
    struct {
        uint64_t least, most;
    } wait, wanted;
} model;

/* Ticks are of each thread's CPU time, and the session's thread says when they are due. */
static bool by_cpu_time(void) { return model.monitored && !model.wall; }

static uint64_t within(uint64_t least, uint64_t value, uint64_t most) {
    return value < least ? least : value > most ? most : value;
}

static uint64_t look_interval(void) { return within(LOOK_LEAST, model.interval / 4, LOOK_MOST); }

/* CPU time for which three times as much without a look is owed. */
static int64_t long_look(void) {
    int64_t quarter = (int64_t)model.interval / 4;
    return quarter < LOOK_SHORT ? LOOK_SHORT : quarter;
}

static const struct {
    const struct code *code;
    uint32_t at;
} stack_shown[2] = {{&inner, INNER_AT}, {&outer, OUTER_AT}};

static struct tenancy *tenancy_of(int thread) {
    return threads[thread].tenancy < 0 ? NULL : &tenancies[threads[thread].tenancy];
}

/* Nobody has it, and no sample that nobody has drained waits in it. */
static bool is_free(unsigned slot) {
    for (uint32_t i = 0; i < model.tenancies; i++) {
        bool waits = tenancies[i].count > 0 && !model.sink, lives = threads[tenancies[i].thread].tenancy == i;
        if (tenancies[i].slot == slot && (lives || waits))
            return false;
    }
    return true;
}

/* The first that is free, which says when a thread is visited. */
static unsigned free_slot(void) {
    unsigned slot = 0;
    while (!is_free(slot))
        slot++;
    return slot;
}

static void admit(int thread) {
    unsigned slot = free_slot();
    threads[thread].tenancy = model.tenancies;
    struct tenancy *tenancy = &tenancies[model.tenancies++];
    tenancy->thread = thread;
    tenancy->tid = tid_of(thread);
    tenancy->slot = slot;
    tenancy->words = tenancy->first = tenancy->count = 0;
    tenancy->rest_until = 0;
    tenancy->due = 0;
    tenancy->asked = tenancy->sent = tenancy->later = false;
    tenancy->next = model.last_look != 0 ? (int64_t)fake_now() : 0;
    tenancy->waits_at = -1;
    tenancy->has_timer = !fake_refused.timers;
    tenancy->is_placed = !fake_refused.maps;
    tenancy->sought_at = fake_now();
}

/* What it was asked for comes to that. */
static void leave_due(int thread, enum spprof_reason reason) {
    struct tenancy *tenancy = threads[thread].tenancy < 0 ? NULL : &tenancies[threads[thread].tenancy];
    if (tenancy == NULL || tenancy->due == 0)
        return;
    model.by_reason[reason] += tenancy->due;
    tenancy->due = 0;
    fuzz_reach(reason);
}

static bool is_bound(int thread) { return threads[thread].listed && threads[thread].kind != UNBOUND; }

/* The CPU clocks as the core, which the model goes before, will find them. */
static struct fake_thread foreseen[THREADS];

static void foresee_clocks(void) { memcpy(foreseen, fake_threads, sizeof foreseen); }

/* The thread that has its id: another, where it has died and nobody has looked for threads since. */
static int heir_of(int thread) {
    int heir = thread;
    for (int i = 0; i < THREADS && !foreseen[heir].alive; i++)
        if (foreseen[i].alive && tid_of(i) == tid_of(thread))
            heir = i;
    return heir;
}

static int64_t read_clock(int thread) { return fake_read_clock(&foreseen[heir_of(thread)]); }

/* Asked by reading it. */
static bool has_clock(int thread) {
    bool has = foreseen[heir_of(thread)].alive;
    if (has)
        read_clock(thread);
    return has;
}

/* It had used that much when the look began, and is asked twice after it. */
static bool has_run(int thread, int64_t used) {
    bool has = read_clock(thread) != used;
    return has || read_clock(thread) != used;
}

/* Of an interval, how much a thread uses before its first tick: by its number, so that they lie evenly. */
static uint64_t phase_of(const struct tenancy *tenancy) {
    uint64_t part = (tenancy - tenancies) * UINT64_C(2654435769) % (UINT64_C(1) << 32);
    return model.interval - (uint64_t)((__uint128_t)part * model.interval / ((__uint128_t)1 << 32));
}

/* A thread that is no older than the last look has missed the ticks of its CPU time since its
 * birth; one that is older has its first a part of an interval from now. */
static void count_missed(struct tenancy *tenancy, int64_t used) {
    uint64_t interval = model.interval, since = fake_now() - model.last_look;
    bool young = model.last_look != 0 && (uint64_t)used <= since + since / CLOCKS_DIFFER;
    uint64_t phase = phase_of(tenancy), missed = 0;
    while (young && phase + missed * interval <= (uint64_t)used)
        missed++;
    tenancy->next = (int64_t)(young ? phase + missed * interval : (uint64_t)used + phase);
    model.by_reason[SPPROF_NO_THREAD_STATE] += missed;
    if (missed > 0)
        fuzz_reach(SPPROF_NO_THREAD_STATE);
}

static void leave(int thread) {
    leave_due(thread, SPPROF_DETACHED);
    threads[thread].tenancy = -1;
}

/* Who had its id before has ended. */
static void leave_to(int thread) {
    for (int i = 0; i < THREADS; i++)
        if (tid_of(i) == tid_of(thread) && threads[i].tenancy >= 0)
            leave(i);
}

static void meet(int thread) {
    if (!is_bound(thread) || threads[thread].tenancy >= 0 || !fake_threads[thread].alive)
        return;
    leave_to(thread);
    admit(thread);
    int64_t used = read_clock(thread);
    model.earlier += (uint64_t)used;
    tenancy_of(thread)->used = used;
    if (!model.wall)
        count_missed(tenancy_of(thread), used);
}

/* A sound reading of the list, newest first. */
static void meet_all(void) {
    for (uint64_t at = state_first(); at != 0; at = ((struct state *)(uintptr_t)at)->next)
        for (int i = 0; i < THREADS; i++)
            if (at == (uintptr_t)state_of(i))
                meet(i);
    for (int i = 0; i < THREADS; i++)
        if (threads[i].tenancy >= 0 && !is_bound(i) && !has_clock(i))
            leave(i);
    model.last_look = fake_now();
}

#define NOBODY (-1)

/* The thread by whose state a look goes: that of another, where this one has ended and the other has its id. */
static int owner_of_state(int thread) {
    int heir = heir_of(thread);
    if (state_of(thread)->status != STATUS_UNBOUND)
        return thread;
    return is_bound(heir) ? heir : NOBODY;
}

/* What a look at the thread shows. One without a state runs without Python, which is a stack without frames. */
static enum kind kind_seen(int thread) {
    int owner = owner_of_state(thread);
    enum kind kind = owner == NOBODY ? UNBOUND : threads[owner].kind;
    bool has_entry = kind == NORMAL || kind == DETACHED;
    return has_entry && owner != thread ? STRAY_ENTRY : kind;
}

static uint32_t depth_of(enum kind kind) { return kind == EMPTY || kind == UNBOUND ? 0 : 2; }

static uint32_t flags_of(enum kind kind) { return kind == DETACHED || kind == UNBOUND ? SPPROF_SAMPLE_DETACHED : 0; }

/* Where a thread goes on during the look, that it has no state is no stack. */
static enum spprof_reason outcome_of(enum kind kind, bool is_placed, bool goes_on) {
    static const enum spprof_reason outcomes[KINDS] = {[STRAY_ENTRY] = SPPROF_BOUNDS, [UNREADABLE] = SPPROF_FAULT};
    if (!is_placed && (kind == NORMAL || kind == DETACHED || kind == STRAY_ENTRY))
        return SPPROF_STACK_UNKNOWN;
    return kind == UNBOUND && goes_on ? SPPROF_NO_THREAD_STATE : outcomes[kind];
}

/* A look at the thread, where it looks itself or where its stack is. */
struct sight {
    bool is_placed, goes_on, unguarded;
    uint32_t flags;
};

static void count_look(int thread, uint32_t weight, struct sight sight) {
    enum kind kind = kind_seen(thread);
    enum spprof_reason outcome = outcome_of(kind, sight.is_placed, sight.goes_on);
    uint32_t words = RECORD_HEAD_WORDS + 2 * depth_of(kind), flags = sight.flags | flags_of(kind);
    if (outcome == SPPROF_CAPTURED && tenancy_of(thread)->words + words > RING_WORDS)
        outcome = SPPROF_RING_FULL;
    model.by_reason[outcome] += weight;
    model.runs++;
    model.unguarded += sight.unguarded ? weight : 0;
    fuzz_reach(outcome);
    if (outcome != SPPROF_CAPTURED)
        return;
    if (kind == UNBOUND)
        fuzz_note("without_a_state");
    struct tenancy *tenancy = tenancy_of(thread);
    model.samples++;
    model.unasked += flags & SPPROF_SAMPLE_UNASKED ? weight : 0;
    tenancy->words += words;
    tenancy->queue[(tenancy->first + tenancy->count++) % QUEUE] =
        (struct shown){weight, flags, depth_of(kind), model.deaths};
}

/* A tick at which the thread's CPU clock stood at `began` (negative: it has none any more), and whose look, if there is
 * one, took so long. */
static void count_tick(int thread, uint32_t weight, bool unguarded, int64_t began, int64_t took) {
    struct tenancy *tenancy = tenancy_of(thread);
    if (began >= 0 && tenancy->rest_until - began > OWED_MOST) {
        model.by_reason[SPPROF_THROTTLED] += weight;
        model.runs++;
        fuzz_reach(SPPROF_THROTTLED);
        return;
    }
    count_look(thread, weight, (struct sight){.is_placed = true, .unguarded = unguarded});
    if (took >= long_look())
        tenancy->rest_until = (began > tenancy->rest_until ? began : tenancy->rest_until) + 4 * took;
}

static uint64_t waiting_samples(void) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < model.tenancies; i++)
        count += tenancies[i].count;
    return count;
}

static unsigned fired_before; /* faults, when the core was called */

/* Whether the model still knows, in the midst of a call. */
static bool is_certain(void) { return model.certain && fault_fired() == fired_before; }

/* --- what the core hands over ------------------------------------------------------------------------------------ */

static void check_frames(const struct spprof_sample *sample) {
    FUZZ_LAW(sample->depth == 0 || sample->depth == 2);
    for (uint32_t i = 0; i < sample->depth; i++) {
        const struct spprof_frame *frame = &sample->frames[i];
        FUZZ_LAW(frame->code == (uintptr_t)stack_shown[i].code && frame->instruction == stack_shown[i].at);
        FUZZ_LAW(frame->first_line == stack_shown[i].code->first_line && frame->generation <= model.deaths);
    }
}

static void take(void *context, const struct spprof_sample *sample) {
    FUZZ_LAW(context == &model);
    check_frames(sample);
    if (!is_certain())
        return;
    FUZZ_LAW(sample->thread < model.tenancies);
    struct tenancy *tenancy = &tenancies[sample->thread];
    FUZZ_LAW(tenancy->count > 0);
    const struct shown *shown = &tenancy->queue[tenancy->first];
    FUZZ_LAW(sample->tid == tenancy->tid && sample->weight == shown->weight && sample->flags == shown->flags);
    FUZZ_LAW(sample->depth == shown->depth && (shown->depth == 0 || sample->frames[0].generation == shown->generation));
    tenancy->words -= RECORD_HEAD_WORDS + 2 * shown->depth;
    tenancy->first = (tenancy->first + 1) % QUEUE;
    tenancy->count--;
}

static void caught_up(void *context, uint64_t generation) {
    FUZZ_LAW(context == &model && generation <= model.deaths);
    for (uint32_t i = 0; is_certain() && i < model.tenancies; i++)
        for (uint32_t k = 0; k < tenancies[i].count; k++)
            FUZZ_LAW(tenancies[i].queue[(tenancies[i].first + k) % QUEUE].generation >= generation);
}

/* --- calling the core ------------------------------------------------------------------------------------------- */

static void enter_core(void) {
    fired_before = fault_fired();
    faults_on();
}

/* Whether everything went as it should. */
static bool leave_core(void) {
    faults_off();
    bool sound = fault_fired() == fired_before;
    if (!sound) {
        model.certain = false;
        fuzz_note("hindered");
    }
    return sound;
}

/* In a pause the session's thread is not there, and whoever asks for statistics does its work. */
static bool is_paused(void) { return model.active && model.pauses > 0; }

static void note_owners(bool sound) {
    if (sound)
        owners_seen();
    else
        owners_perhaps_seen();
}

static bool model_look_instead(bool at_last);

static void get_stats_in_a_pause(struct spprof_stats *stats) {
    bool looked = model.certain && model_look_instead(false);
    enter_core();
    spprof_get_stats(stats);
    leave_core();
    if (looked || !model.certain)
        note_owners(model.certain);
}

/* Ticks are the threads' time divided by the interval, but for less than one a thread, and for late signals that are of no
 * thread of the session. */
static void check_sum(const struct spprof_stats *stats) {
    uint64_t due = stats->watched_cpu / model.interval, ticks = stats->ticks - model.strays;
    if (due > ticks + stats->threads || ticks > due + stats->threads)
        fuzz_fail("%lu ticks were due on %lu threads, and there are %lu", due, stats->threads, ticks);
}

static void check_stats(void) {
    struct spprof_stats stats = {.size = sizeof stats};
    if (is_paused())
        get_stats_in_a_pause(&stats);
    else
        spprof_get_stats(&stats);
    uint64_t sum = 0, expected = 0;
    for (int i = 0; i < SPPROF_REASONS; i++) {
        sum += stats.by_reason[i];
        expected += model.by_reason[i];
        if (model.certain && stats.by_reason[i] != model.by_reason[i])
            fuzz_fail("%s: the core counts %lu, the model %lu", spprof_reason_name((enum spprof_reason)i),
                      stats.by_reason[i], model.by_reason[i]);
    }
    FUZZ_LAW(stats.ticks == sum && spprof_is_active() == model.active);
    FUZZ_LAW(fake_watcher() == (model.active && !is_paused()));
    if (!model.certain)
        return;
    FUZZ_LAW(sum == expected && stats.samples == model.samples && stats.handler_runs == model.runs);
    FUZZ_LAW(stats.unguarded_ticks == model.unguarded && stats.unasked_ticks == model.unasked);
    FUZZ_LAW(stats.threads == model.tenancies && stats.threads_refused == 0);
    FUZZ_LAW(stats.clock_step == model.clock_step);
    if (stats.watched_cpu + stats.own_cpu > stats.process_cpu + model.earlier)
        fuzz_fail("%lu ns of threads and %lu ns of its own, of %lu ns of the process", stats.watched_cpu, stats.own_cpu,
                  stats.process_cpu);
    if (by_cpu_time() && !model.active && model.interval != 0) /* all that was due has come to something */
        check_sum(&stats);
}

static void check_periodic_timer(int thread) {
    const struct fake_timer *timer = fake_timer_of(tid_of(thread));
    FUZZ_LAW(timer != NULL && timer->interval == model.interval);
}

/* Whether they are there and set, and since when, is what the model says. */
static void check_asking_timers(int thread) {
    const struct tenancy *tenancy = tenancy_of(thread);
    const struct fake_timer *timer = fake_asker(tid_of(thread));
    FUZZ_LAW((timer != NULL) == tenancy->has_timer);
    FUZZ_LAW(timer == NULL || timer->asks == tenancy->sent);
    if (timer == NULL || !timer->asks)
        return;
    FUZZ_LAW(timer->later == tenancy->later);
    FUZZ_LAW(!tenancy->later || timer->set_at == tenancy->waits_at);
}

/* Those of a dead thread too, until it is out of the list. */
static unsigned timers_of(const struct tenancy *tenancy) { return model.monitored ? tenancy->has_timer : 1; }

/* Every thread that the session knows has its timers, and there is no other. */
static void check_timers(void) {
    unsigned expected = 0;
    for (int i = 0; i < THREADS; i++) {
        if (threads[i].tenancy < 0)
            continue;
        expected += timers_of(tenancy_of(i));
        if (!fake_threads[i].alive)
            continue;
        if (model.monitored)
            check_asking_timers(i);
        else
            check_periodic_timer(i);
    }
    FUZZ_LAW(fake_timers_made() == expected + holdings.refused_deletes);
}

/* --- start and stop ------------------------------------------------------------------------------------------------ */

static int taken_signals[] = {SIGSEGV, SIGBUS, 0}; /* the last is set once it is known */
#define TAKEN 3

static void owners(void *owner[TAKEN]) {
    for (int i = 0; i < TAKEN; i++) {
        struct sigaction action;
        sigaction(taken_signals[i], NULL, &action);
        owner[i] = (void *)(uintptr_t)action.sa_sigaction;
    }
}

static void forget_tenancies(void) {
    model.tenancies = 0;
    for (int i = 0; i < THREADS; i++)
        threads[i].tenancy = -1;
}

static void count_from_zero(void) {
    model.earlier = model.strays = 0;
    memset(model.by_reason, 0, sizeof model.by_reason);
    model.runs = model.samples = model.unguarded = model.unasked = 0;
}

/* In CPU mode, where no thread that ran needs a look before `most`. */
static uint64_t wait_of(uint64_t wait, uint64_t most) {
    uint64_t least = model.interval / 4;
    return least > most ? most : within(least, wait, most);
}

/* The session's thread goes to sleep: when it will want to look, and what that look stands for. */
static void model_next_look(void) {
    uint64_t missed = (fake_now() - model.last_due) / model.interval, apart = look_interval();
    model.weight = (uint32_t)(1 + missed);
    model.slept = fake_now();
    model.wanted.least = model.wanted.most = fake_now() + apart;
    if (model.wall)
        model.wanted.least = model.wanted.most = model.last_due + (1 + missed) * model.interval;
    if (!by_cpu_time())
        return;
    model.wanted.least = fake_now() + wait_of(model.wait.least, apart / 2);
    model.wanted.most = fake_now() + wait_of(model.wait.most, apart / 2 + apart - 1);
}

/* A start that nothing hindered, or of which that is not known. */
static void model_start(const struct spprof_config *config, bool fine, bool certain) {
    forget_tenancies();
    count_from_zero();
    model.certain = certain;
    model.active = true;
    model.wall = config->mode == SPPROF_WALL;
    model.interval = config->interval;
    model.monitored = model.wall || fine;
    model.clock_step = model.monitored ? 0 : FAKE_KERNEL_TICK;
    model.sink = config->sink != NULL;
    model.waiting = model.sink_unsure = false;
    model.entry_known = threads[MAIN].kind != EMPTY && threads[MAIN].kind != UNREADABLE;
    model.last_look = 0;
    model.last_due = model.scanned = fake_now();
    model.wait.least = model.wait.most = UINT64_MAX;
    if (is_bound(MAIN)) /* by its own state, before the list is read */
        meet(MAIN);
    meet_all();
    model_next_look();
}

static unsigned changed_owners(void *const before[TAKEN]) {
    void *now[TAKEN];
    unsigned changed = 0;
    owners(now);
    for (int i = 0; i < TAKEN; i++) /* ours from before go too, where a neighbour had put them back */
        changed += now[i] != before[i] && thunk_place((signal_function *)before[i]) < 0;
    return changed;
}

static void check_failed_start(int error, bool sound, int expected, void *const before[TAKEN], long mappings) {
    const char *why = spprof_error();
    FUZZ_LAW(error < 0 && strlen(why) > 10 && strlen(why) < 250 && strchr(why, '\n') == NULL);
    if (sound && error != expected)
        fuzz_fail("a start failed with %d (%s) instead of %d", error, why, expected);
    FUZZ_LAW(spprof_is_active() == model.active);
    if (error == -EBUSY)
        return;
    model.sink_unsure = model.sink_unsure || !sound;
    FUZZ_LAW(!fake_watcher() && fake_timers_made() == holdings.refused_deletes);
    fake_timers_silence();
    FUZZ_LAW(changed_owners(before) <= holdings.refused_actions);
    FUZZ_LAW(holdings.mappings <= mappings && holdings.files == 0);
    if (holdings.mappings == holdings.refused_unmaps)
        model.waiting = false;
}

enum wrong { RIGHT, SHORT_INTERVAL, UNKNOWN_MODE, DEEP, ODD_RING, NO_STATE, UNREADABLE_STATE, NO_INTERPRETER, WRONGS };

/* Three of four starts are of a right configuration: where bit 7 is set bits say what is wrong,
 * else the interval. */
static struct spprof_config make_config(uint8_t argument) {
    static const char no_table[1024] = "no table of offsets";
    struct spprof_config config = {
        .size = sizeof config,
        .interval = argument & 0x80 ? INTERVAL : intervals[argument >> 2 & 3],
        .max_depth = 16,
        .ring_bytes = RING_WORDS * 8,
        .runtime = &_PyRuntime,
        .code_type = PyCode_Type,
        .thread_state = state_of(MAIN),
        .mode = argument & 1 ? SPPROF_WALL : SPPROF_CPU,
        .sink = argument & 2 ? take : NULL,
        .sink_context = &model,
        .caught_up = caught_up,
        .flags = argument & 0x20 ? SPPROF_OWN_FILES : 0,
    };
    if (!(argument & 0x80))
        return config;
    switch ((enum wrong)(argument >> 2 & 7)) {
    case SHORT_INTERVAL:
        config.interval = 99999;
        break;
    case UNKNOWN_MODE:
        config.mode = (enum spprof_mode)2;
        break;
    case DEEP:
        config.max_depth = 4097;
        break;
    case ODD_RING:
        config.ring_bytes = 4097;
        break;
    case NO_STATE:
        config.thread_state = NULL;
        break;
    case UNREADABLE_STATE:
        config.thread_state = no_access;
        break;
    case NO_INTERPRETER:
        config.runtime = no_table;
        break;
    default:
        break;
    }
    return config;
}

static void start(uint8_t argument) {
    struct spprof_config config = make_config(argument);
    bool right = !(argument & 0x80) || (argument >> 2 & 7) == RIGHT;
    bool fine = argument & 0x40;
    void *before[TAKEN];
    long mappings = holdings.mappings;
    owners(before);
    foresee_clocks();
    if (!model.active)
        fake_clock_is_fine(fine);
    enter_core();
    int error = spprof_start(&config);
    bool sound = leave_core();
    if (error != 0) {
        owners_perhaps_seen();
        check_failed_start(error, sound, model.active ? -EBUSY : -EINVAL, before, mappings);
        FUZZ_LAW(!sound || !right || model.active);
        return;
    }
    FUZZ_LAW(right && !model.active);
    model_start(&config, fine, sound);
    note_owners(sound);
    if (sound)
        check_timers();
}

static void model_observe(bool by_the_session, bool at_last);

static void model_scan(void) {
    meet_all();
    model.scanned = fake_now();
}

/* What the session's thread would have done by now, done by another in its place, at a session's
 * end for the last time. Whether that was anything. */
static bool model_look_instead(bool at_last) {
    uint64_t scans_apart = model.monitored ? LOOK_LEAST : look_interval();
    bool scan_is_due = fake_now() - model.scanned >= scans_apart;
    uint64_t ticks = (fake_now() - model.last_due) / model.interval;
    foresee_clocks();
    if (model.wall ? ticks == 0 : !model.monitored && !scan_is_due)
        return false;
    model.last_due += ticks * model.interval;
    model.weight = (uint32_t)ticks;
    if (scan_is_due)
        model_scan();
    if (model.monitored)
        model_observe(false, at_last);
    return true;
}

static void stop(void) {
    if (model.active && model.monitored) {
        owners_seen_at_last();
        if (model.certain)
            model_look_instead(true);
    }
    for (int i = 0; i < THREADS && model.active && model.certain; i++)
        leave_due(i, SPPROF_BUSY);
    enter_core();
    int error = spprof_stop();
    bool sound = leave_core();
    if (!sound)
        owners_perhaps_seen();
    if (!model.active) {
        FUZZ_LAW(error == -ESRCH);
        return;
    }
    FUZZ_LAW(error == 0);
    model.active = false;
    model.waiting = !model.sink;
    for (int i = 0; i < THREADS; i++)
        threads[i].tenancy = -1;
    FUZZ_LAW(fake_timers_made() == holdings.refused_deletes && holdings.files == 0);
    fake_timers_silence(); /* what could not be deleted; a tick of such a timer is one that comes late */
    if (sound)             /* else a question that failed may have kept one */
        FUZZ_LAW(!signals_in_front(SIGSEGV) && !signals_in_front(SIGBUS));
    FUZZ_LAW(!model.sink || holdings.mappings == holdings.refused_unmaps);
    FUZZ_LAW(!model.sink || !model.certain || waiting_samples() == 0);
}

/* --- ticks, looks, drains --------------------------------------------------------------------------------------- */

static struct held {
    uint64_t value;
    uint32_t weight; /* 0: a signal that asks */
    int thread;
    int64_t tenancy;
} held[HELD];
static unsigned held_count;

static void deliver(int thread, uint64_t value, uint32_t overrun, bool blocked) {
    ucontext_t context;
    memset(&context, 0, sizeof context);
    sigemptyset(&context.uc_sigmask);
    if (blocked)
        sigaddset(&context.uc_sigmask, SIGSEGV);
#if defined(__x86_64__)
    context.uc_mcontext.gregs[REG_RSP] = (long long)stack_of(thread) + 256;
#elif defined(__aarch64__)
    context.uc_mcontext.sp = stack_of(thread) + 256;
#endif
    siginfo_t info = {.si_signo = sampler.signal, .si_code = SI_TIMER};
    info.si_value.sival_ptr = (void *)(uintptr_t)value; // NOLINT: the timer's value
    info.si_overrun = (int)overrun;
    struct sigaction present;
    sigaction(sampler.signal, NULL, &present);
    errno = 4711;
    enter_core();
    present.sa_sigaction(sampler.signal, &info, &context);
    FUZZ_LAW(errno == 4711);
    leave_core();
}

static bool faults_are_ours(void) { return signals_in_front(SIGSEGV) && signals_in_front(SIGBUS); }

/* In a pause who asks may look, and count more. */
static uint64_t ticks_now(void) {
    struct spprof_stats stats = {.size = sizeof stats};
    if (!is_paused())
        spprof_get_stats(&stats);
    return stats.ticks;
}

/* What a handler's look uses of its thread's CPU time. */
static void look_takes(int thread, int64_t took) {
    fake_threads[thread].busy = took;
    fake_threads[thread].pauses = false;
}

/* Whose CPU clock a handler reads on that thread: it may have died, and another have its id. */
static int clock_behind(int thread) {
    foresee_clocks();
    return heir_of(thread);
}

/* Negative: nobody has the id. */
static int64_t read_by_handler(int clock) { return fake_threads[clock].alive ? fake_threads[clock].used : -1; }

/* The signal that asks a thread, or that waited for it to run, arrives: it takes what is due,
 * where its timer is there still. Then the thread does not run in the midst of the next look. */
static void answer(int thread, uint64_t value, bool blocked, int64_t took) {
    struct tenancy *tenancy = fake_timer_has(value) ? tenancy_of(thread) : NULL;
    int clock = clock_behind(thread);
    int64_t began = read_by_handler(clock);
    bool unguarded = blocked || !faults_are_ours();
    if (tenancy != NULL) {
        if (model.certain && tenancy->due > 0)
            count_tick(thread, tenancy->due, unguarded, began, took);
        tenancy->due = 0;
        tenancy->asked = false;
    }
    look_takes(clock, took);
    deliver(thread, value, 0, blocked);
    look_takes(clock, 0);
}

/* In a session whose thread says when ticks are due: the thread runs in the midst of the next
 * look at it, or takes the signal of its timer. */
static void run_or_answer(int thread, uint8_t argument) {
    struct tenancy *tenancy = tenancy_of(thread);
    uint64_t value;
    if (!fake_threads[thread].alive)
        return;
    if (argument & 0x40) {
        int64_t much = (argument >> 3 & 3) * 3 * (int64_t)INTERVAL / 10;
        fake_threads[thread].busy = argument & 0x80 ? ASKED_MOST : 1000 + much;
        fake_threads[thread].pauses = argument & 0x20;
        return;
    }
    pid_t tid = tid_of(thread);
    bool holds = argument & 0x10; /* it has the signal blocked */
    if (!signals_in_front(sampler.signal) || (holds && held_count == HELD))
        return;
    if (!fake_asked(tid, &value))
        return;
    if (tenancy != NULL) {
        if (tenancy->later)
            fuzz_note("ran_again");
        tenancy->sent = false;
    }
    if (holds)
        held[held_count++] = (struct held){.value = value, .thread = thread};
    else
        answer(thread, value, argument & 0x20, argument & 0x80 ? 4 * long_look() : 0);
}

static void tick(uint8_t argument) {
    int thread = argument % THREADS;
    if (model.monitored && model.active) {
        run_or_answer(thread, argument);
        return;
    }
    const struct fake_timer *timer = fake_timer_of(tid_of(thread));
    if (timer == NULL || !fake_threads[thread].alive || !signals_in_front(sampler.signal))
        return;
    uint32_t overrun = argument >> 3 & 3;
    if (argument & 0x40) { /* the thread has the signal blocked: it comes later */
        if (held_count < HELD)
            held[held_count++] = (struct held){timer->value, 1 + overrun, thread, threads[thread].tenancy};
        return;
    }
    bool blocked = argument & 0x20;
    bool unguarded = blocked || !faults_are_ours();
    int64_t began = fake_threads[thread].used;
    int64_t took = argument & 0x80 ? long_look() << overrun : long_look() - 1;
    uint64_t before = ticks_now();
    look_takes(thread, took);
    deliver(thread, timer->value, overrun, blocked);
    look_takes(thread, 0);
    FUZZ_LAW(ticks_now() == before + 1 + overrun || !model.active || is_paused());
    if (model.certain && threads[thread].tenancy >= 0)
        count_tick(thread, 1 + overrun, unguarded, began, took);
}

/* A signal that was held back arrives: its timer may be gone, its session too. */
static void late(void) {
    if (held_count == 0 || !signals_in_front(sampler.signal))
        return;
    struct held tick = held[--held_count];
    if (tick.weight == 0) {
        answer(tick.thread, tick.value, false, 0);
        return;
    }
    bool current = model.active && tick.tenancy >= 0 && threads[tick.thread].tenancy == tick.tenancy;
    uint64_t before = ticks_now(), busy = sampler.strays.by_reason[SPPROF_BUSY];
    bool unguarded = !faults_are_ours();
    int clock = clock_behind(tick.thread);
    look_takes(clock, 0);
    deliver(tick.thread, tick.value, tick.weight - 1, false);
    FUZZ_LAW(is_paused() || ticks_now() == before + (model.active ? tick.weight : 0));
    if (!model.active) {
        FUZZ_LAW(sampler.strays.by_reason[SPPROF_BUSY] == busy + tick.weight);
        fuzz_reach(SPPROF_BUSY);
    }
    if (!model.certain || !model.active)
        return;
    if (current && fake_timer_has(tick.value)) {
        count_tick(tick.thread, tick.weight, unguarded, read_by_handler(clock), 0);
    } else {
        model.by_reason[SPPROF_NO_THREAD_STATE] += tick.weight;
        model.strays += tick.weight;
        fuzz_reach(SPPROF_NO_THREAD_STATE);
    }
}

/* The next look is wanted so soon, as the dice fall. */
static void wait_at_most(uint64_t least, uint64_t most) {
    if (least < model.wait.least)
        model.wait.least = least;
    if (most < model.wait.most)
        model.wait.most = most;
}

/* Intervals of the thread's CPU time that have ended. One that has run can have its next tick due
 * when it has used the rest of the present one. */
static uint32_t due_by_cpu_time(struct tenancy *tenancy, int64_t used) {
    uint32_t ended = 0;
    for (; tenancy->next <= used; tenancy->next += (int64_t)model.interval)
        ended++;
    uint64_t rest = (uint64_t)(tenancy->next - used);
    if (used != tenancy->used)
        wait_at_most(rest, rest);
    return ended;
}

/* A thread that is new was not there for what came due before. */
static uint32_t due_by_the_clock(struct tenancy *tenancy) {
    uint32_t due = 0;
    for (; due < model.weight && tenancy->next <= (int64_t)fake_now(); due++)
        tenancy->next += (int64_t)model.interval;
    return due;
}

/* What a look found at a thread, by its CPU clock. */
struct met {
    int64_t used;
    bool ran;  /* since the last look */
    bool runs; /* during this one */
    bool left; /* ticks were due on it before */
};

static bool is_asked_in_vain(const struct tenancy *tenancy, int64_t used) {
    return tenancy->asked && used - tenancy->asked_at >= ASKED_MOST;
}

/* Whether the timer is set that signals once its thread has run. */
static bool waits_to_run(const struct tenancy *tenancy, const struct met *met) {
    return !tenancy->asked && met->left && tenancy->waits_at >= 0;
}

/* That timer's signal was sent, and the thread has run for so long, and not taken it. */
static bool is_kept_in_vain(const struct tenancy *tenancy, const struct met *met) {
    return waits_to_run(tenancy, met) && met->used - tenancy->waits_at >= ASKED_MOST && !tenancy->sent;
}

/* What is due on it is shown as a look from outside finds it, for that. */
static bool show_for(const char *why) {
    fuzz_note(why);
    return false;
}

/* Ticks of CPU time are not of where the thread came to stand: they stay due until it runs, unless
 * that takes too long. Where it has run since the last look, the next is at random. */
static bool is_kept(struct tenancy *tenancy, const struct met *met, bool at_last) {
    if (at_last)
        return show_for("at_last");
    if (fake_now() - tenancy->left_at >= LEFT_MOST)
        return show_for("left_long");
    bool in_vain = is_asked_in_vain(tenancy, met->used) || is_kept_in_vain(tenancy, met);
    if (in_vain || (!tenancy->asked && !waits_to_run(tenancy, met))) {
        tenancy->waits_at = met->used;
        tenancy->sent = tenancy->later = true;
    }
    if (in_vain)
        return show_for("in_vain");
    fuzz_note("kept");
    if (met->ran)
        wait_at_most(model.interval / 4, model.interval / 4 + model.interval / 2 - 1);
    return true;
}

static void ask_now(struct tenancy *tenancy) {
    tenancy->waits_at = -1;
    tenancy->later = false;
    tenancy->sent = true;
}

/* A thread that runs and has a timer is asked once. */
static bool will_answer(struct tenancy *tenancy, int64_t used) {
    if (is_asked_in_vain(tenancy, used)) {
        ask_now(tenancy);
        return show_for("in_vain");
    }
    if (tenancy->asked)
        return true;
    if (!tenancy->has_timer)
        return show_for("timerless");
    if (tenancy->waits_at >= 0)
        fuzz_note("taken_back");
    ask_now(tenancy);
    tenancy->asked_at = used;
    tenancy->asked = true;
    return true;
}

/* A stack that is not known is looked for by the session's thread alone, which has files of its own,
 * one in a look at all and each once in a second. */
static void find_stack(struct tenancy *tenancy) {
    if (tenancy->is_placed || !model.finds_stack || fake_now() - tenancy->sought_at < SOUGHT_APART)
        return;
    model.finds_stack = false;
    tenancy->sought_at = fake_now();
    tenancy->is_placed = !fake_refused.maps;
    fuzz_note(tenancy->is_placed ? "placed" : "sought");
}

/* A look from outside, in which the thread ran or stood. Where entry frames stand is learnt of one
 * that has given up its state, and stands. */
static void view(int thread, bool runs) {
    struct tenancy *tenancy = tenancy_of(thread);
    find_stack(tenancy);
    if (!runs && kind_seen(thread) == DETACHED && tenancy->is_placed)
        model.entry_known = true;
}

/* A thread that has used of the processor since the look began runs, and is asked to look itself,
 * once. One that stands is looked at where ticks are of the clock; those of its CPU time wait for
 * it to run, where it could be asked then. */
static void model_look_at(int thread, bool at_last) {
    struct tenancy *tenancy = tenancy_of(thread);
    struct met met = {.used = read_clock(thread), .left = tenancy->due > 0};
    if (met.used < tenancy->used) { /* another thread has its id */
        fuzz_note("id_used_again");
        leave(thread);
        return;
    }
    met.ran = met.used != tenancy->used;
    if (!met.left)
        tenancy->left_at = fake_now();
    tenancy->due += by_cpu_time() ? due_by_cpu_time(tenancy, met.used) : due_by_the_clock(tenancy);
    tenancy->used = met.used;
    if (tenancy->due == 0)
        return;
    met.runs = has_run(thread, met.used);
    bool is_unseen = by_cpu_time() && tenancy->has_timer && model.entry_known;
    if (!is_unseen)
        view(thread, met.runs);
    if (met.runs && will_answer(tenancy, met.used))
        return;
    if (!met.runs && by_cpu_time() && tenancy->has_timer && is_kept(tenancy, &met, at_last))
        return;
    view(thread, met.runs);
    uint32_t flags = met.runs || by_cpu_time() ? SPPROF_SAMPLE_UNASKED : 0;
    count_look(thread, tenancy->due,
               (struct sight){.is_placed = tenancy->is_placed, .goes_on = met.runs, .flags = flags});
    tenancy->due = 0;
}

/* The threads that the session knows, as they are visited. How many there are. */
static int in_order_of_slots(int known[THREADS]) {
    int count = 0;
    for (int thread = 0; thread < THREADS; thread++) {
        if (threads[thread].tenancy < 0)
            continue;
        int place = count++;
        for (; place > 0 && tenancy_of(known[place - 1])->slot > tenancy_of(thread)->slot; place--)
            known[place] = known[place - 1];
        known[place] = thread;
    }
    return count;
}

/* The monitor has taken the fault signals back before it looks. */
static void model_observe(bool by_the_session, bool at_last) {
    int visited[THREADS], count = in_order_of_slots(visited);
    model.finds_stack = by_the_session;
    model.wait.least = model.wait.most = UINT64_MAX;
    for (int i = 0; i < count; i++)
        if (foreseen[heir_of(visited[i])].alive)
            model_look_at(visited[i], at_last);
        else
            leave(visited[i]);
}

static struct {
    uint64_t wait; /* the last */
    unsigned same; /* in a row */
} at_rest;

/* Where no thread runs the looks are at random distances: none that begins to can be in step with them. */
static void check_dice(uint64_t wait) {
    if (!by_cpu_time() || model.wait.least != UINT64_MAX)
        return;
    at_rest.same = wait == at_rest.wait ? at_rest.same + 1 : 0;
    at_rest.wait = wait;
    FUZZ_LAW(at_rest.same < 3);
}

/* Lets the time pass to where the session's thread wants to run, and so much more. */
static void wait_for_look(uint64_t late) {
    uint64_t wanted = fake_wanted();
    if (model.certain)
        check_dice(wanted - model.slept);
    FUZZ_LAW(!model.certain || (model.wanted.least <= wanted && wanted <= model.wanted.most));
    fake_pass((wanted > fake_now() ? wanted - fake_now() : 0) + late);
}

static void look(uint8_t argument) {
    if (!model.active || is_paused() || model.tenancies >= tenancies_most)
        return;
    bool was_certain = model.certain;
    wait_for_look((argument & 3) * INTERVAL + (argument & 4 ? LEFT_MOST : 0));
    model.last_due = fake_wanted();
    if (was_certain) { /* before the core, which hands over what it captures in the same look */
        foresee_clocks();
        if (!model.monitored || fake_now() - model.scanned >= LOOK_LEAST)
            model_scan();
        if (model.monitored)
            model_observe(true, false);
    }
    enter_core();
    fake_look();
    bool sound = leave_core();
    model_next_look();
    note_owners(sound);
    if (!sound || !was_certain)
        return;
    check_timers();
    FUZZ_LAW(!model.sink || waiting_samples() == 0);
}

static void drain(void) {
    uint64_t waiting = model.active || model.waiting ? waiting_samples() : 0;
    enter_core();
    int64_t count = spprof_drain(take, &model);
    bool sound = leave_core();
    if (sound && model.certain)
        FUZZ_LAW(count == (model.sink ? -EBUSY : (int64_t)waiting) ||
                 (model.sink_unsure && (count == 0 || count == -EBUSY)));
}

/* --- the rest of what can happen --------------------------------------------------------------------------------- */

static void give_birth(uint8_t argument) {
    int thread = argument % THREADS;
    bool unknown = threads[thread].tenancy < 0; /* else it would be the same thread to the core: same id, same stack */
    if (!threads[thread].listed && unknown && id_is_free(thread))
        be_born(thread, (enum kind)((argument >> 3) % KINDS));
}

/* What a thread shows; or with bit 6, whether it has a state. */
static void change(uint8_t argument) {
    int thread = argument % THREADS;
    enum kind kind = (enum kind)((argument >> 3 & 7) % KINDS);
    if (argument & 0x40 && fake_threads[thread].alive && threads[thread].listed)
        give_up_state(thread);
    else if (argument & 0x40 && fake_threads[thread].alive)
        take_state(thread, kind);
    else if (threads[thread].listed)
        set_kind(thread, kind);
}

static void pause_session(void) {
    enter_core();
    FUZZ_LAW(spprof_pause() == 0);
    leave_core();
    model.pauses++;
}

/* Who resumes looks first, and where it is the last the session's thread is started. */
static void resume_session(void) {
    bool was_paused = is_paused();
    bool looked = was_paused && model.certain && model_look_instead(false);
    enter_core();
    FUZZ_LAW(spprof_resume() == 0);
    leave_core();
    model.pauses -= model.pauses > 0;
    if (looked || !model.certain)
        note_owners(model.certain);
    if (was_paused && model.pauses == 0)
        model_next_look();
    fuzz_note("resumed");
}

static void begin_as_child(void) {
    for (int i = 1; i < THREADS; i++)
        die(i, false);
    forget_tenancies();
    count_from_zero();
    held_count = 0;
    holdings.refused_deletes = 0; /* the child has no timers */
    model.active = model.waiting = model.sink = model.sink_unsure = false;
    model.clock_step = 0;
    model.pauses = 0;
    model.certain = true;
}

/* The package pauses before a fork and resumes after it; here either may be missing. */
static void let_fork(uint8_t argument) {
    bool in_child = argument & 1;
    if (argument & 2 && model.tenancies < tenancies_most) /* else there were no end of them */
        pause_session();
    enter_core();
    fake_fork(in_child);
    leave_core();
    if (in_child)
        begin_as_child();
    if (argument & 4)
        resume_session();
}

static void plan_fault(uint8_t which, uint8_t how) {
    struct fault fault = {.call = which % (CALLS + 1), .nth = 1 + (how & 15), .lasting = how >> 7};
    if (fault.call == CALLS)
        fault.nth = 0;
    else
        fault.error = call_kinds[fault.call].errors[(how >> 4 & 3) % call_kinds[fault.call].error_count];
    fault_plan(&fault);
}

static void check_names(void) {
    int32_t tid;
    char name[16];
    for (uint32_t i = 0; i < model.tenancies && model.certain && !model.active; i++)
        FUZZ_LAW(spprof_thread_name(i, &tid, name) && tid == tenancies[i].tid &&
                 memchr(name, '\0', sizeof name) != NULL);
    if (model.certain)
        FUZZ_LAW(!spprof_thread_name(model.active ? 0 : model.tenancies, &tid, name));
}

/* Each thread's is its part of the whole. */
static void check_times(void) {
    struct spprof_stats stats = {.size = sizeof stats};
    uint64_t sum = 0, time;
    if (!model.certain || model.active)
        return;
    spprof_get_stats(&stats);
    for (uint32_t i = 0; i < model.tenancies; i++) {
        FUZZ_LAW(spprof_thread_time(i, &time));
        sum += time;
    }
    FUZZ_LAW(sum == stats.watched_cpu && !spprof_thread_time(model.tenancies, &time));
}

static void pass(uint8_t argument) {
    fake_threads[argument % THREADS].used += (argument >> 3) * (int64_t)(INTERVAL / 2);
    fake_pass((argument >> 3) * INTERVAL / 4);
}

/* A pause ends where the model does not know what is found in it, or too much is. */
static void limit_pauses(void) {
    while (model.pauses > 0 && (!model.certain || model.tenancies >= tenancies_most))
        resume_session();
}

static void operate(enum operation operation, uint8_t argument) {
    switch (operation) {
    case START:
        start(argument);
        break;
    case STOP:
        stop();
        break;
    case TICK:
        tick(argument);
        break;
    case LATE:
        late();
        break;
    case LOOK:
        look(argument);
        break;
    case DRAIN:
        drain();
        break;
    case BIRTH:
        give_birth(argument);
        break;
    case DEATH:
        if (argument % THREADS != MAIN)
            die(argument % THREADS, argument & 8);
        break;
    case CHANGE:
        change(argument);
        break;
    case FORK:
        let_fork(argument);
        break;
    case CODE_DIED:
        FUZZ_LAW(spprof_code_died(&inner) == ++model.deaths);
        break;
    case TAKE_SIGNAL:
        owners_take(argument);
        break;
    case NAMES:
        check_names();
        check_times();
        break;
    case GIVE_BACK:
        owners_give_back(argument);
        break;
    case SEND:
        owners_send(argument);
        break;
    case REFUSE:
        fake_refused.timers = argument & 1;
        fake_refused.maps = argument & 4;
        break;
    default:
        pass(argument);
        break;
    }
    limit_pauses();
    check_stats();
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

/* Nothing is active or waiting, nobody has a signal that is not theirs, and only MAIN is there. */
static void clear_away(void) {
    fault_plan(&(struct fault){0});
    for (int i = 1; i < THREADS; i++)
        die(i, false);
    if (!threads[MAIN].listed)
        take_state(MAIN, NORMAL);
    set_kind(MAIN, NORMAL);
    while (model.pauses > 0)
        resume_session();
    if (model.active)
        stop();
    owners_begin();
    start(2); /* takes what nobody drained */
    stop();
    owners_begin();
    holdings.refused_deletes = holdings.refused_actions = 0;
    memset(fake_timers, 0, sizeof fake_timers);
    fake_threads[MAIN] = (struct fake_thread){.tid = tid_of(MAIN), .alive = true};
    held_count = 0;
}

static void try_operations(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i + 1 < count; i += 2) {
        enum operation operation = bytes[i] % OPERATIONS;
        if (operation != FAULT)
            operate(operation, bytes[i + 1]);
        else if (i + 2 < count)
            plan_fault(bytes[i + 1], bytes[i + 2]), i++;
    }
}

void fuzz_one(const uint8_t *bytes, size_t count) {
    fake_kernel_begin();
    fake_dice_begin();
    at_rest.same = 0;
    try_operations(bytes, count);
    clear_away();
}

/* Once what the core keeps for ever is there, every input finds the same: a slot for as many
 * threads as can be. */
static void warm_up(void) {
    uint8_t round[32];
    size_t count = 0;
    for (uint8_t thread = 1; thread <= 4; thread++)
        round[count++] = BIRTH, round[count++] = thread;
    round[count++] = LOOK, round[count++] = 0;
    for (uint8_t thread = 1; thread <= 4; thread++)
        round[count++] = TICK, round[count++] = thread;
    for (uint8_t thread = 1; thread <= 4; thread++)
        round[count++] = DEATH, round[count++] = thread;
    round[count++] = LOOK, round[count++] = 0;
    fake_kernel_begin();
    operate(START, 0);
    while (model.tenancies < WARM_TENANCIES)
        try_operations(round, count);
    clear_away();
    tenancies_most = TENANCIES;
}

void fuzz_set_up(void) {
    size_t size = THREADS * FAKE_STACK_BYTES;
    stacks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    no_access = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stacks == MAP_FAILED || no_access == MAP_FAILED)
        fuzz_fail("no memory");
    fake_kernel_stacks((uintptr_t)stacks, (uintptr_t)stacks + size);
    taken_signals[TAKEN - 1] = spprof_signal();
    owners_set_up(taken_signals[TAKEN - 1]);
    owners_begin();
    be_born(MAIN, NORMAL);
    forget_tenancies();
    fake_kernel_begin();
    start(2);
    stop();
    warm_up();
}

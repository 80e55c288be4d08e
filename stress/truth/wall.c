#define _GNU_SOURCE /* RTLD_NOW and friends */
#include "wall.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../walker.h"
#include "atomics.h"
#include "handler.h"
#include "observe.h"
#include "ordinary/stack.h"
#include "signals.h"
#include "walk.h"

#define DEPTH_MOST 1024
#define THREADS_MOST 4096
#define BOUNDS_KEPT 1024

/* The thread that started the observer only waits; looked at in every round it would fill the table with one stack. */
#define ROUNDS_BETWEEN_IDLE 64

/* A code object that dies during a walk leaves open which of two objects an address meant: such a walk is repeated. The
 * core's own sees to that itself. */
#define ATTEMPTS 4

/* Back-to-back walks begin where the one before ended: more of them begin where walks are quick. What is to be counted
 * in shares of time must begin at moments that the stacks have no part in: the first walks after each beat. */
#define BEAT_LEAST 30000 /* nanoseconds */
#define BEAT_SPREAD 32768

typedef int walk_function(const struct walker_target *target, struct walker_frame *frames, int room);

/* Where a thread's C stack lies, which takes long to find. */
struct stack_bounds {
    uint64_t tid, thread_id;
    uintptr_t low, high;
};

static struct {
    struct wall_config config;
    struct wall_result result;
    struct layout layout;
    uintptr_t interpreter;
    uintptr_t entry_instr_ptr;
    uint64_t idle_tid;
    uint64_t next_beat; /* by the monotonic clock, nanoseconds */
    uint32_t dice;
    const char *name;
    walk_function *walk; /* NULL: the core's own */
    bool (*recover)(void *ucontext);
    struct observer observer;
    struct look looks[OBSERVE_LOOKS(DEPTH_MOST)];
    struct stack_bounds bounds[BOUNDS_KEPT];
    struct walk_frame walked[DEPTH_MOST];
    struct walker_frame walker_frames[DEPTH_MOST];
    struct spprof_frame frames[DEPTH_MOST];
    struct walker_target targets[THREADS_MOST];
    pthread_t thread;
    _Atomic bool stopping;
} wall;

static const struct reader direct;

const char *wall_walker_name(void) { return wall.name; }

/* --- the threads ------------------------------------------------------------------------------------- */

static const struct stack_bounds *bounds_of(uint64_t tid, uint64_t thread_id) {
    struct stack_bounds *bounds = &wall.bounds[tid % BOUNDS_KEPT];
    if (bounds->tid != tid || bounds->thread_id != thread_id || bounds->high == 0) {
        *bounds = (struct stack_bounds){.tid = tid, .thread_id = thread_id};
        stack_find(&direct, (int32_t)tid, thread_id, &bounds->low, &bounds->high);
    }
    return bounds;
}

static bool read_target(uintptr_t state, struct walker_target *target, uint64_t *next) {
    const struct layout *layout = &wall.layout;
    uint64_t interpreter, tid, thread_id, status;
    if (state % 8 != 0 || !load_word(&direct, state + layout->thread.interpreter, &interpreter) ||
        interpreter != wall.interpreter || !load_word(&direct, state + layout->thread.native_thread_id, &tid) ||
        !load_word(&direct, state + layout->thread.thread_id, &thread_id) ||
        !load_int(&direct, state + layout->thread.status, &status) ||
        !load_link(&direct, state + layout->thread.next, next))
        return false;
    bool bound = tid != 0 && (status & layout->thread.status_bound) && !(status & layout->thread.status_unbound);
    const struct stack_bounds none = {0}, *bounds = bound ? bounds_of(tid, thread_id) : &none;
    *target = (struct walker_target){
        .layout = layout,
        .code_type = (uintptr_t)wall.config.code_type,
        .thread_state = state,
        .tid = bound ? tid : 0,
        .stack_low = bounds->low,
        .stack_high = bounds->high,
    };
    return true;
}

/* As many of the interpreter's threads as could be read before the list changed under the reader. */
static int find_targets(void) {
    uint64_t state;
    int count = 0;
    if (!load_link(&direct, wall.interpreter + wall.layout.interpreter.threads_head, &state))
        return 0;
    while (state != 0 && count < THREADS_MOST && read_target(state, &wall.targets[count], &state))
        count += wall.targets[count].tid != 0;
    return count;
}

/* --- one walk ------------------------------------------------------------------------------------------ */

static struct walk walk_of(const struct walker_target *target) {
    return (struct walk){
        .layout = target->layout,
        .reader = direct,
        .code_type = target->code_type,
        .thread_state = target->thread_state,
        .tid = target->tid,
        .stack_low = target->stack_low,
        .stack_high = target->stack_high,
        .frames = wall.walked,
        .max_depth = DEPTH_MOST,
        .entry_instr_ptr = wall.entry_instr_ptr,
    };
}

static enum spprof_reason walk_own(const struct walker_target *target, struct spprof_sample *sample) {
    struct walk walk = walk_of(target);
    enum spprof_reason reason = observe_thread(&wall.observer, &walk);
    if (reason != SPPROF_CAPTURED)
        return reason;
    sample->depth = walk.depth;
    for (uint32_t i = 0; i < walk.depth; i++)
        wall.frames[i] = (struct spprof_frame){.code = wall.walked[i].code,
                                               .generation = wall.observer.generation,
                                               .instruction = wall.walked[i].instruction,
                                               .first_line = wall.walked[i].first_line};
    return SPPROF_CAPTURED;
}

static enum spprof_reason walk_theirs_once(const struct walker_target *target, struct spprof_sample *sample) {
    uint64_t generation = atomic_read(generation_read, &sampler.deaths);
    int depth = wall.walk(target, wall.walker_frames, DEPTH_MOST);
    if (depth < 0)
        return -depth < SPPROF_REASONS ? (enum spprof_reason)(-depth) : SPPROF_FAULT;
    sample->depth = depth < DEPTH_MOST ? (uint32_t)depth : DEPTH_MOST;
    for (uint32_t i = 0; i < sample->depth; i++)
        wall.frames[i] = (struct spprof_frame){.code = wall.walker_frames[i].code,
                                               .generation = generation,
                                               .instruction = wall.walker_frames[i].instruction};
    return generation == atomic_read(generation_read, &sampler.deaths) ? SPPROF_CAPTURED : SPPROF_TORN;
}

static enum spprof_reason walk_theirs(const struct walker_target *target, struct spprof_sample *sample) {
    enum spprof_reason reason = SPPROF_TORN;
    for (int attempt = 0; attempt < ATTEMPTS && reason == SPPROF_TORN; attempt++)
        reason = walk_theirs_once(target, sample);
    return reason;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool on_the_beat(void) {
    uint64_t time = now();
    if (time < wall.next_beat)
        return false;
    wall.dice = wall.dice * 1664525u + 1013904223u;
    wall.next_beat = time + BEAT_LEAST + (wall.dice >> 16) % BEAT_SPREAD;
    return true;
}

static void look_at(const struct walker_target *target, bool beat) {
    struct spprof_sample sample = {.tid = (int32_t)target->tid, .weight = 1, .frames = wall.frames};
    enum spprof_reason reason = wall.walk != NULL ? walk_theirs(target, &sample) : walk_own(target, &sample);
    wall.result.walks++;
    wall.result.by_reason[reason]++;
    if (reason != SPPROF_CAPTURED)
        return;
    tally_add(wall.config.tally, &sample);
    if (beat)
        tally_share(wall.config.tally, sample.tid, 1);
}

static void *observe(void *unused) {
    (void)unused;
    for (uint64_t round = 0; !atomic_read(active_peek, &wall.stopping); round++) {
        int count = find_targets();
        bool beat = on_the_beat();
        codes_caught_up(wall.config.tally->budget.codes, atomic_read(generation_read, &sampler.deaths));
        for (int i = 0; i < count; i++)
            if (wall.targets[i].tid != wall.idle_tid || round % ROUNDS_BETWEEN_IDLE == 0)
                look_at(&wall.targets[i], beat);
    }
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    wall.result.nanoseconds = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    return NULL;
}

/* --- start and stop --------------------------------------------------------------------------------------- */

static bool on_fault(int signal, siginfo_t *info, void *ucontext) {
    return (wall.recover != NULL && wall.recover(ucontext)) || handler_on_fault(signal, info, ucontext);
}

static bool load_walker(const char *path, char *problem, size_t room) {
    if (path == NULL) {
        wall.name = "spprof";
        return true;
    }
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        snprintf(problem, room, "%s", dlerror());
        return false;
    }
    wall.name = dlsym(object, "walker_name");
    *(void **)&wall.walk = dlsym(object, "walker_walk");
    *(void **)&wall.recover = dlsym(object, "walker_recover");
    if (wall.name == NULL || wall.walk == NULL)
        snprintf(problem, room, "%s exports no walker_name and walker_walk (stress/walker.h)", path);
    return wall.name != NULL && wall.walk != NULL;
}

static bool prepare(const struct wall_config *config, char *problem, size_t room) {
    wall.config = *config;
    if (!layout_read(&wall.layout, config->runtime, LAYOUT_TABLE_BYTES, problem, room))
        return false;
    memcpy(&wall.interpreter, (const char *)config->thread_state + wall.layout.thread.interpreter, 8);
    wall.idle_tid = (uint64_t)gettid();
    wall.observer = (struct observer){.looks = wall.looks, .room = OBSERVE_LOOKS(DEPTH_MOST)};
    struct walk walk = {.layout = &wall.layout, .thread_state = (uintptr_t)config->thread_state};
    wall.entry_instr_ptr = walk_find_entry_instr_ptr(&walk);
    stack_note_caller();
    stack_learn_first();
    if (signals_take(SIGSEGV, on_fault) != 0 || signals_take(SIGBUS, on_fault) != 0) {
        snprintf(problem, room, "the fault handlers could not be installed");
        return false;
    }
    return load_walker(config->walker, problem, room);
}

static void release(void) {
    signals_give_back(SIGSEGV);
    signals_give_back(SIGBUS);
}

bool wall_start(const struct wall_config *config, char *problem, size_t room) {
    if (!prepare(config, problem, room))
        return false;
    atomic_write(active_write, &wall.stopping, false);
    sigset_t none, before;
    sigfillset(&none);
    sigdelset(&none, SIGSEGV);
    sigdelset(&none, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &none, &before);
    int error = pthread_create(&wall.thread, NULL, observe, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        snprintf(problem, room, "no thread could be started");
    return error == 0;
}

void wall_stop(struct wall_result *result) {
    atomic_write(active_write, &wall.stopping, true);
    pthread_join(wall.thread, NULL);
    release();
    *result = wall.result;
    memcpy(result->met, wall.observer.met, sizeof result->met);
}

/* --- what a walk costs ---------------------------------------------------------------------------------------- */

/* Batches of the two walkers take turns, so that what else the machine does meets both. */
#define BATCHES 400
#define WALKS_A_BATCH 500

/* Nanoseconds of a batch of looks from outside, or of the loaded walker's walk; 0: one of them captured nothing. */
static uint64_t time_batch(const struct walker_target *target, bool ours) {
    uint64_t began = now();
    for (int i = 0; i < WALKS_A_BATCH; i++) {
        struct walk walk = walk_of(target);
        if (ours ? walk_thread(&walk) != SPPROF_CAPTURED : wall.walk(target, wall.walker_frames, DEPTH_MOST) <= 0)
            return 0;
    }
    return now() - began;
}

static bool compare(const struct walker_target *target, struct wall_cost *cost) {
    *cost = (struct wall_cost){.ours = UINT64_MAX, .theirs = UINT64_MAX};
    for (int i = 0; i < BATCHES; i++) {
        uint64_t ours = time_batch(target, true), theirs = time_batch(target, false);
        if (ours == 0 || theirs == 0)
            return false;
        cost->ours = ours < cost->ours ? ours : cost->ours;
        cost->theirs = theirs < cost->theirs ? theirs : cost->theirs;
    }
    cost->walks = WALKS_A_BATCH;
    return true;
}

bool wall_compare(const struct wall_config *config, struct wall_cost *cost, char *problem, size_t room) {
    struct walker_target target;
    uint64_t next;
    if (!prepare(config, problem, room))
        return false;
    bool compared = read_target((uintptr_t)config->thread_state, &target, &next) && compare(&target, cost);
    if (!compared)
        snprintf(problem, room, "the caller's own stack could not be walked");
    release();
    return compared;
}

/* `interpreter HANDLER_RUNS LOOKS SEED THREADS`: samples the synthetic interpreter through the core's public header, in
 * one session after another, until handlers have run so often and the observer has looked so often. Prints what happened
 * as one line of JSON. Exit status 0 where all that it checks itself was so. */
#define _GNU_SOURCE /* gettid */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "delivery.h"
#include "interpreter.h"
#include "oracle.h"
#include "spprof.h"
#include "workload.h"

static uint64_t draws;
static struct thread_state *standing; /* the main thread's state */

static struct {
    uint64_t sessions, handler_runs, looks, drains, law_broken, refusals_wrong;
    uint64_t ticks, by_reason[SPPROF_REASONS];
} totals;

/* Written by the thread that looks on, read after it was joined. */
static struct {
    uint64_t drains, looks_at_stats, law_broken;
} meanwhile;
static _Atomic bool looking;

static uint64_t draw(void) {
    draws = draws * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return draws >> 33;
}

static void rest(uint64_t microseconds) { nanosleep(&(struct timespec){.tv_nsec = (long)microseconds * 1000}, NULL); }

static bool lawful(const struct spprof_stats *stats) {
    uint64_t sum = 0;
    for (int i = 0; i < SPPROF_REASONS; i++)
        sum += stats->by_reason[i];
    return sum == stats->ticks;
}

/* --- beside a session ------------------------------------------------------------------------------------ */

/* Drains, reads counters and asks for what must be refused, while a session runs. */
static void *look_on(void *config) {
    while (atomic_load_explicit(&looking, memory_order_relaxed)) {
        struct spprof_stats stats = {.size = sizeof stats};
        meanwhile.drains += spprof_drain(oracle_judge, NULL) >= 0;
        spprof_get_stats(&stats);
        meanwhile.looks_at_stats++;
        meanwhile.law_broken += !lawful(&stats);
        rest(300);
    }
    (void)config;
    return NULL;
}

struct rival {
    const struct spprof_config *config; /* to start with; NULL: to stop */
    int result;
};

static void *compete(void *argument) {
    struct rival *rival = argument;
    rival->result = rival->config != NULL ? spprof_start(rival->config) : spprof_stop();
    return NULL;
}

/* Two threads start, or stop, at once: one must do it and the other be refused. */
static bool one_of_two(const struct spprof_config *config, int refusal) {
    struct rival other = {.config = config}, us = {.config = config};
    pthread_t thread;
    if (pthread_create(&thread, NULL, compete, &other) != 0)
        return false;
    compete(&us);
    pthread_join(thread, NULL);
    return (us.result == 0 && other.result == refusal) || (us.result == refusal && other.result == 0);
}

/* --- sessions ----------------------------------------------------------------------------------------------- */

static struct spprof_config configure(void) {
    bool short_stacks = draw() % 4 == 0;
    return (struct spprof_config){
        .size = sizeof(struct spprof_config),
        .interval = 100000 + draw() % 10 * 100000,
        .max_depth = short_stacks ? 8 : 256,
        .ring_bytes = short_stacks ? 4096
                      : draw() % 2 ? 8192
                                   : 0,
        .runtime = interpreter_runtime,
        .code_type = interpreter_code_type,
        .thread_state = standing,
        .sink = draw() % 3 ? oracle_judge : NULL,
        .mode = draw() % 3 ? SPPROF_CPU : SPPROF_WALL,
    };
}

static void count(const struct spprof_config *config) {
    struct spprof_stats stats = {.size = sizeof stats};
    spprof_get_stats(&stats);
    totals.sessions++;
    totals.law_broken += !lawful(&stats);
    *(config->mode == SPPROF_WALL ? &totals.looks : &totals.handler_runs) += stats.handler_runs;
    totals.ticks += stats.ticks;
    for (int i = 0; i < SPPROF_REASONS; i++)
        totals.by_reason[i] += stats.by_reason[i];
}

static bool hold_session(void) {
    struct spprof_config config = configure();
    oracle_session();
    if (draw() % 4 == 0)
        totals.refusals_wrong += !one_of_two(&config, -EBUSY);
    else if (spprof_start(&config) != 0) {
        fprintf(stderr, "interpreter: no session could be started: %s\n", spprof_error());
        return false;
    }
    pthread_t thread;
    atomic_store_explicit(&looking, true, memory_order_relaxed);
    if (pthread_create(&thread, NULL, look_on, NULL) != 0 || (config.mode == SPPROF_CPU && !delivery_storm_start())) {
        fprintf(stderr, "interpreter: no thread could be started: %s\n", strerror(errno));
        exit(1);
    }
    rest(2000 + draw() % 60000);
    bool stop_first = draw() % 2 == 0; /* while drains and ticks still come */
    if (!stop_first) {
        atomic_store_explicit(&looking, false, memory_order_relaxed);
        pthread_join(thread, NULL);
    }
    if (draw() % 4 == 0)
        totals.refusals_wrong += !one_of_two(NULL, -ESRCH);
    else
        totals.refusals_wrong += spprof_stop() != 0;
    count(&config);
    if (config.mode == SPPROF_CPU)
        delivery_storm_stop();
    if (stop_first) {
        atomic_store_explicit(&looking, false, memory_order_relaxed);
        pthread_join(thread, NULL);
    }
    if (config.sink == NULL)
        totals.drains += spprof_drain(oracle_judge, NULL) >= 0;
    return true;
}

static void print(void) {
    printf("{\"sessions\": %llu, \"handler_runs\": %llu, \"looks\": %llu, \"drains\": %llu, ",
           (unsigned long long)totals.sessions, (unsigned long long)totals.handler_runs,
           (unsigned long long)totals.looks, (unsigned long long)(totals.drains + meanwhile.drains));
    printf("\"calls\": %llu, \"births\": %llu, \"foreign_signals\": %llu, \"ticks\": %llu, \"reasons\": {",
           (unsigned long long)atomic_load(&workload_calls), (unsigned long long)atomic_load(&workload_births),
           (unsigned long long)delivery_foreign_signals(), (unsigned long long)totals.ticks);
    for (int i = 0; i < SPPROF_REASONS; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", spprof_reason_name(i), (unsigned long long)totals.by_reason[i]);
    printf("}, \"judged\": %llu, \"frames\": %llu, \"deepest\": %llu, \"impossible\": %llu, \"example\": \"%s\", ",
           (unsigned long long)oracle.judged, (unsigned long long)oracle.frames, (unsigned long long)oracle.deepest,
           (unsigned long long)oracle.impossible, oracle.example);
    printf("\"law_broken\": %llu, \"refusals_wrong\": %llu}\n",
           (unsigned long long)(totals.law_broken + meanwhile.law_broken), (unsigned long long)totals.refusals_wrong);
}

int main(int count_of, char **arguments) {
    uint64_t numbers[4] = {0};
    for (int i = 1; i < count_of && i <= 4; i++)
        numbers[i - 1] = strtoull(arguments[i], NULL, 10);
    if (count_of != 5 || numbers[3] == 0) {
        fputs("usage: interpreter HANDLER_RUNS LOOKS SEED THREADS\n", stderr);
        return 2;
    }
    draws = numbers[2] * 2 + 1;
    delivery_take_signal();
    interpreter_begin();
    workload_begin();
    struct entry_frame entry;
    standing = workload_stand(&entry);
    delivery_thread_begin(draw());
    int error = workload_start((unsigned)numbers[3], draws);
    if (error != 0) {
        fprintf(stderr, "interpreter: no thread could be started: %s\n", strerror(error));
        return 1;
    }
    bool well = true;
    while (well && (totals.handler_runs < numbers[0] || totals.looks < numbers[1]))
        well = hold_session();
    workload_end();
    workload_leave(standing, &entry);
    delivery_thread_end();
    print();
    bool right = oracle.impossible + totals.law_broken + meanwhile.law_broken + totals.refusals_wrong == 0;
    return well && right ? 0 : 1;
}

#include "workload.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "delivery.h"
#include "oracle.h"

#define CALLS_OF_A_LIFE 20000 /* a thread calls so often before it ends, about */
#define GENERATORS 4          /* that wait to be resumed by whichever thread comes */
#define KEEPERS_MOST 256

_Atomic uint64_t workload_calls, workload_births;

static struct code *functions[FAMILIES][LEVELS + 1]; /* level 0: the generator that runs the family */
static _Atomic(struct generator *) waiting[GENERATORS];
static _Atomic bool ending;

struct mutator {
    struct thread_state *thread;
    uint64_t random;
    uint64_t calls;
};

static uint64_t draw(struct mutator *mutator) { /* xorshift64 */
    mutator->random ^= mutator->random << 13;
    mutator->random ^= mutator->random >> 7;
    mutator->random ^= mutator->random << 17;
    return mutator->random;
}

static bool one_in(struct mutator *mutator, unsigned n) { return (draw(mutator) >> 20) % n == 0; }

void workload_begin(void) {
    for (int family = 0; family < FAMILIES; family++)
        for (int level = 0; level <= LEVELS; level++) {
            enum kind kind = level == 0 ? GENERATOR : FUNCTION;
            functions[family][level] =
                code_new(line_of(kind, family, level), (family * 7 + level * 5) % FRAME_LOCALS_MOST);
            oracle.stable[family][level] = functions[family][level];
        }
}

/* --- what a frame does --------------------------------------------------------------------------------- */

static void run_function(struct mutator *mutator, int family, int level, bool leads_on);

static void step_to(struct mutator *mutator, unsigned from, unsigned to) {
    for (unsigned i = from; i <= to; i++)
        frame_at(mutator->thread, i);
}

static void call_next_level(struct mutator *mutator, int family, int level, bool leads_on) {
    struct code *code = functions[family][level + 1];
    mutator->calls++;
    frame_at(mutator->thread, AT_CALL);
    if (one_in(mutator, 4)) {
        struct entry_frame entry;
        call_from_c(mutator->thread, code, &entry);
        run_function(mutator, family, level + 1, leads_on);
        call_return(mutator->thread);
        entry_leave(mutator->thread, &entry);
    } else {
        call(mutator->thread, code);
        run_function(mutator, family, level + 1, leads_on);
        call_return(mutator->thread);
    }
}

/* A code object for one call: its memory is soon another's. */
static void call_leaf(struct mutator *mutator, int family, int level) {
    struct code *code = code_new(line_of(LEAF, family, level), 3);
    frame_at(mutator->thread, AT_LEAF);
    call(mutator->thread, code);
    frame_resume(mutator->thread);
    step_to(mutator, 2, 5);
    call_return(mutator->thread);
    code_release(code);
}

static void call_c(struct mutator *mutator) {
    frame_at(mutator->thread, AT_C_CALL);
    thread_detach(mutator->thread);
    delivery_point();
    if (one_in(mutator, 64))
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    thread_attach(mutator->thread);
}

/* The running generator's turn, up to a yield or its end. */
static void run_generator(struct mutator *mutator, int family) {
    frame_at(mutator->thread, AT_RESUME);
    frame_resume(mutator->thread);
    call_next_level(mutator, family, 0, one_in(mutator, 2));
    frame_at(mutator->thread, AT_YIELD);
}

/* Sends to a generator that nobody runs now, whoever ran it before, or to a new one. */
static void send(struct mutator *mutator) {
    _Atomic(struct generator *) *place = &waiting[draw(mutator) % GENERATORS];
    struct generator *generator = atomic_exchange_explicit(place, NULL, memory_order_acq_rel);
    if (generator == NULL) {
        int family = THREAD_FAMILIES + (int)(draw(mutator) % GENERATOR_FAMILIES);
        generator = generator_new(mutator->thread, functions[family][0]);
    }
    int family = generator->code->first_line >> 8 & 0xfff;
    bool ends = one_in(mutator, 8), from_c = one_in(mutator, 2);
    struct entry_frame entry;
    frame_at(mutator->thread, AT_SEND);
    if (from_c)
        generator_send_from_c(mutator->thread, generator, &entry);
    else
        generator_send(mutator->thread, generator);
    run_generator(mutator, family);
    if (ends)
        generator_return(mutator->thread);
    else
        generator_yield(mutator->thread);
    if (from_c)
        entry_leave(mutator->thread, &entry);
    if (!ends)
        generator = atomic_exchange_explicit(place, generator, memory_order_acq_rel);
    if (generator != NULL)
        generator_free(generator);
}

/* The current frame's body. Where it `leads_on`, it calls the next level down to the deepest. */
static void run_function(struct mutator *mutator, int family, int level, bool leads_on) {
    frame_at(mutator->thread, AT_RESUME);
    frame_resume(mutator->thread);
    step_to(mutator, 2, 3);
    if (level < LEVELS && (leads_on || one_in(mutator, 2)))
        call_next_level(mutator, family, level, leads_on);
    if (family < THREAD_FAMILIES && one_in(mutator, 8))
        send(mutator);
    if (one_in(mutator, 4))
        call_leaf(mutator, family, level);
    if (one_in(mutator, 8))
        call_c(mutator);
    step_to(mutator, 13, 15);
}

/* --- threads ------------------------------------------------------------------------------------------------ */

static struct thread_state *stand_on_root(unsigned number, struct entry_frame *entry) {
    struct thread_state *thread = thread_state_new(number);
    struct code *root = code_new(line_of(ROOT, (int)number, 0), 2);
    call_from_c(thread, root, entry);
    code_release(root);
    frame_resume(thread);
    return thread;
}

static void leave_root(struct thread_state *thread, struct entry_frame *entry) {
    call_return(thread);
    entry_leave(thread, entry);
    thread_state_delete(thread);
}

struct keeper {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
};

static struct keeper keepers[KEEPERS_MOST];
static unsigned keepers_started;

static void *live(void *argument) {
    const struct keeper *keeper = argument;
    delivery_thread_begin(keeper->seed);
    struct entry_frame entry;
    struct mutator mutator = {.thread = stand_on_root(keeper->number, &entry), .random = keeper->seed | 1};
    while (mutator.calls < CALLS_OF_A_LIFE && !atomic_load_explicit(&ending, memory_order_relaxed))
        call_next_level(&mutator, (int)(draw(&mutator) % THREAD_FAMILIES), 0, one_in(&mutator, 3));
    leave_root(mutator.thread, &entry);
    delivery_thread_end();
    atomic_fetch_add_explicit(&workload_calls, mutator.calls, memory_order_relaxed);
    return NULL;
}

static void *keep_alive(void *argument) {
    struct keeper *keeper = argument;
    while (!atomic_load_explicit(&ending, memory_order_relaxed)) {
        pthread_t thread;
        keeper->seed = keeper->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        if (pthread_create(&thread, NULL, live, keeper) != 0)
            continue;
        atomic_fetch_add_explicit(&workload_births, 1, memory_order_relaxed);
        pthread_join(thread, NULL);
    }
    return NULL;
}

int workload_start(unsigned threads, uint64_t seed) {
    for (; keepers_started < threads && keepers_started < KEEPERS_MOST; keepers_started++) {
        struct keeper *keeper = &keepers[keepers_started];
        *keeper = (struct keeper){.number = keepers_started + 1, .seed = (seed + keepers_started) * 2654435761u + 1};
        int error = pthread_create(&keeper->thread, NULL, keep_alive, keeper);
        if (error != 0)
            return error;
    }
    return 0;
}

void workload_end(void) {
    atomic_store_explicit(&ending, true, memory_order_relaxed);
    while (keepers_started > 0)
        pthread_join(keepers[--keepers_started].thread, NULL);
    for (int i = 0; i < GENERATORS; i++) {
        struct generator *generator = atomic_exchange_explicit(&waiting[i], NULL, memory_order_acq_rel);
        if (generator != NULL)
            generator_free(generator);
    }
}

struct thread_state *workload_stand(struct entry_frame *entry) {
    struct thread_state *thread = stand_on_root(0, entry);
    frame_at(thread, AT_C_CALL);
    return thread;
}

void workload_leave(struct thread_state *thread, struct entry_frame *entry) { leave_root(thread, entry); }

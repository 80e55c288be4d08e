/* The ring and the counters of one thread: ticks, drains and snapshots in every interleaving, beside a plain queue.
 *
 * Three sides, each with a stack of its own: the producer takes ticks, the consumer pops records, the reader makes
 * snapshots of the counters. The core's sources are built with interleave.h, so that a side stops before and after each
 * of its atomic accesses; the input says who goes on. Letting the producer go on to the end of its tick while the
 * consumer stands still is what a signal does to the thread that drains.
 *
 *   byte 0  capacity      byte 1  words before the counters' wrap-around that the ring begins at
 *   then    bits 0-1 enum side, 2-7 how much: depth of the record, room of the pop, or with SPECIAL enum special
 */
#define _GNU_SOURCE /* siginfo */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "handler.h"
#include "target.h"

const char fuzz_name[] = "ring";
const size_t fuzz_largest = 130;

void interleave(const char *site, bool after);

enum side { PRODUCER, CONSUMER, READER, SPECIAL, SIDES = SPECIAL };
enum special { FINISH_TICK, FINISH_POP, AFTER_THE_SESSION, OF_A_FORMER_TENANT, OF_NO_SLOT, WITHOUT_STATE, SPECIALS };

#define SIDE_STACK (256 << 10)
#define CAPACITY_MOST 64
#define DEPTH_MOST 12
#define RECORD_MOST (5 + 2 * DEPTH_MOST)
#define LEASE 5
#define GUARD UINT64_C(0xa5a55a5adeadbeef)

static struct {
    ucontext_t context;
    bool busy; /* in the midst of what it was asked to do */
    unsigned how_much;
} sides[SIDES];
static char stacks[SIDES][SIDE_STACK] __attribute__((aligned(64)));
static ucontext_t scheduler;
static int running = -1; /* the side that has the processor; -1: the scheduler, whose own accesses do not stop */

static struct slot slot;
static uint64_t words[CAPACITY_MOST + 2]; /* with a guard on either side */
static union {
    struct record record;
    uint64_t words[RECORD_MOST];
} scratch;

/* --- the model --------------------------------------------------------------------------------------------- */

struct entry {
    uint32_t words;
    uint64_t word[RECORD_MOST];
};

static struct {
    struct entry queue[CAPACITY_MOST]; /* a circle of its own */
    uint32_t first, count;
    uint32_t used;            /* words of the ring, with a count for each record */
    uint32_t used_at_reserve; /* when the producer last asked */
    struct entry seen;        /* the oldest record when the consumer last asked; no words: there was none */
    struct entry pending;     /* what the producer is putting in */
    uint64_t begun, ended[SPPROF_REASONS], runs;
    uint64_t settled[SPPROF_REASONS]; /* ended, and counted by the core */
    uint64_t strays[SPPROF_REASONS];
} model;

static struct entry *model_entry(uint32_t number) { return &model.queue[(model.first + number) % CAPACITY_MOST]; }

/* The access that makes each step true for the other side. */
static void model_access(const char *site) {
    if (strcmp(site, "ring_reserve") == 0) {
        model.used_at_reserve = model.used;
    } else if (strcmp(site, "ring_observe") == 0) {
        model.seen = model.count > 0 ? *model_entry(0) : (struct entry){0};
    } else if (strcmp(site, "ring_publish") == 0) {
        FUZZ_LAW(model.count < CAPACITY_MOST);
        *model_entry(model.count++) = model.pending;
        model.used += model.pending.words + 1;
    } else if (strcmp(site, "ring_release") == 0) {
        FUZZ_LAW(model.count > 0);
        model.used -= model_entry(0)->words + 1;
        model.first++;
        model.count--;
    }
}

void interleave(const char *site, bool after) {
    if (running < 0)
        return;
    if (after)
        model_access(site);
    int self = running;
    running = -1;
    swapcontext(&sides[self].context, &scheduler);
    running = self;
}

/* --- the sides --------------------------------------------------------------------------------------------- */

static uint32_t sequence; /* makes every record another */

static uint64_t content(uint32_t number, uint32_t word) {
    return (uint64_t)(number + 1) * UINT64_C(0x9e3779b97f4a7c15) + word;
}

/* The walk whose stack is recorded. */
static struct walk make_stack(uint32_t depth) {
    uint32_t number = ++sequence;
    memset(&scratch, 0, sizeof scratch);
    for (uint32_t i = 0; i < depth; i++)
        slot.scratch->frames[i] =
            (struct walk_frame){.code = content(number, i), .instruction = number, .first_line = (int32_t)(number ^ i)};
    return (struct walk){.depth = depth, .flags = number & 3};
}

/* The words that a record of it must have; the first is the time, which no model can know. */
static void expect_record(const struct walk *walk, uint64_t generation, uint32_t weight) {
    struct entry *entry = &model.pending;
    entry->words = 5 + 2 * walk->depth;
    entry->word[0] = 0;
    entry->word[1] = slot.thread;
    entry->word[2] = generation;
    entry->word[3] = (uint64_t)weight << 32 | (uint32_t)slot.tid;
    entry->word[4] = (uint64_t)walk->depth << 32 | walk->flags;
    for (uint32_t i = 0; i < walk->depth; i++) {
        const struct walk_frame *frame = &slot.scratch->frames[i];
        entry->word[5 + 2 * i] = frame->code;
        entry->word[6 + 2 * i] = (uint64_t)(uint32_t)frame->first_line << 32 | frame->instruction;
    }
}

static void take_tick(uint32_t depth) {
    struct walk walk = make_stack(depth);
    uint32_t weight = 1 + sequence % 3;
    expect_record(&walk, sequence, weight);
    model.begun += weight;
    model.runs++;
    counters_begin(&slot.counters, weight);
    enum spprof_reason outcome = handler_record(&slot, &walk, sequence, weight);
    bool fits = slot.ring.capacity - model.used_at_reserve >= model.pending.words + 1;
    if (outcome != (fits ? SPPROF_CAPTURED : SPPROF_RING_FULL))
        fuzz_fail("a record of %u words into a ring of %lu with %u used: %s", model.pending.words, slot.ring.capacity,
                  model.used_at_reserve, spprof_reason_name(outcome));
    model.ended[outcome] += weight;
    counters_end(&slot.counters, weight, outcome);
    model.settled[outcome] += weight;
    fuzz_reach(outcome);
}

static void pop(uint32_t room) {
    uint64_t got[RECORD_MOST + 1];
    for (uint32_t i = 0; i <= RECORD_MOST; i++)
        got[i] = GUARD;
    uint32_t count = ring_pop(&slot.ring, got, room);
    const struct entry *expected = &model.seen;
    uint32_t copied = expected->words < room ? expected->words : room;
    if (count != copied)
        fuzz_fail("a pop of a record of %u words into room for %u gave %u", expected->words, room, count);
    for (uint32_t i = 1; i < copied; i++)
        if (got[i] != expected->word[i])
            fuzz_fail("word %u of a record of %u is %#lx, and %#lx was put in", i, expected->words, got[i],
                      expected->word[i]);
    for (uint32_t i = copied; i <= RECORD_MOST; i++)
        FUZZ_LAW(got[i] == GUARD);
}

static void make_snapshot(void) {
    struct spprof_stats stats = {0};
    uint64_t least[SPPROF_REASONS], sum = 0, begun = model.begun, ended = 0;
    memcpy(least, model.settled, sizeof least);
    for (int i = 0; i < SPPROF_REASONS; i++)
        ended += model.settled[i];
    counters_snapshot(&slot.counters, &stats);
    for (int i = 0; i < SPPROF_REASONS; i++) {
        sum += stats.by_reason[i];
        FUZZ_LAW(stats.by_reason[i] >= least[i] && stats.by_reason[i] <= model.ended[i]);
    }
    FUZZ_LAW(stats.ticks == sum && stats.ticks + stats.ticks_in_progress <= model.begun);
    FUZZ_LAW(stats.ticks_in_progress == 0 || begun != ended || model.begun != begun); /* of a tick that there was */
    FUZZ_LAW(stats.handler_runs <= model.runs);
}

static void work(int self) {
    for (;;) {
        if (self == PRODUCER)
            take_tick(sides[self].how_much % (DEPTH_MOST + 1));
        else if (self == CONSUMER)
            pop(sides[self].how_much % 4 == 0 ? sides[self].how_much % RECORD_MOST : RECORD_MOST);
        else
            make_snapshot();
        sides[self].busy = false;
        running = -1;
        swapcontext(&sides[self].context, &scheduler);
        running = self;
    }
}

static void go_on(int self, unsigned how_much) {
    if (!sides[self].busy) {
        sides[self].busy = true;
        sides[self].how_much = how_much;
    }
    running = self;
    swapcontext(&scheduler, &sides[self].context);
    running = -1;
}

static void finish(int self) {
    while (sides[self].busy)
        go_on(self, 0);
}

/* --- signals for which no tick is taken -------------------------------------------------------------------- */

static void deliver(uint64_t value) {
    ucontext_t interrupted;
    getcontext(&interrupted);
    siginfo_t info = {.si_signo = SIGPROF, .si_code = SI_TIMER};
    info.si_value.sival_ptr = (void *)(uintptr_t)value; // NOLINT: the timer's value
    handler_on_profile_signal(SIGPROF, &info, &interrupted);
    FUZZ_LAW(slot.inside == 0);
}

static void stray(uint64_t value, enum spprof_reason reason) {
    struct spprof_stats stats = {0};
    deliver(value);
    model.strays[reason]++;
    counters_stray_snapshot(&sampler.strays, &stats);
    for (int i = 0; i < SPPROF_REASONS; i++)
        FUZZ_LAW(stats.by_reason[i] == model.strays[i]);
    fuzz_reach(reason);
}

static void do_special(unsigned number) {
    switch ((enum special)(number % SPECIALS)) {
    case FINISH_TICK:
        finish(PRODUCER);
        break;
    case FINISH_POP:
        finish(CONSUMER);
        break;
    case AFTER_THE_SESSION:
        sampler.active = false;
        stray(tick_value(0, LEASE), SPPROF_BUSY);
        sampler.active = true;
        break;
    case OF_A_FORMER_TENANT:
        stray(tick_value(0, LEASE - 1), SPPROF_NO_THREAD_STATE);
        break;
    case OF_NO_SLOT:
        stray(tick_value(1 + number, LEASE), SPPROF_NO_THREAD_STATE);
        break;
    default: /* the slot's one producer takes it, so no other tick is under way */
        finish(PRODUCER);
        model.begun++;
        model.runs++;
        deliver(tick_value(0, LEASE));
        model.ended[SPPROF_NO_THREAD_STATE]++;
        model.settled[SPPROF_NO_THREAD_STATE]++;
        fuzz_reach(SPPROF_NO_THREAD_STATE);
        break;
    }
}

/* --- the whole --------------------------------------------------------------------------------------------- */

void fuzz_set_up(void) {
    tick_cookie = 0x5eed;
    slot.thread = 3;
    slot.tid = 4711;
    slot.lease = LEASE;
    slot.scratch = &scratch.record;
    sampler.active = true;
    sampler.max_depth = DEPTH_MOST;
    sampler.slots[0] = &slot;
}

static void begin(uint8_t capacity, uint8_t before_wrap) {
    memset(&model, 0, sizeof model);
    memset(&slot.counters, 0, sizeof slot.counters);
    memset(&sampler.strays, 0, sizeof sampler.strays);
    memset(words, 0, sizeof words);
    uint64_t size = 8u << capacity % 4;
    words[0] = words[size + 1] = GUARD;
    ring_init(&slot.ring, words + 1, size);
    slot.ring.head = slot.ring.tail = -(uint64_t)before_wrap;
    sequence = 0;
    for (int i = 0; i < SIDES; i++) {
        sides[i].busy = false;
        getcontext(&sides[i].context);
        sides[i].context.uc_stack = (stack_t){.ss_sp = stacks[i], .ss_size = SIDE_STACK};
        makecontext(&sides[i].context, (void (*)(void))work, 1, i); // NOLINT: as makecontext wants it
    }
}

/* Lets everyone come to an end, and looks at what is left. */
static void end(void) {
    struct spprof_stats stats = {0};
    finish(PRODUCER);
    finish(CONSUMER);
    finish(READER);
    while (model.count > 0) {
        go_on(CONSUMER, 1);
        finish(CONSUMER);
    }
    FUZZ_LAW(ring_is_empty(&slot.ring) && model.used == 0);
    counters_snapshot(&slot.counters, &stats);
    FUZZ_LAW(stats.ticks == model.begun && stats.ticks_in_progress == 0 && stats.handler_runs == model.runs);
    for (int i = 0; i < SPPROF_REASONS; i++)
        FUZZ_LAW(stats.by_reason[i] == model.ended[i]);
    FUZZ_LAW(words[0] == GUARD && words[slot.ring.capacity + 1] == GUARD);
}

void fuzz_one(const uint8_t *bytes, size_t count) {
    begin(count > 0 ? bytes[0] : 0, count > 1 ? bytes[1] : 0);
    for (size_t i = 2; i < count; i++) {
        unsigned who = bytes[i] & 3, how_much = bytes[i] >> 2;
        if (who == SPECIAL)
            do_special(how_much);
        else
            go_on((int)who, how_much);
    }
    end();
}

/* The walk, over memory that answers every read with any value or with a fault, and another one the next time: that
 * covers every torn, stale, freed or hostile chain on any memory model. Of any layout that layout_read accepts.
 *
 * Proved of every walk: it ends (unwinding assertions), it touches memory only through the reader (CBMC refutes any other
 * access to an address that it made up), each such address is a user's and in reach of a checked base, it writes only
 * into its output, and it gives one verdict of those that it may give.
 *
 * WHOLE: besides, that a stack which is called whole is the whole chain. There the words that say what the chain is
 * (owner, link, executable and first line of the frame that is being visited) keep their value during the visit, so that
 * "the chain" means something; everything else may still be anything.
 *
 * CONFIRM: the same of the second look, at whatever a first one may have left, in addresses that it has checked. */
#include "layout_sound.h"
#include "load.h"
#include "proof.h"
#include "walk.c"

#ifndef DEPTH
#define DEPTH 1
#endif
#ifndef LOOKS
#define LOOKS 2
#endif

struct layout nondet_layout(void);
struct look nondet_look(void);
struct walk_frame nondet_frame(void);
static struct layout layout;
static struct walk_frame frames[DEPTH];
static struct look looks[LOOKS];

/* The chain, as the reader has shown it. */
static struct {
    uint64_t frame;      /* the one that is being visited */
    uint64_t link;       /* the next that must be visited */
    uint64_t executable; /* of the one that is being visited */
    uint64_t code[8];    /* what the Python frames ran */
    uint32_t visited, python;
    bool entry; /* the last one was the interpreter's own */
} chain = {.entry = true};
static uint64_t current_frame, base_frame;

static uint64_t any_word(unsigned size) {
    uint64_t value = nondet_uint64();
    assume(size == 8 || value < UINT64_C(1) << 8 * size);
    return value;
}

#ifdef WHOLE
static uint64_t root(void) { return layout.thread.base_frame == 0 ? 0 : base_frame; }

/* The owner is the only byte that is read: reading it begins a visit. */
static void visit(uintptr_t address, uint64_t owner) {
    prove(address == chain.link + layout.frame.owner, "each frame that is visited is the next of the chain");
    prove(chain.link != root(), "nothing is visited past the root");
    chain.frame = chain.link;
    chain.visited++;
    chain.entry = owner == OWNED_BY_INTERPRETER || owner == OWNED_BY_CSTACK;
    chain.link = nondet_uint64();
    chain.executable = nondet_uint64();
    if (!chain.entry && chain.python < 8)
        chain.code[chain.python++] = chain.executable & ~layout.executable_tag_mask;
}

static uint64_t known_word(uintptr_t address, unsigned size, uint64_t value, uintptr_t state) {
    if (size == 8 && chain.visited == 0 && address == state + layout.thread.base_frame && layout.thread.base_frame != 0)
        return base_frame;
    if (size == 8 && chain.visited == 0 && address == state + layout.thread.current_frame)
        return current_frame;
    if (size == 1)
        visit(address, value);
    else if (size == 4 && chain.visited > 0 &&
             address == (chain.executable & ~layout.executable_tag_mask) + layout.code.first_line)
        assume(value != 0); /* no trampoline, which is hidden on purpose */
    else if (size == 8 && chain.visited > 0 && address == chain.frame + layout.frame.previous)
        return chain.link;
    else if (size == 8 && chain.visited > 0 && address == chain.frame + layout.frame.executable)
        return chain.executable;
    return value;
}
#endif

static bool any_memory(void *context, uintptr_t address, unsigned size, uint64_t *value) {
    const struct walk *walk = context;
    prove(size == 1 || size == 4 || size == 8, "a read is of a byte, an int or a word");
    prove(address >= ADDRESS_LOW && address < ADDRESS_HIGH + (UINT64_C(1) << 36), "a read is of a user's address");
    if (nondet_bool())
        return false;
    *value = any_word(size);
#ifdef WHOLE
    *value = known_word(address, size, *value, walk->thread_state);
#else
    (void)walk;
#endif
    return true;
}

static struct walk any_walk(void) {
    struct walk walk;
    walk.layout = &layout;
    walk.code_type = nondet_uint64();
    walk.thread_state = nondet_uint64();
    walk.tid = nondet_uint64();
    walk.stack_low = nondet_uint64();
    walk.stack_high = nondet_uint64();
    walk.entry_instr_ptr = nondet_uint64();
    assume(walk.stack_high <= ADDRESS_HIGH);
    walk.frames = frames;
    walk.max_depth = nondet_uint32();
    assume(walk.max_depth <= DEPTH);
    walk.looks_room = nondet_bool() ? LOOKS : 0;
    walk.looks = walk.looks_room != 0 ? looks : (struct look *)0;
    return walk;
}

#ifdef CONFIRM
static bool is_users(uint64_t address, uint64_t size) {
    return address >= ADDRESS_LOW && address <= ADDRESS_HIGH - size;
}

/* What a first look leaves: addresses that it has checked, and else anything. */
static void leave_any_looks(struct walk *walk) {
    assume(walk->looks_room != 0);
    walk->looks_count = nondet_uint32();
    walk->depth = nondet_uint32();
    walk->flags = nondet_uint32();
    walk->top_hidden = nondet_bool();
    assume(walk->looks_count < walk->looks_room && walk->depth <= walk->max_depth);
    assume(is_users(walk->thread_state, layout.thread.size));
    for (uint32_t i = 0; i < LOOKS; i++) {
        looks[i] = nondet_look();
        assume(i >= walk->looks_count || is_users(looks[i].frame, layout.frame.size));
    }
    if (walk->depth > 0 && !walk->top_hidden)
        assume(is_users(looks[0].executable & ~layout.executable_tag_mask, layout.code.size));
    for (int i = 0; i < DEPTH; i++)
        frames[i] = nondet_frame();
}

static void look_again(struct walk *walk) {
    leave_any_looks(walk);
    enum spprof_reason again = walk_confirm(walk);
    prove(again < SPPROF_REASONS && again != SPPROF_RING_FULL && again != SPPROF_BUSY, "one verdict");
    reached(again == SPPROF_CAPTURED && walk->looks_count > 0 && walk->depth > 0);
    reached(again == SPPROF_TORN);
    reached(again == SPPROF_FAULT);
}
#else
static void prove_verdict(enum spprof_reason reason) {
    prove(reason < SPPROF_REASONS && reason != SPPROF_TORN && reason != SPPROF_RING_FULL && reason != SPPROF_BUSY,
          "one verdict, of those that a walk can give");
}

static void look_once(struct walk *walk) {
    const struct walk before = *walk;
#ifdef WHOLE
    /* Or one word would say two things of the chain. */
    assume(layout.frame.previous != layout.frame.executable);
    assume(layout.thread.current_frame != layout.thread.base_frame);
    current_frame = chain.link = nondet_uint64();
    base_frame = nondet_uint64();
#endif
    enum spprof_reason reason = walk_thread(walk);
    prove_verdict(reason);
    prove(walk->depth <= walk->max_depth && walk->looks_count <= walk->looks_room, "the output has room");
    prove(walk->thread_state == before.thread_state && walk->frames == before.frames && walk->looks == before.looks &&
              walk->max_depth == before.max_depth && walk->looks_room == before.looks_room && walk->tid == before.tid,
          "what the caller set stays");
    bool truncated = walk->flags & SPPROF_SAMPLE_TRUNCATED;
#ifdef WHOLE
    if (reason == SPPROF_CAPTURED && !truncated) {
        prove(chain.link == root() && chain.entry,
              "a whole stack ends at the thread's root, at the interpreter's own frame");
        prove(walk->depth == chain.python, "a whole stack has every Python frame");
    }
    uint32_t any = nondet_uint32();
    if (reason == SPPROF_CAPTURED && any < walk->depth)
        prove(frames[any].code == chain.code[any], "each frame shows the code of the frame in its place");
    reached(reason == SPPROF_CAPTURED && !truncated && walk->depth == 1);
    reached(reason == SPPROF_CAPTURED && !truncated && chain.visited == 0);
#else
    reached(reason == SPPROF_CYCLE);
    reached(reason == SPPROF_PROGRESS);
    reached(reason == SPPROF_FAULT);
    reached(reason == SPPROF_CODE_RANGE);
#endif
    reached(reason == SPPROF_CAPTURED && truncated);
    reached(reason == SPPROF_INCOMPLETE);
}
#endif

int main(void) {
    layout = nondet_layout();
    assume(layout_is_sound(&layout));
#ifdef VERSION
    assume(layout.version == VERSION);
#endif
    struct walk walk = any_walk();
    walk.reader.through = any_memory;
    walk.reader.context = &walk;
#ifdef CONFIRM
    look_again(&walk);
#else
    look_once(&walk);
#endif
}

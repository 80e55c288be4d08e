/* The walk of one thread's chain, once, twice or as an observer does it, beside an oracle that shares no code with it.
 *
 * Every input is walked through a reader that sees each read. It makes the read itself by a guarded load, so that a page
 * that is not there faults for real, requires of it what the image says is there, notes it, and then does the writes
 * that are due. An image to which nothing is written during the walk is walked once more as the handler does it, by
 * guarded loads alone, and must give the same.
 *
 * The oracle of an image that changes is answered from those notes: its n-th read of an address gets what the core's
 * n-th read of that address got. So the two see one history, although each asks in an order of its own. A stack that
 * the core shows must not rest on less than what the oracle wants to know: a read that the core did not make fails. Where the
 * core refuses, such a read is answered from the memory as it was left. */
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "handler.h"
#include "image.h"
#include "observe.h"
#include "oracle.h"
#include "signals.h"
#include "target.h"
#include "walk.h"

const char fuzz_name[] = "walk";
const size_t fuzz_largest = IMAGE_LARGEST;

static struct layout layouts[INTERPRETERS];
static struct image image;
static struct walk_frame frames[ORACLE_DEPTH];
static struct look looks[ORACLE_DEPTH];

/* --- what the core reads ----------------------------------------------------------------------------------- */

/* No walk of an image of this size reads so often, in all its attempts: one that does will not end. */
#define READS_MOST (1u << 21)

struct noted {
    uint64_t address, value;
    uint32_t size;
    bool there;
    uint32_t next; /* read of the same address, + 1; 0: none */
};

static struct noted notes[READS_MOST];
/* Past so many reads they are answered from the image alone: an observer tries a broken chain 64 times over, and a
 * fault takes longer than the rest of a walk. */
#define GUARDED_MOST 128
static uint32_t reads; /* so far, and the number of the last: they count from 1 */
static uint32_t due;   /* the next event */
static bool strayed;   /* a read left what is reserved for the image */

/* The notes by address: the first that the oracle has not been answered from yet. */
#define BUCKETS (1u << 15)
static struct {
    uint64_t address;
    uint32_t of, first, last; /* `of`: the input that this belongs to */
} buckets[BUCKETS];
static uint32_t input_number;

static uint32_t bucket_of(uint64_t address) {
    uint32_t at = address / 8 % BUCKETS; /* neighbours are read together */
    while (buckets[at].of == input_number && buckets[at].address != address)
        at = (at + 1) % BUCKETS;
    return at;
}

static void note_read(uintptr_t address, unsigned size, bool there, uint64_t value) {
    uint32_t at = bucket_of(address);
    if (buckets[at].of != input_number) {
        buckets[at].of = input_number;
        buckets[at].address = address;
        buckets[at].first = buckets[at].last = 0;
    }
    notes[reads] = (struct noted){.address = address, .value = value, .size = size, .there = there};
    if (++reads == READS_MOST)
        fuzz_fail("the walk does not end: it has made %u reads", reads);
    if (buckets[at].first == 0)
        buckets[at].first = reads;
    else
        notes[buckets[at].last - 1].next = reads;
    buckets[at].last = reads;
}

static bool is_reserved(uint64_t address) { return address >= ARENA - PAGE && address < ARENA + ARENA_RESERVED - 8; }

static void do_event(const struct event *event) {
    if (event->width == 0)
        spprof_code_died(NULL);
    else
        image_write(event->address, event->width, event->value);
}

static bool load(uintptr_t address, unsigned size, uint64_t *value) {
    static const struct reader directly;
    if (size == 8)
        return load_word(&directly, address, value);
    return size == 4 ? load_int(&directly, address, value) : load_byte(&directly, address, value);
}

static bool read_noting(void *context, uintptr_t address, unsigned size, uint64_t *value) {
    (void)context;
    uint64_t known = 0;
    bool there = image_read(address, size, &known);
    strayed |= !is_reserved(address);
    if (is_reserved(address) && reads < GUARDED_MOST) {
        uint64_t loaded = 0;
        bool could = load(address, size, &loaded);
        if (could != there || (there && loaded != known))
            fuzz_fail("a guarded load of %u bytes at %#lx gave %d %#lx instead of %d %#lx", size, address, could,
                      loaded, there, known);
    }
    note_read(address, size, there, known);
    while (due < image.event_count && image.events[due].after <= reads)
        do_event(&image.events[due++]);
    *value = known;
    return there;
}

/* --- what the oracle reads --------------------------------------------------------------------------------- */

struct history {
    bool captured;      /* the core showed a stack */
    uint32_t last_read; /* of the core's, that the oracle has been answered from */
    uint32_t deaths;    /* of code objects, by then */
};

static bool read_history(void *context, uint64_t address, unsigned size, uint64_t *value) {
    struct history *history = context;
    uint32_t at = bucket_of(address);
    uint32_t number = buckets[at].of == input_number ? buckets[at].first : 0;
    if (number == 0) {
        if (history->captured)
            fuzz_fail("the core shows a stack and has not read the %u bytes at %#lx", size, address);
        return image_read(address, size, value);
    }
    const struct noted *noted = &notes[number - 1];
    buckets[at].first = noted->next;
    if (noted->size != size)
        fuzz_fail("the core reads %u bytes at %#lx, which has %u", noted->size, address, size);
    if (number > history->last_read)
        history->last_read = number;
    *value = noted->value;
    return noted->there;
}

static bool died_in_history(void *context) {
    struct history *history = context;
    uint32_t deaths = 0;
    for (uint32_t i = 0; i < image.event_count && image.events[i].after <= history->last_read; i++)
        deaths += image.events[i].width == 0;
    bool died = deaths != history->deaths;
    history->deaths = deaths;
    return died;
}

/* --- the two of them --------------------------------------------------------------------------------------- */

struct verdict {
    enum spprof_reason reason;
    uint32_t depth, flags;
    uint64_t met[SPPROF_REASONS];
};

static struct verdict walk_image(struct reader reader) {
    struct observer observer = {.looks = looks, .room = image.looks_room};
    struct walk walk = {
        .layout = &layouts[image.interpreter - interpreters],
        .reader = reader,
        .code_type = image.code_type,
        .thread_state = image.no_state ? 0 : image.state,
        .tid = IMAGE_TID,
        .stack_low = image.no_stack ? 0 : STACK,
        .stack_high = image.no_stack ? 0 : STACK_END,
        .frames = frames,
        .max_depth = image.max_depth,
        .entry_instr_ptr = image.entry_known ? ENTRY_INSTRUCTION : 0,
        .looks = image.look == LOOK_ONCE ? NULL : looks,
        .looks_room = image.look == LOOK_ONCE ? 0 : image.looks_room,
        .depth = 77, /* what a former walk left behind must not count */
        .flags = 0xffff,
    };
    memset(frames, 0xa5, sizeof frames);
    struct verdict verdict = {0};
    if (image.look == LOOK_OBSERVE) {
        verdict.reason = observe_thread(&observer, &walk);
        memcpy(verdict.met, observer.met, sizeof verdict.met);
    } else {
        verdict.reason = walk_thread(&walk);
        if (verdict.reason == SPPROF_CAPTURED && image.look == LOOK_TWICE)
            verdict.reason = walk_confirm(&walk);
    }
    verdict.depth = walk.depth;
    verdict.flags = walk.flags;
    return verdict;
}

static void ask_oracle(const struct verdict *verdict, struct oracle_answer *answer) {
    struct history history = {.captured = verdict->reason == SPPROF_CAPTURED};
    struct oracle_question question = {
        .interpreter = image.interpreter,
        .state = image.no_state ? 0 : image.state,
        .code_type = image.code_type,
        .tid = IMAGE_TID,
        .stack_low = image.no_stack ? 0 : STACK,
        .stack_high = image.no_stack ? 0 : STACK_END,
        .entry_instruction = image.entry_known ? ENTRY_INSTRUCTION : 0,
        .max_depth = image.max_depth,
        .looks_room = image.looks_room,
        .again = image.look == LOOK_ONCE    ? 0
                 : image.look == LOOK_TWICE ? 1
                                            : 2,
        .attempts = image.look == LOOK_OBSERVE ? 64 : 1,
        .read = read_history,
        .died = image.look == LOOK_OBSERVE ? died_in_history : NULL,
        .context = &history,
    };
    oracle_answer(&question, answer);
}

static void compare(const char *way, const struct verdict *core, const struct oracle_answer *oracle) {
    if (core->reason != oracle->reason)
        fuzz_fail("%s: the core says %s, the oracle %s", way, spprof_reason_name(core->reason),
                  spprof_reason_name(oracle->reason));
    if (image.look == LOOK_OBSERVE)
        for (int i = 0; i < SPPROF_REASONS; i++)
            if (core->met[i] != oracle->met[i])
                fuzz_fail("%s: the core met %s %lu times, the oracle %u", way, spprof_reason_name(i), core->met[i],
                          oracle->met[i]);
    if (core->reason != SPPROF_CAPTURED)
        return;
    if (core->depth != oracle->depth || core->flags != oracle->flags)
        fuzz_fail("%s: the core shows %u frames with flags %u, the oracle %u with %u", way, core->depth, core->flags,
                  oracle->depth, oracle->flags);
    for (uint32_t i = 0; i < core->depth; i++) {
        const struct walk_frame *ours = &frames[i];
        const struct oracle_frame *theirs = &oracle->frames[i];
        if (ours->code != theirs->code || ours->instruction != theirs->instruction ||
            ours->first_line != theirs->first_line)
            fuzz_fail("%s: frame %u is %#lx at %u, line %d; for the oracle %#lx at %u, line %d", way, i, ours->code,
                      ours->instruction, ours->first_line, theirs->code, theirs->instruction, theirs->first_line);
    }
}

void fuzz_set_up(void) {
    image_map();
    signals_take(SIGSEGV, handler_on_fault);
    signals_take(SIGBUS, handler_on_fault);
    for (int i = 0; i < INTERPRETERS; i++) {
        uint64_t table[TABLE_WORDS];
        char problem[200];
        fields_table(&interpreters[i], table);
        if (!layout_read(&layouts[i], table, sizeof table, problem, sizeof problem))
            fuzz_fail("the table of %s is refused: %s", interpreters[i].name, problem);
    }
}

void fuzz_one(const uint8_t *bytes, size_t count) {
    static struct oracle_answer oracle;
    image_build(&image, bytes, count);
    input_number++;
    reads = due = 0;
    strayed = false;
    struct verdict core = walk_image((struct reader){.through = read_noting});
    ask_oracle(&core, &oracle);
    compare("through a reader", &core, &oracle);
    if (image.event_count == 0 && !strayed && reads < GUARDED_MOST) {
        core = walk_image((struct reader){0});
        compare("by guarded loads", &core, &oracle);
    }
    fuzz_reach(core.reason);
}

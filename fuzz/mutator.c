/* AFL++'s custom mutator for the walk target: changes images as whole things, not as bytes.
 *
 * It knows the records of image.h. What it does is one of the named corruptions below, each of which is one way in which
 * a stack goes wrong, or a change of what is built. AFL++'s own mutations of bytes go on beside it.
 *
 * All chance comes from the seed that AFL++ gives. The three functions at the end with names of our own are for the test
 * that applies each corruption by its name. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

#define LARGEST_ADDRESS (UINT64_C(1) << 47)

struct mutator {
    uint64_t state; /* of the random numbers */
    uint8_t bytes[IMAGE_LARGEST];
    size_t count;
};

static uint64_t draw(struct mutator *m) { /* splitmix64 */
    uint64_t z = m->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t below(struct mutator *m, uint32_t limit) { return (uint32_t)(draw(m) % limit); }

/* --- records ------------------------------------------------------------------------------------------------ */

static size_t record_count(const struct mutator *m) { return (m->count - HEADER_BYTES) / RECORD_BYTES; }

static uint8_t *record_at(struct mutator *m, size_t number) { return m->bytes + HEADER_BYTES + number * RECORD_BYTES; }

struct record {
    enum record_kind kind;
    uint8_t p;
    uint16_t a;
    uint32_t b;
    uint64_t v;
};

static void insert(struct mutator *m, size_t number, struct record record) {
    if (m->count + RECORD_BYTES > sizeof m->bytes)
        return;
    uint8_t *at = record_at(m, number);
    memmove(at + RECORD_BYTES, at, m->count - (size_t)(at - m->bytes));
    at[0] = (uint8_t)record.kind;
    at[1] = record.p;
    memcpy(at + 2, &record.a, 2);
    memcpy(at + 4, &record.b, 4);
    memcpy(at + 8, &record.v, 8);
    m->count += RECORD_BYTES;
}

static void append(struct mutator *m, struct record record) { insert(m, record_count(m), record); }

/* A word of an object: the `which`-th newest of its kind, and the number of the field in image.c's list of them. */
struct word {
    enum place place;
    uint32_t which, field;
};

enum { CURRENT_FRAME, NATIVE_ID, DATASTACK, STATUS, BASE_FRAME };
enum { PREVIOUS, EXECUTABLE, INSTR_PTR, OWNER, TLBC_INDEX };
enum { TYPE, UNITS, FIRST_LINE, FILENAME, QUALNAME, TLBC };
enum { CHUNK_LINK, CHUNK_LENGTH };

static struct word frame_word(uint32_t which, uint32_t field) { return (struct word){AT_FRAME, which, field}; }
static struct word code_word(uint32_t which, uint32_t field) { return (struct word){AT_CODE, which, field}; }
static struct word thread_word(uint32_t field) { return (struct word){AT_THREAD, 0, field}; }

/* A moment of the walk, or before it. */
static uint32_t moment(struct mutator *m) { return below(m, 3) == 0 ? 1 + below(m, 80) : 0; }

static void put(struct mutator *m, struct word word, enum origin origin, uint64_t value, uint32_t after) {
    append(m, (struct record){.kind = R_WRITE,
                              .p = (uint8_t)(word.place | origin << 3),
                              .a = (uint16_t)(word.which | word.field << 8),
                              .b = after,
                              .v = value});
}

/* The value that means `distance` past the `which`-th newest object. */
static uint64_t beside(uint32_t which, int32_t distance) { return (uint64_t)which << 32 | (uint32_t)distance; }

static uint32_t a_frame(struct mutator *m) { return below(m, 2) ? below(m, 3) : below(m, 12); }

/* --- corruptions -------------------------------------------------------------------------------------------- */

static void resume_times(struct mutator *m, uint32_t times) {
    append(m, (struct record){.kind = R_RESUME, .p = (uint8_t)below(m, 4), .b = (times - 1) << 8});
}

/* A circle of generators' frames, of any length up to 32. */
static void circle(struct mutator *m) {
    uint32_t length = 1 + below(m, 32);
    resume_times(m, length);
    put(m, frame_word(length - 1, PREVIOUS), OF_FRAME, beside(0, 0), 0);
}

static void circle_of_chunks(struct mutator *m) {
    uint32_t length = 1 + below(m, 3);
    for (uint32_t i = 0; i < length; i++)
        append(m, (struct record){.kind = R_CHUNK});
    put(m, (struct word){AT_CHUNK, length - 1, CHUNK_LINK}, OF_CHUNK, beside(0, 0), 0);
}

static void self_loop(struct mutator *m) {
    uint32_t which = a_frame(m);
    put(m, frame_word(which, PREVIOUS), OF_FRAME, beside(which, 0), moment(m));
}

/* Back to a frame of the interpreter's that was passed. */
static void shim_loop(struct mutator *m) {
    append(m, (struct record){.kind = R_ENTER});
    append(m, (struct record){.kind = R_CALL});
    put(m, frame_word(1, PREVIOUS), OF_FRAME, beside(below(m, 2), 0), moment(m));
}

static void dangle(struct mutator *m) {
    static const uint32_t fields[] = {PREVIOUS, EXECUTABLE};
    enum origin hole = below(m, 2) ? OF_PROTECTED : OF_ABSENT;
    put(m, frame_word(a_frame(m), fields[below(m, 2)]), hole, (uint64_t)-(int64_t)(8 * below(m, 40)) & 0xffffffff,
        moment(m));
}

/* A code object whose end lies on a page that is not there: the type is right, the rest faults. */
static void dangle_past_the_type(struct mutator *m) {
    uint32_t distance = 8 * (1 + below(m, 32));
    uint64_t word = (PROTECTED - ARENA - distance) / 8;
    append(m, (struct record){.kind = R_WRITE, .p = AT_ARENA | OF_NOTHING << 3, .a = (uint16_t)(word + 1), .v = HEAP});
    append(m, (struct record){.kind = R_WRITE, .p = AT_ARENA | OF_NOTHING << 3, .a = (uint16_t)(word + 3), .v = HEAP});
    put(m, frame_word(a_frame(m), EXECUTABLE), OF_PROTECTED, -(uint64_t)distance & 0xffffffff, 0);
}

static void misalign(struct mutator *m) {
    uint32_t frame = a_frame(m);
    switch (below(m, 3)) {
    case 0:
        put(m, frame_word(frame, PREVIOUS), OF_OLD, 1 + below(m, 7), moment(m));
        break;
    case 1:
        put(m, frame_word(frame, EXECUTABLE), OF_OLD, 4, moment(m));
        break;
    default:
        put(m, thread_word(below(m, 2) ? CURRENT_FRAME : DATASTACK), OF_OLD, 1 + below(m, 7), moment(m));
        break;
    }
}

static uint64_t impossible_address(struct mutator *m) {
    switch (below(m, 5)) {
    case 0:
        return UINT64_C(0xffff800000000000) + 8 * (uint64_t)below(m, 1 << 20); /* the kernel's */
    case 1:
        return LARGEST_ADDRESS + 8 * (uint64_t)below(m, 64); /* not canonical */
    case 2:
        return LARGEST_ADDRESS - 8 * (uint64_t)below(m, 64); /* the object reaches past the end */
    case 3:
        return 8 * (uint64_t)below(m, 0x2000); /* below what can be mapped */
    default:
        return -(uint64_t)(8 * below(m, 64)); /* and the end wraps around */
    }
}

static void kernel_address(struct mutator *m) {
    static const uint32_t fields[] = {PREVIOUS, EXECUTABLE};
    put(m, frame_word(a_frame(m), fields[below(m, 2)]), OF_NOTHING, impossible_address(m), moment(m));
}

static void impossible_array(struct mutator *m) {
    put(m, code_word(below(m, 3), TLBC), OF_NOTHING, impossible_address(m), moment(m));
}

static void tag_bits(struct mutator *m) {
    put(m, frame_word(a_frame(m), EXECUTABLE), OF_OLD, 1 + below(m, 3), moment(m));
}

static void wrong_type(struct mutator *m) { put(m, code_word(below(m, 3), TYPE), OF_OLD, 16, moment(m)); }

/* An executable that is another object. */
static void wrong_object(struct mutator *m) {
    put(m, frame_word(a_frame(m), EXECUTABLE), OF_FRAME, beside(a_frame(m), 0), moment(m));
}

static void wrong_owner(struct mutator *m) {
    static const uint8_t owners[] = {2, 5, 255, 0, 1, 3, 4};
    put(m, frame_word(a_frame(m), OWNER), OF_NOTHING, owners[below(m, sizeof owners)], moment(m));
}

static void entry_frame_elsewhere(struct mutator *m) {
    m->bytes[2] |= ENTRY_KNOWN;
    append(m, (struct record){.kind = R_ENTER, .p = (uint8_t)below(m, 2)});
    put(m, frame_word(0, INSTR_PTR), OF_OLD, 2, moment(m));
}

/* Frames overlap, or the chain turns round. */
static void turn_round(struct mutator *m) {
    uint32_t which = 1 + a_frame(m);
    put(m, frame_word(which, PREVIOUS), OF_FRAME, beside(which - 1, 8 * (int32_t)below(m, 4)), moment(m));
}

static void overlap(struct mutator *m) {
    append(m, (struct record){.kind = R_CALL});
    append(m, (struct record){.kind = R_CALL});
    put(m, frame_word(0, PREVIOUS), OF_FRAME, beside(1, 8 * (1 + (int32_t)below(m, 8))), 0);
}

static void generator_hop(struct mutator *m) {
    resume_times(m, 1);
    put(m, frame_word(0, PREVIOUS), OF_FRAME, beside(a_frame(m), 0), moment(m));
}

static void truncate_chunk(struct mutator *m) {
    static const uint64_t sizes[] = {0, 16, 23, 24, 32, 120, UINT64_C(1) << 31, (UINT64_C(1) << 31) + 8, UINT64_MAX};
    put(m, (struct word){AT_CHUNK, below(m, 3), CHUNK_LENGTH}, OF_NOTHING,
        sizes[below(m, sizeof sizes / sizeof *sizes)], moment(m));
}

static void lose_chunk(struct mutator *m) {
    append(m, (struct record){.kind = R_CHUNK, .a = 4});
    append(m, (struct record){.kind = R_CALL});
    put(m, (struct word){AT_CHUNK, 0, CHUNK_LINK}, below(m, 2) ? OF_NOTHING : OF_ABSENT, 0, moment(m));
}

static void stale_code_range(struct mutator *m) {
    uint32_t frame = a_frame(m);
    switch (below(m, 6)) {
    case 0:
        put(m, frame_word(frame, INSTR_PTR), OF_OLD, 2 * 64, moment(m));
        break;
    case 1:
        put(m, frame_word(frame, INSTR_PTR), OF_OLD, below(m, 2) ? 1 : UINT64_MAX, moment(m));
        break;
    case 2:
        put(m, code_word(below(m, 3), UNITS), OF_NOTHING, below(m, 2) ? below(m, 3) : UINT64_MAX, moment(m));
        break;
    case 3:
        put(m, frame_word(frame, TLBC_INDEX), OF_NOTHING, below(m, 2) ? below(m, 6) : UINT32_MAX - below(m, 4),
            moment(m));
        break;
    case 4: /* a copy that is not there, and an instruction that would lie in it */
        put(m, (struct word){AT_ARRAY, below(m, 3), 1 + below(m, 4)}, OF_NOTHING, 0, 0);
        put(m, frame_word(frame, INSTR_PTR), OF_NOTHING, 2 * below(m, 8), 0);
        break;
    default:
        put(m, (struct word){AT_ARRAY, below(m, 3), below(m, 5)}, OF_NOTHING, below(m, 6), moment(m));
        break;
    }
}

/* One frame becomes another while it is read. */
static void swap_mid_walk(struct mutator *m) {
    uint32_t frame = a_frame(m), after = 1 + below(m, 120);
    put(m, frame_word(frame, EXECUTABLE), OF_CODE, beside(below(m, 4), 0), after);
    put(m, frame_word(frame, INSTR_PTR), OF_OLD, 2 * below(m, 4), after + below(m, 3));
    if (below(m, 2))
        put(m, frame_word(frame, PREVIOUS), OF_FRAME, beside(a_frame(m), 0), after + below(m, 3));
}

/* The innermost frame is popped, or pushed, between two reads. */
static void pop_mid_walk(struct mutator *m) {
    put(m, thread_word(CURRENT_FRAME), OF_FRAME, beside(below(m, 3), 0), 1 + below(m, 120));
}

/* Changed, and changed back. */
static void there_and_back(struct mutator *m) {
    uint32_t frame = a_frame(m), after = 1 + below(m, 60);
    put(m, frame_word(frame, INSTR_PTR), OF_OLD, 2, after);
    put(m, frame_word(frame, INSTR_PTR), OF_OLD, 0, after + 1 + below(m, 30));
}

static void code_dies(struct mutator *m) {
    m->bytes[1] = LOOK_OBSERVE;
    append(m, (struct record){.kind = R_DEATH, .b = 1 + below(m, 120)});
}

static void lose_root(struct mutator *m) {
    switch (below(m, 3)) {
    case 0:
        put(m, frame_word(below(m, 2), PREVIOUS), OF_NOTHING, 0, moment(m));
        break;
    case 1:
        put(m, thread_word(BASE_FRAME), OF_NOTHING, 0, moment(m));
        break;
    default:
        put(m, thread_word(CURRENT_FRAME), OF_NOTHING, 0, moment(m));
        break;
    }
}

static void leave_thread(struct mutator *m) {
    if (below(m, 2))
        put(m, thread_word(NATIVE_ID), OF_OLD, 1, moment(m));
    else
        put(m, thread_word(STATUS), OF_NOTHING, below(m, 32), moment(m));
}

static void no_state(struct mutator *m) { m->bytes[2] ^= NO_STATE; }

static void no_stack(struct mutator *m) { m->bytes[2] ^= NO_STACK; }

static void state_elsewhere(struct mutator *m) {
    uint64_t distance = below(m, 2) ? below(m, 16) : impossible_address(m);
    memcpy(m->bytes + 8, &distance, 8);
}

/* --- changes of what is built -------------------------------------------------------------------------------- */

static void build_more(struct mutator *m) {
    static const enum record_kind kinds[] = {R_CODE, R_ENTER, R_CALL, R_CALL, R_RESUME, R_CHUNK};
    insert(m, below(m, (uint32_t)record_count(m) + 1),
           (struct record){.kind = kinds[below(m, 6)],
                           .p = (uint8_t)below(m, 8),
                           .a = (uint16_t)below(m, 64),
                           .b = below(m, 3) ? below(m, 8) : below(m, 1 << 13),
                           .v = below(m, 4)});
}

static void build_less(struct mutator *m) {
    if (record_count(m) == 0)
        return;
    uint8_t *at = record_at(m, below(m, (uint32_t)record_count(m)));
    memmove(at, at + RECORD_BYTES, m->count - (size_t)(at + RECORD_BYTES - m->bytes));
    m->count -= RECORD_BYTES;
}

static void exchange(struct mutator *m) {
    if (record_count(m) < 2)
        return;
    uint8_t *one = record_at(m, below(m, (uint32_t)record_count(m)));
    uint8_t *other = record_at(m, below(m, (uint32_t)record_count(m)));
    uint8_t kept[RECORD_BYTES];
    memcpy(kept, one, RECORD_BYTES);
    memmove(one, other, RECORD_BYTES);
    memcpy(other, kept, RECORD_BYTES);
}

/* A write comes earlier or later. */
static void shift_moment(struct mutator *m) {
    if (record_count(m) == 0)
        return;
    uint8_t *at = record_at(m, below(m, (uint32_t)record_count(m)));
    uint32_t after = below(m, 200);
    if (at[0] % RECORD_KINDS >= R_WRITE)
        memcpy(at + 4, &after, 4);
}

static void change_header(struct mutator *m) {
    switch (below(m, 5)) {
    case 0:
        m->bytes[0] = (uint8_t)below(m, INTERPRETERS);
        break;
    case 1:
        m->bytes[1] = (uint8_t)below(m, 8);
        break;
    case 2:
        m->bytes[2] ^= ENTRY_KNOWN;
        break;
    case 3:
        m->bytes[3] = (uint8_t)(below(m, 2) ? below(m, 8) : below(m, 256));
        break;
    default:
        m->bytes[4] = (uint8_t)(below(m, 2) ? below(m, 8) : below(m, 256));
        break;
    }
}

/* --- the list ------------------------------------------------------------------------------------------------ */

/* The outcome of a sound stack that it can lead to, and for which it is there; NULL: there is no single one. */
static const struct corruption {
    const char *name, *reason;
    void (*apply)(struct mutator *m);
} corruptions[] = {
    {"circle", "cycle", circle},
    {"circle_of_chunks", "cycle", circle_of_chunks},
    {"self_loop", "progress", self_loop},
    {"shim_loop", "progress", shim_loop},
    {"dangle", "fault", dangle},
    {"dangle_past_the_type", "fault", dangle_past_the_type},
    {"misalign", "alignment", misalign},
    {"kernel_address", "bounds", kernel_address},
    {"impossible_array", "bounds", impossible_array},
    {"tag_bits", "alignment", tag_bits},
    {"wrong_type", "type", wrong_type},
    {"wrong_object", "type", wrong_object},
    {"wrong_owner", "owner", wrong_owner},
    {"entry_frame_elsewhere", "owner", entry_frame_elsewhere},
    {"turn_round", "progress", turn_round},
    {"overlap", "progress", overlap},
    {"generator_hop", "cycle", generator_hop},
    {"truncate_chunk", "bounds", truncate_chunk},
    {"lose_chunk", "bounds", lose_chunk},
    {"stale_code_range", "code_range", stale_code_range},
    {"swap_mid_walk", "torn", swap_mid_walk},
    {"pop_mid_walk", "torn", pop_mid_walk},
    {"there_and_back", "torn", there_and_back},
    {"code_dies", NULL, code_dies},
    {"lose_root", "incomplete", lose_root},
    {"leave_thread", "detached", leave_thread},
    {"no_state", "no_thread_state", no_state},
    {"no_stack", "stack_unknown", no_stack},
    {"state_elsewhere", "alignment", state_elsewhere},
    {"build_more", NULL, build_more},
    {"build_less", NULL, build_less},
    {"exchange", NULL, exchange},
    {"shift_moment", NULL, shift_moment},
    {"change_header", NULL, change_header},
};
#define CORRUPTIONS (sizeof corruptions / sizeof *corruptions)

static void take(struct mutator *m, const uint8_t *bytes, size_t count) {
    memset(m->bytes, 0, HEADER_BYTES);
    m->count = count < sizeof m->bytes ? count : sizeof m->bytes;
    memcpy(m->bytes, bytes, m->count);
    if (m->count < HEADER_BYTES)
        m->count = HEADER_BYTES;
    m->count -= (m->count - HEADER_BYTES) % RECORD_BYTES;
}

/* --- AFL++'s interface ---------------------------------------------------------------------------------------- */

void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t count, uint8_t **out, uint8_t *other, size_t other_count,
                       size_t most);
void afl_custom_deinit(void *data);
const char *mutator_name(unsigned number);
const char *mutator_reason(unsigned number);
size_t mutator_apply(unsigned number, uint64_t seed, const uint8_t *bytes, size_t count, uint8_t out[IMAGE_LARGEST]);

void *afl_custom_init(void *afl, unsigned seed) {
    (void)afl;
    struct mutator *m = calloc(1, sizeof *m);
    if (m != NULL)
        m->state = seed;
    return m;
}

size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t count, uint8_t **out, uint8_t *other, size_t other_count,
                       size_t most) {
    (void)other, (void)other_count;
    struct mutator *m = data;
    take(m, bytes, count);
    for (uint32_t times = 1 + below(m, 3); times > 0; times--)
        corruptions[below(m, CORRUPTIONS)].apply(m);
    *out = m->bytes;
    return m->count < most ? m->count : most;
}

void afl_custom_deinit(void *data) { free(data); }

const char *mutator_name(unsigned number) { return number < CORRUPTIONS ? corruptions[number].name : NULL; }

const char *mutator_reason(unsigned number) { return number < CORRUPTIONS ? corruptions[number].reason : NULL; }

size_t mutator_apply(unsigned number, uint64_t seed, const uint8_t *bytes, size_t count, uint8_t out[IMAGE_LARGEST]) {
    struct mutator m = {.state = seed};
    take(&m, bytes, count);
    corruptions[number].apply(&m);
    memcpy(out, m.bytes, m.count);
    return m.count;
}

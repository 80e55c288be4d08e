#include "oracle.h"

#include <stdlib.h>
#include <string.h>

/* No walk goes further than this: specs/walk.md, invariant 5. */
#define STEPS 65536

/* A list of addresses that may lead back to one of its own. */
struct trail {
    uint64_t *at;
    uint32_t count;
};

struct chunk {
    uint64_t address, first, end;
};

/* A frame as the first look saw it. */
struct seen {
    uint64_t frame, caller, executable, instruction;
    bool shown; /* it is in the answer, or would be if there were room */
    bool has_instruction;
};

static struct {
    const struct oracle_question *question;
    struct oracle_answer *answer;
    struct trail chunk_trail, generator_trail;
    struct chunk chunk;   /* the newest one that was come to */
    bool in_chunk;        /* there is one */
    uint64_t data_limit;  /* frames on the data stack end here or below */
    uint64_t stack_floor; /* frames on the C stack begin here or above */
    struct seen *seen;
    uint32_t seen_count;
} o;

static bool read(uint64_t address, unsigned size, uint64_t *value) {
    return o.question->read(o.question->context, address, size, value);
}

static uint32_t at(enum field field) { return o.question->interpreter->at[field]; }

static bool read_field(uint64_t object, enum field field, uint64_t *value) {
    return read(object + at(field), field_width[field], value);
}

#define TRY(step)                                                                                                      \
    do {                                                                                                               \
        enum spprof_reason tried = (step);                                                                             \
        if (tried != SPPROF_CAPTURED)                                                                                  \
            return tried;                                                                                              \
    } while (0)
#define READ(object, field, value)                                                                                     \
    do {                                                                                                               \
        if (!read_field(object, field, value))                                                                         \
            return SPPROF_FAULT;                                                                                       \
    } while (0)

static void *room_for(size_t count, size_t size) {
    void *room = calloc(count, size);
    if (room == NULL)
        abort();
    return room;
}

/* User space: from 64 KiB, where a mapping may begin, to 47 bits on x86-64 and 52 on ARM64. */
#if defined(__aarch64__)
#define ADDRESS_BITS 52
#else
#define ADDRESS_BITS 47
#endif

static enum spprof_reason plausible(uint64_t address, uint64_t size) {
    __extension__ typedef unsigned __int128 wide;
    wide end = (wide)address + size;
    if (address < 0x10000 || end > (wide)1 << ADDRESS_BITS)
        return SPPROF_BOUNDS;
    return address & 7 ? SPPROF_ALIGNMENT : SPPROF_CAPTURED;
}

/* Adds an address to its trail. A circle is noticed where Brent's algorithm notices it: number i is compared with number
 * 2^k - 2, for the largest such that is below i. */
static bool led_back(struct trail *trail, uint64_t address) {
    uint32_t i = trail->count++, power = 2;
    trail->at[i] = address;
    if (i == 0)
        return false;
    while (2 * power - 2 < i)
        power *= 2;
    return trail->at[power - 2] == address;
}

/* --- the thread ------------------------------------------------------------------------------------------- */

static enum spprof_reason judge_state(void) {
    uint64_t state = o.question->state, tid, status;
    if (state == 0)
        return SPPROF_NO_THREAD_STATE;
    TRY(plausible(state, at(THREAD_SIZE)));
    READ(state, THREAD_NATIVE_THREAD_ID, &tid);
    READ(state, THREAD_STATUS, &status);
    bool ours = tid == o.question->tid && (status & (STATUS_BOUND | STATUS_UNBOUND)) == STATUS_BOUND;
    if (!ours)
        return SPPROF_DETACHED;
    if (!(status & STATUS_ACTIVE))
        o.answer->flags |= SPPROF_SAMPLE_DETACHED;
    return SPPROF_CAPTURED;
}

/* --- where a frame lies ------------------------------------------------------------------------------------ */

static enum spprof_reason come_to_next_chunk(void) {
    uint64_t address, size;
    if (o.in_chunk) {
        if (!read(o.chunk.address + CHUNK_PREVIOUS, 8, &address))
            return SPPROF_FAULT;
    } else {
        READ(o.question->state, THREAD_DATASTACK_CHUNK, &address);
    }
    if (address != 0 && led_back(&o.chunk_trail, address))
        return SPPROF_CYCLE;
    if (o.chunk_trail.count > STEPS)
        return SPPROF_BOUNDS;
    TRY(plausible(address, CHUNK_DATA));
    if (!read(address + CHUNK_SIZE, 8, &size))
        return SPPROF_FAULT;
    if (size < CHUNK_DATA || size > UINT64_C(0x80000000))
        return SPPROF_BOUNDS;
    if (plausible(address, size) == SPPROF_BOUNDS)
        return SPPROF_BOUNDS;
    o.in_chunk = true;
    o.chunk = (struct chunk){.address = address, .first = address + CHUNK_DATA, .end = address + size};
    o.data_limit = o.chunk.end;
    return SPPROF_CAPTURED;
}

static enum spprof_reason judge_data_frame(uint64_t frame) {
    uint64_t end = frame + at(FRAME_SIZE);
    while (!(o.in_chunk && o.chunk.first <= frame && end <= o.chunk.end))
        TRY(come_to_next_chunk());
    if (end > o.data_limit)
        return SPPROF_PROGRESS;
    o.data_limit = frame;
    return SPPROF_CAPTURED;
}

static enum spprof_reason judge_stack_frame(uint64_t frame) {
    if (o.question->stack_high == 0)
        return SPPROF_STACK_UNKNOWN;
    uint64_t end = frame + at(FRAME_SIZE);
    if (frame < o.question->stack_low || end > o.question->stack_high)
        return SPPROF_BOUNDS;
    if (frame < o.stack_floor)
        return SPPROF_PROGRESS;
    o.stack_floor = end;
    return SPPROF_CAPTURED;
}

/* --- what a frame runs ------------------------------------------------------------------------------------- */

static enum spprof_reason find_instruction(uint64_t frame, uint64_t code, uint64_t *stored, uint32_t *index) {
    uint64_t units, base = code + at(CODE_ADAPTIVE);
    if (o.question->interpreter->has_tlbc) {
        uint64_t array, copy, copies;
        READ(code, CODE_TLBC, &array);
        TRY(plausible(array, ARRAY_ENTRIES));
        READ(frame, FRAME_TLBC_INDEX, &copy);
        if (!read(array + ARRAY_SIZE, 8, &copies))
            return SPPROF_FAULT;
        if (copy >= copies)
            return SPPROF_CODE_RANGE;
        if (!read(array + ARRAY_ENTRIES + 8 * copy, 8, &base))
            return SPPROF_FAULT;
        if (base == 0)
            return SPPROF_CODE_RANGE;
    }
    READ(frame, FRAME_INSTR_PTR, stored);
    READ(code, CODE_UNITS, &units);
    if (units > UINT64_C(1) << 30)
        return SPPROF_CODE_RANGE;
    for (uint64_t offset = *stored - base; offset < 2 * units && offset % 2 == 0;) {
        *index = (uint32_t)(offset / 2);
        return SPPROF_CAPTURED;
    }
    return SPPROF_CODE_RANGE;
}

static enum spprof_reason judge_python_frame(struct seen *seen) {
    uint64_t type, line, file = 1, name = 2;
    READ(seen->frame, FRAME_EXECUTABLE, &seen->executable);
    uint64_t tag = seen->executable & o.question->interpreter->tag_mask, code = seen->executable - tag;
    TRY(plausible(code, at(CODE_SIZE)));
    READ(code, OBJECT_TYPE, &type);
    if (type != o.question->code_type)
        return SPPROF_TYPE;
    READ(code, CODE_FIRST_LINE, &line);
    if (line == 0) {
        READ(code, CODE_FILENAME, &file);
        READ(code, CODE_QUALNAME, &name);
    }
    if (file == name) { /* the interpreter's trampoline: hidden */
        READ(seen->frame, FRAME_INSTR_PTR, &seen->instruction);
        return SPPROF_CAPTURED;
    }
    uint32_t index;
    TRY(find_instruction(seen->frame, code, &seen->instruction, &index));
    seen->shown = true;
    if (o.answer->depth == o.question->max_depth)
        o.answer->flags |= SPPROF_SAMPLE_TRUNCATED;
    else
        o.answer->frames[o.answer->depth++] =
            (struct oracle_frame){.code = code, .instruction = index, .first_line = (int32_t)line};
    return SPPROF_CAPTURED;
}

static enum spprof_reason judge_entry_frame(struct seen *seen) {
    READ(seen->frame, FRAME_INSTR_PTR, &seen->instruction);
    READ(seen->frame, FRAME_EXECUTABLE, &seen->executable);
    bool stands_elsewhere = o.question->entry_instruction != 0 && seen->instruction != o.question->entry_instruction;
    return stands_elsewhere ? SPPROF_OWNER : SPPROF_CAPTURED;
}

static enum spprof_reason judge_frame(struct seen *seen, bool *is_entry) {
    uint64_t owner;
    TRY(plausible(seen->frame, at(FRAME_SIZE)));
    READ(seen->frame, FRAME_OWNER, &owner);
    *is_entry = false;
    switch (owner) {
    case 0:
        TRY(judge_data_frame(seen->frame));
        return judge_python_frame(seen);
    case 1:
        if (led_back(&o.generator_trail, seen->frame))
            return SPPROF_CYCLE;
        return judge_python_frame(seen);
    case 3:
    case 4:
        *is_entry = true;
        TRY(judge_stack_frame(seen->frame));
        return judge_entry_frame(seen);
    default:
        return SPPROF_OWNER;
    }
}

/* --- the looks --------------------------------------------------------------------------------------------- */

/* How many frames are kept for the second look: the last place is for a caller's address alone. */
static uint32_t noted_most(void) { return o.question->looks_room < 2 ? 0 : o.question->looks_room - 1; }

/* Frames that are kept are not counted as steps, but for the last. */
static uint32_t frames_most(void) { return STEPS + (noted_most() > 0 ? noted_most() - 1 : 0); }

static enum spprof_reason look_once(void) {
    struct oracle_answer *answer = o.answer;
    uint64_t frame, root = 0;
    answer->depth = answer->flags = 0;
    o.chunk_trail.count = o.generator_trail.count = o.seen_count = 0;
    o.in_chunk = false;
    o.stack_floor = o.question->stack_low;
    TRY(judge_state());
    READ(o.question->state, THREAD_CURRENT_FRAME, &frame);
    if (o.question->interpreter->has_base_frame) {
        READ(o.question->state, THREAD_BASE_FRAME, &root);
        if (root == 0)
            return SPPROF_INCOMPLETE;
    }
    bool last_is_entry = true;
    while (frame != root) {
        if (frame == 0)
            return SPPROF_INCOMPLETE; /* ends above its root */
        if (o.seen_count == frames_most()) {
            answer->flags |= SPPROF_SAMPLE_TRUNCATED;
            return SPPROF_CAPTURED;
        }
        struct seen *seen = &o.seen[o.seen_count++];
        *seen = (struct seen){.frame = frame};
        TRY(judge_frame(seen, &last_is_entry));
        READ(frame, FRAME_PREVIOUS, &seen->caller);
        frame = seen->caller;
    }
    return last_is_entry ? SPPROF_CAPTURED : SPPROF_INCOMPLETE;
}

static bool stands(uint64_t frame, enum field field, uint64_t before) {
    uint64_t now;
    return read_field(frame, field, &now) && now == before;
}

/* The innermost frame runs on between the looks: the instruction of the second is the one that counts. */
static enum spprof_reason look_at_top_again(void) {
    const struct seen *top = &o.seen[0];
    if (!top->shown || o.answer->depth == 0)
        return SPPROF_CAPTURED;
    uint64_t stored;
    return find_instruction(top->frame, o.answer->frames[0].code, &stored, &o.answer->frames[0].instruction);
}

static enum spprof_reason look_again(void) {
    uint64_t current;
    uint32_t noted = o.seen_count < noted_most() ? o.seen_count : noted_most();
    READ(o.question->state, THREAD_CURRENT_FRAME, &current);
    for (uint32_t i = 0; i < noted; i++) {
        const struct seen *seen = &o.seen[i];
        if (i == 0) {
            if (current != seen->frame)
                return SPPROF_TORN;
            TRY(look_at_top_again());
        }
        bool same = stands(seen->frame, FRAME_EXECUTABLE, seen->executable) &&
                    stands(seen->frame, FRAME_PREVIOUS, seen->caller);
        if (same && i > 0)
            same = stands(seen->frame, FRAME_INSTR_PTR, seen->instruction);
        if (!same)
            return SPPROF_TORN;
    }
    o.answer->flags &= SPPROF_SAMPLE_TRUNCATED;
    return judge_state();
}

void oracle_answer(const struct oracle_question *question, struct oracle_answer *answer) {
    if (o.seen == NULL) {
        o.seen = room_for(STEPS + ORACLE_DEPTH, sizeof *o.seen);
        o.chunk_trail.at = room_for(STEPS + ORACLE_DEPTH, sizeof(uint64_t));
        o.generator_trail.at = room_for(STEPS + ORACLE_DEPTH, sizeof(uint64_t));
    }
    o.question = question;
    o.answer = answer;
    memset(answer->met, 0, sizeof answer->met);
    for (uint32_t i = 0; i < question->attempts; i++) {
        enum spprof_reason reason = look_once();
        for (uint32_t k = 0; reason == SPPROF_CAPTURED && k < question->again; k++)
            reason = look_again();
        bool died = question->died != NULL && question->died(question->context);
        if (reason == SPPROF_CAPTURED && died)
            reason = SPPROF_TORN;
        answer->reason = reason;
        answer->met[reason]++;
        if (reason == SPPROF_CAPTURED || reason == SPPROF_DETACHED || reason == SPPROF_NO_THREAD_STATE)
            return;
        if (reason == SPPROF_STACK_UNKNOWN)
            return;
    }
}

/* Any bytes as the interpreter's table of offsets.
 *
 * The oracle decides by itself, from its own list of where each version keeps what (fields.c), whether a table may be
 * accepted, and what then must stand in the layout. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "layout.h"
#include "target.h"

const char fuzz_name[] = "layout";
const size_t fuzz_largest = LAYOUT_TABLE_BYTES + 64;

/* The structure that a field lies in, and the least size that each structure can have. */
static enum field holder_of(enum field field) {
    static const enum field sizes[] = {RUNTIME_SIZE, INTERPRETER_SIZE, THREAD_SIZE, FRAME_SIZE,
                                       CODE_SIZE,    OBJECT_SIZE,      TUPLE_SIZE};
    if (field == CODE_UNITS)
        return TUPLE_SIZE; /* both are objects with a length */
    enum field holder = RUNTIME_SIZE;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] <= field)
            holder = sizes[i];
    return holder;
}

static uint64_t least_size(enum field size) {
    switch (size) {
    case FRAME_SIZE:
        return 48;
    case OBJECT_SIZE:
        return 16;
    case TUPLE_SIZE:
        return 24;
    default:
        return 64;
    }
}

static uint64_t word_of(const uint8_t *bytes, size_t number) {
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--)
        word = word << 8 | bytes[8 * number + (size_t)i];
    return word;
}

/* Which build the table says that it is of, or NULL for one that is not to be understood. */
static const struct interpreter *build_of(const uint8_t *bytes, size_t count) {
    if (count < 24 || memcmp(bytes, "xdebugpy", 8) != 0)
        return NULL;
    uint64_t version = word_of(bytes, 1), threading = word_of(bytes, 2);
    unsigned level = version >> 4 & 15;
    for (int i = 0; i < INTERPRETERS; i++)
        if (version >> 16 == interpreters[i].version && level >= 12 && threading == interpreters[i].free_threaded)
            return &interpreters[i];
    return NULL;
}

static bool matters(const struct interpreter *build, enum field field) {
    bool of_tlbc = field == FRAME_TLBC_INDEX || field == CODE_TLBC;
    return build->word[field] != 0 && (!of_tlbc || build->has_tlbc);
}

/* A field may begin at 0, but for those whose absence an offset of 0 would say. */
static bool may_begin_at_0(enum field field) {
    return field != FRAME_TLBC_INDEX && field != CODE_TLBC && field != THREAD_BASE_FRAME;
}

static bool is_sound(const struct interpreter *build, const uint8_t *bytes, enum field field) {
    uint64_t value = word_of(bytes, build->word[field]), width = field_width[field];
    if (width == 0)
        return value >= least_size(field) && value <= 1 << 24;
    uint64_t size = word_of(bytes, build->word[holder_of(field)]);
    return value % width == 0 && value < size && value + width <= size && (value != 0 || may_begin_at_0(field));
}

static const struct interpreter *judge(const uint8_t *bytes, size_t count) {
    const struct interpreter *build = build_of(bytes, count);
    if (build == NULL)
        return NULL;
    for (int field = 0; field < FIELDS; field++) {
        if (build->word[field] != 0 && count < 8 * (build->word[field] + 1u))
            return NULL;
        if (matters(build, field) && !is_sound(build, bytes, field))
            return NULL;
    }
    return build;
}

/* What must stand in the layout for a field; 0 for one that the build does not have. */
static void expect(const struct interpreter *build, const uint8_t *bytes, enum field field, uint32_t found) {
    uint64_t said = matters(build, field) ? word_of(bytes, build->word[field]) : 0;
    if (found != said)
        fuzz_fail("%s is %u in the layout, and the table of %s says %lu", field_name[field], found, build->name, said);
}

static void check_layout(const struct interpreter *build, const uint8_t *bytes, const struct layout *layout) {
    const struct {
        enum field field;
        uint32_t found;
    } all[] = {
        {RUNTIME_INTERPRETERS_HEAD, layout->runtime.interpreters_head},
        {INTERPRETER_SIZE, layout->interpreter.size},
        {INTERPRETER_NEXT, layout->interpreter.next},
        {INTERPRETER_THREADS_HEAD, layout->interpreter.threads_head},
        {THREAD_SIZE, layout->thread.size},
        {THREAD_NEXT, layout->thread.next},
        {THREAD_INTERPRETER, layout->thread.interpreter},
        {THREAD_CURRENT_FRAME, layout->thread.current_frame},
        {THREAD_BASE_FRAME, layout->thread.base_frame},
        {THREAD_THREAD_ID, layout->thread.thread_id},
        {THREAD_NATIVE_THREAD_ID, layout->thread.native_thread_id},
        {THREAD_DATASTACK_CHUNK, layout->thread.datastack_chunk},
        {THREAD_STATUS, layout->thread.status},
        {FRAME_SIZE, layout->frame.size},
        {FRAME_PREVIOUS, layout->frame.previous},
        {FRAME_EXECUTABLE, layout->frame.executable},
        {FRAME_INSTR_PTR, layout->frame.instr_ptr},
        {FRAME_OWNER, layout->frame.owner},
        {FRAME_TLBC_INDEX, layout->frame.tlbc_index},
        {CODE_SIZE, layout->code.size},
        {CODE_FILENAME, layout->code.filename},
        {CODE_QUALNAME, layout->code.qualname},
        {CODE_FIRST_LINE, layout->code.first_line},
        {CODE_ADAPTIVE, layout->code.code_adaptive},
        {CODE_TLBC, layout->code.tlbc},
        {OBJECT_TYPE, layout->object_type},
        {CODE_UNITS, layout->code.units},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        expect(build, bytes, all[i].field, all[i].found);
    FUZZ_LAW(layout->version == build->version && layout->free_threaded == build->free_threaded);
    FUZZ_LAW(layout->thread.status_bound == STATUS_BOUND && layout->thread.status_unbound == STATUS_UNBOUND);
    FUZZ_LAW(layout->thread.status_active == STATUS_ACTIVE);
    FUZZ_LAW(layout->chunk.previous == CHUNK_PREVIOUS && layout->chunk.size == CHUNK_SIZE);
    FUZZ_LAW(layout->chunk.data == CHUNK_DATA);
    FUZZ_LAW(layout->tlbc_array.size == ARRAY_SIZE && layout->tlbc_array.entries == ARRAY_ENTRIES);
    FUZZ_LAW(layout->executable_tag_mask == build->tag_mask);
}

/* One sentence, whole and on one line. */
static void check_sentence(const char *problem, size_t room) {
    FUZZ_LAW(memchr(problem, '\0', room) != NULL && *problem != '\0');
    for (; *problem != '\0'; problem++)
        FUZZ_LAW(isprint((unsigned char)*problem));
}

void fuzz_set_up(void) {}

void fuzz_one(const uint8_t *bytes, size_t count) {
    struct layout layout, untouched;
    char problem[240] = "";
    /* In a block of its own size, so that a read past its end is seen. */
    uint8_t *table = malloc(count + (count == 0));
    if (table == NULL)
        abort();
    memcpy(table, bytes, count);
    memset(&untouched, 0xa5, sizeof untouched);
    layout = untouched;
    bool accepted = layout_read(&layout, table, count, problem, sizeof problem);
    const struct interpreter *build = judge(table, count < LAYOUT_TABLE_BYTES ? count : LAYOUT_TABLE_BYTES);
    if (accepted != (build != NULL))
        fuzz_fail("the core %s, the oracle does not: %s", accepted ? "accepts" : "refuses", problem);
    if (accepted) {
        check_layout(build, table, &layout);
    } else {
        check_sentence(problem, sizeof problem);
        FUZZ_LAW(memcmp(&layout, &untouched, sizeof layout) == 0);
    }
    free(table);
    fuzz_note(accepted ? build->name : "refused");
}

#define _GNU_SOURCE /* MAP_FIXED_NOREPLACE */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The thread state is the first thing in the heap; before it lies the type of code objects. */
#define STATE (HEAP + 64)

#define OBJECTS_MOST 1024

/* Objects of one kind, in the order in which they were made. */
struct objects {
    uint64_t at[OBJECTS_MOST];
    uint32_t count;
};

struct code {
    uint64_t bytecode; /* of the copy that frames run */
    uint32_t units, index;
};

/* What is being built. Cleared for every input, but for the tables behind the counts. */
static struct {
    const uint32_t *field;
    const struct interpreter *interpreter;
    uint64_t heap_top, data_top, stack_bottom;
    uint64_t chunk_end; /* of the newest chunk */
    uint64_t innermost;
    struct objects frames, codes, chunks, arrays;
    struct code code[OBJECTS_MOST];
} made;

/* --- memory ----------------------------------------------------------------------------------------------- */

/* Words that an input has written, so that they can be taken back. */
#define WRITTEN_MOST (1 << 15)
static uint64_t written[WRITTEN_MOST];
static uint32_t written_count;

static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; } // NOLINT: an address on purpose

static void map_or_die(uint64_t address, uint64_t size, int protection, int flags) {
    flags |= MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (mmap(pointer(address), size, protection, flags, -1, 0) == pointer(address))
        return;
    perror("fuzz: no room for the image at its address; is the address space limited (ulimit -v)?");
    exit(2);
}

void image_map(void) {
    map_or_die(ARENA - PAGE, ARENA_RESERVED + PAGE, PROT_NONE, MAP_FIXED_NOREPLACE);
    map_or_die(HEAP, HEAP_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    map_or_die(DATA, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    map_or_die(STACK, STACK_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED);
    if (munmap(pointer(ABSENT), PAGE) != 0)
        abort();
}

static bool is_there(uint64_t address, unsigned size) {
    static const uint64_t parts[][2] = {{HEAP, PROTECTED}, {STACK, STACK_END}, {DATA, DATA_END}};
    for (int i = 0; i < 3; i++)
        if (address >= parts[i][0] && address < parts[i][1] && parts[i][1] - address >= size)
            return true;
    return false;
}

bool image_read(uint64_t address, unsigned size, uint64_t *value) {
    if (!is_there(address, size))
        return false;
    *value = 0;
    memcpy(value, pointer(address), size);
    return true;
}

void image_write(uint64_t address, unsigned size, uint64_t value) {
    if (!is_there(address, size) || written_count == WRITTEN_MOST)
        return;
    written[written_count++] = address;
    memcpy(pointer(address), &value, size);
}

static void take_back(void) {
    for (uint32_t i = 0; i < written_count; i++) {
        uint64_t zero = 0, word = written[i] & ~UINT64_C(7); /* an unaligned write touches two */
        for (unsigned part = 0; part < 2; part++)
            if (is_there(word + 8 * part, 8))
                memcpy(pointer(word + 8 * part), &zero, 8);
    }
    written_count = 0;
}

static void put(uint64_t object, enum field field, uint64_t value) {
    image_write(object + made.field[field], field_width[field], value);
}

static uint64_t put_in_heap(uint64_t size) {
    uint64_t at = (made.heap_top + 7) & ~UINT64_C(7);
    if (at + size > PROTECTED)
        return 0;
    made.heap_top = at + size;
    return at;
}

static bool add(struct objects *objects, uint64_t at) {
    if (at == 0 || objects->count == OBJECTS_MOST)
        return false;
    objects->at[objects->count++] = at;
    return true;
}

/* The newest is number 0. */
static uint64_t object(const struct objects *objects, uint64_t number) {
    return objects->count == 0 ? 0 : objects->at[objects->count - 1 - number % objects->count];
}

/* --- what an input builds --------------------------------------------------------------------------------- */

struct record {
    enum record_kind kind;
    uint8_t p;
    uint16_t a;
    uint32_t b;
    uint64_t v;
};

static struct record read_record(const uint8_t *bytes) {
    struct record record = {.kind = bytes[0] % RECORD_KINDS, .p = bytes[1]};
    memcpy(&record.a, bytes + 2, 2);
    memcpy(&record.b, bytes + 4, 4);
    memcpy(&record.v, bytes + 8, 8);
    return record;
}

#define UNITS_MOST 64
#define COPIES_MOST 4

/* The array of thread-local bytecodes, the first of which is in the object itself; frames run the last. */
static bool make_array(uint64_t code_at, struct code *code, uint32_t copies) {
    uint64_t array = put_in_heap(ARRAY_ENTRIES + 8 * copies);
    if (!add(&made.arrays, array))
        return false;
    image_write(array + ARRAY_SIZE, 8, copies);
    for (uint32_t i = 0; i < copies; i++) {
        if (i > 0)
            code->bytecode = put_in_heap(2 * UNITS_MOST);
        image_write(array + ARRAY_ENTRIES + 8 * i, 8, code->bytecode);
    }
    code->index = copies - 1;
    put(code_at, CODE_TLBC, array);
    return code->bytecode != 0;
}

static void make_code(const struct record *record) {
    bool hidden = record->p & 1;
    struct code code = {.units = 1 + record->a % UNITS_MOST};
    uint64_t at = put_in_heap(made.field[CODE_SIZE] + 2 * UNITS_MOST);
    if (!add(&made.codes, at))
        return;
    code.bytecode = at + made.field[CODE_ADAPTIVE];
    put(at, OBJECT_TYPE, HEAP);
    put(at, CODE_UNITS, code.units);
    put(at, CODE_FIRST_LINE, hidden ? 0 : record->b);
    put(at, CODE_FILENAME, at + 8);
    put(at, CODE_QUALNAME, at + (hidden ? 8 : 16));
    if (made.interpreter->has_tlbc && !hidden && !make_array(at, &code, 1 + (record->p >> 1) % COPIES_MOST))
        made.codes.count--;
    else
        made.code[made.codes.count - 1] = code;
}

/* Links a frame in as the innermost. */
static void push(uint64_t frame, unsigned owner) {
    if (!add(&made.frames, frame))
        return;
    put(frame, FRAME_OWNER, owner);
    put(frame, FRAME_PREVIOUS, made.innermost);
    made.innermost = frame;
}

static void run(uint64_t frame, const struct record *record) {
    static const struct record usual = {.kind = R_CODE, .a = 20, .b = 7};
    if (made.codes.count == 0)
        make_code(&usual);
    if (frame == 0 || made.codes.count == 0)
        return;
    uint32_t number = made.codes.count - 1 - record->p % made.codes.count;
    const struct code *code = &made.code[number];
    put(frame, FRAME_EXECUTABLE, made.codes.at[number] | (record->v & made.interpreter->tag_mask));
    put(frame, FRAME_INSTR_PTR, code->bytecode + 2 * (uint64_t)(record->a % code->units));
    if (made.interpreter->has_tlbc)
        put(frame, FRAME_TLBC_INDEX, code->index);
}

static void enter(const struct record *record) {
    uint64_t frame = made.stack_bottom - made.field[FRAME_SIZE];
    if (frame < STACK)
        return;
    made.stack_bottom = frame;
    put(frame, FRAME_INSTR_PTR, ENTRY_INSTRUCTION);
    push(frame, record->p & 1 ? 4 : 3);
}

static void begin_chunk(uint32_t size) {
    if (made.data_top + size > DATA_END)
        return;
    uint64_t chunk = made.data_top;
    image_write(chunk + CHUNK_PREVIOUS, 8, object(&made.chunks, 0));
    image_write(chunk + CHUNK_SIZE, 8, size);
    put(STATE, THREAD_DATASTACK_CHUNK, chunk);
    add(&made.chunks, chunk);
    made.data_top = chunk + CHUNK_DATA;
    made.chunk_end = chunk + size;
}

static void call(const struct record *record) {
    if (made.chunks.count == 0)
        begin_chunk(2 * PAGE);
    uint64_t frame = made.data_top, end = frame + made.field[FRAME_SIZE];
    if (end > made.chunk_end) {
        begin_chunk(PAGE);
        frame = made.data_top, end = frame + made.field[FRAME_SIZE];
    }
    if (end > made.chunk_end)
        return;
    uint64_t room = 8 * (uint64_t)(record->b & 63);
    made.data_top = end + room < made.chunk_end ? end + room : made.chunk_end;
    run(frame, record);
    push(frame, 0);
}

static void resume(const struct record *record) {
    uint64_t frame = put_in_heap(made.field[FRAME_SIZE]);
    run(frame, record);
    push(frame, 1);
}

static void chunk(const struct record *record) {
    uint64_t begin = made.chunks.count == 0 ? made.data_top : made.chunk_end;
    made.data_top = begin;
    made.chunk_end = begin;
    begin_chunk(256 + 128 * (record->a % 61u));
}

static void build_one(const struct record *record) {
    uint32_t times = 1 + (record->b >> 8 & 31);
    switch (record->kind) {
    case R_CODE:
        make_code(record);
        break;
    case R_ENTER:
        enter(record);
        break;
    case R_CALL:
        while (times-- > 0)
            call(record);
        break;
    case R_RESUME:
        while (times-- > 0)
            resume(record);
        break;
    case R_CHUNK:
        chunk(record);
        break;
    default:
        break;
    }
}

/* --- what an input writes --------------------------------------------------------------------------------- */

static const enum field thread_fields[] = {THREAD_CURRENT_FRAME, THREAD_NATIVE_THREAD_ID, THREAD_DATASTACK_CHUNK,
                                           THREAD_STATUS, THREAD_BASE_FRAME};
static const enum field frame_fields[] = {FRAME_PREVIOUS, FRAME_EXECUTABLE, FRAME_INSTR_PTR, FRAME_OWNER,
                                          FRAME_TLBC_INDEX};
static const enum field code_fields[] = {OBJECT_TYPE,   CODE_UNITS,    CODE_FIRST_LINE,
                                         CODE_FILENAME, CODE_QUALNAME, CODE_TLBC};

static uint64_t field_of(const enum field *fields, size_t count, uint32_t number, uint64_t object, uint32_t *width) {
    enum field chosen = fields[number % count];
    *width = field_width[chosen];
    return object == 0 ? 0 : object + made.field[chosen];
}

#define FIELD_OF(fields, object) field_of(fields, sizeof(fields) / sizeof *(fields), number, object, width)

static uint64_t place_of(const struct record *record, uint32_t *width) {
    uint32_t which = record->a & 0xff, number = record->a >> 8;
    *width = 8;
    switch ((enum place)((record->p & 7) % PLACES)) {
    case AT_THREAD:
        return FIELD_OF(thread_fields, STATE);
    case AT_FRAME:
        return FIELD_OF(frame_fields, object(&made.frames, which));
    case AT_CODE:
        return FIELD_OF(code_fields, object(&made.codes, which));
    case AT_CHUNK:
        return object(&made.chunks, which) + (number & 1 ? CHUNK_SIZE : CHUNK_PREVIOUS);
    case AT_ARRAY:
        return object(&made.arrays, which) + 8 * (uint64_t)(number % (1 + COPIES_MOST));
    default:
        return ARENA + 8 * (uint64_t)record->a;
    }
}

static uint64_t value_of(const struct record *record, uint64_t address, uint32_t width) {
    uint64_t distance = (uint64_t)(int64_t)(int32_t)(uint32_t)record->v, which = record->v >> 32;
    uint64_t old = 0;
    switch ((enum origin)(record->p >> 3 & 7)) {
    case OF_FRAME:
        return object(&made.frames, which) + distance;
    case OF_CODE:
        return object(&made.codes, which) + distance;
    case OF_CHUNK:
        return object(&made.chunks, which) + distance;
    case OF_ARENA:
        return ARENA + record->v % (ARENA_END - ARENA);
    case OF_PROTECTED:
        return PROTECTED + distance;
    case OF_ABSENT:
        return ABSENT + distance;
    case OF_OLD:
        image_read(address, width, &old);
        return old + record->v;
    default:
        return record->v;
    }
}

/* In its place among the others: those of one moment in the order of the input. */
static void schedule(struct image *image, struct event event) {
    uint32_t i = image->event_count++;
    for (; i > 0 && image->events[i - 1].after > event.after; i--)
        image->events[i] = image->events[i - 1];
    image->events[i] = event;
}

static void write_one(struct image *image, const struct record *record) {
    static const uint32_t widths[] = {0, 1, 4, 8};
    if (record->kind == R_DEATH) {
        schedule(image, (struct event){.after = record->b});
        return;
    }
    struct event event = {.after = record->b};
    event.address = place_of(record, &event.width);
    if (record->p >> 6 != 0)
        event.width = widths[record->p >> 6];
    event.value = value_of(record, event.address, event.width);
    if (event.after == 0)
        image_write(event.address, event.width, event.value);
    else
        schedule(image, event);
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void begin(struct image *image, const uint8_t header[HEADER_BYTES]) {
    /* An observer makes up to 64 attempts, so it is asked less often. */
    static const enum look_kind looks[8] = {LOOK_ONCE,  LOOK_TWICE, LOOK_OBSERVE, LOOK_ONCE,
                                            LOOK_TWICE, LOOK_TWICE, LOOK_ONCE,    LOOK_TWICE};
    uint64_t beside;
    memcpy(&beside, header + 8, 8);
    *image = (struct image){.interpreter = &interpreters[header[0] % INTERPRETERS],
                            .look = looks[header[1] % 8],
                            .no_state = header[2] & NO_STATE,
                            .entry_known = header[2] & ENTRY_KNOWN,
                            .no_stack = header[2] & NO_STACK,
                            .max_depth = header[3],
                            .looks_room = header[4],
                            .code_type = HEAP};
    made.interpreter = image->interpreter;
    made.field = image->interpreter->at;
    made.heap_top = STATE;
    made.data_top = DATA;
    made.stack_bottom = STACK_END;
    made.chunk_end = 0;
    made.innermost = 0;
    made.frames.count = made.codes.count = made.chunks.count = made.arrays.count = 0;
    put_in_heap(made.field[THREAD_SIZE]);
    put(STATE, THREAD_NATIVE_THREAD_ID, IMAGE_TID);
    put(STATE, THREAD_STATUS, 1 | STATUS_BOUND | STATUS_ACTIVE);
    if (image->interpreter->has_base_frame) {
        made.innermost = put_in_heap(made.field[FRAME_SIZE]);
        put(STATE, THREAD_BASE_FRAME, made.innermost);
    }
    image->state = STATE + beside;
}

void image_build(struct image *image, const uint8_t *bytes, size_t count) {
    uint8_t header[HEADER_BYTES] = {0};
    take_back();
    memcpy(header, bytes, count < HEADER_BYTES ? count : HEADER_BYTES);
    begin(image, header);
    for (size_t at = HEADER_BYTES; at + RECORD_BYTES <= count; at += RECORD_BYTES) {
        struct record record = read_record(bytes + at);
        build_one(&record);
    }
    put(STATE, THREAD_CURRENT_FRAME, made.innermost);
    for (size_t at = HEADER_BYTES; at + RECORD_BYTES <= count; at += RECORD_BYTES) {
        struct record record = read_record(bytes + at);
        if (record.kind == R_WRITE || record.kind == R_DEATH)
            write_one(image, &record);
    }
}

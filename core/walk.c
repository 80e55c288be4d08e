#include "walk.h"

/* Below this, nothing can be mapped (the kernel's vm.mmap_min_addr). */
#define ADDRESS_LOW 0x10000u

/* The interpreter aligns all that is read here to a pointer's size at least. */
#define POINTER_ALIGNMENT 8
#define ALIGNMENT_BITS 3

/* Limits of what a field can hold; past them it is damaged and would let an address wrap. */
#define LARGEST_CHUNK (UINT64_C(1) << 31)      /* `push_chunk` counts bytes in an int */
#define LARGEST_CODE_UNITS (UINT64_C(1) << 30) /* code lengths in bytes are an int */

/* A walk is a few hundred loads, so their guards must not cost calls: all of it is compiled into its callers, once for
 * guarded loads, where the compiler sees that there is nothing to ask, and once for any reader. */
#define INLINE static inline __attribute__((always_inline))
static const struct reader guarded;

/* Finds out that a sequence of addresses comes back to one it has passed (Brent's algorithm: no memory but this, no
 * window; a circle of n is found within about 3 n more steps than it takes to enter it). */
struct circle {
    uintptr_t passed; /* an address met before */
    uint32_t hops;    /* met since then */
    uint32_t limit;   /* how many until `passed` moves up: doubles each time */
};

INLINE bool comes_back(struct circle *circle, uintptr_t address) {
    if (address == circle->passed)
        return true;
    if (circle->hops++ == circle->limit)
        *circle = (struct circle){.passed = address, .limit = circle->limit * 2 + 1};
    return false;
}

/* Where something of one size can lie: at how many aligned places. */
struct places {
    uint64_t count, size;
};

/* Where the walk is. */
struct cursor {
    uintptr_t chunk;          /* the data-stack chunk that the last frame on the data stack lies in; 0: none met yet */
    uintptr_t chunk_low;      /* where the first frame in it can begin, */
    uint64_t chunk_places;    /* and at how many places from there on a frame can; */
    uintptr_t frame_high;     /* the next one there ends at or below this address */
    uintptr_t stack_low;      /* the next frame on the C stack begins at or above this address */
    struct circle chunks;     /* chunks, and */
    struct circle generators; /* generators' frames: these two may lie anywhere */
    struct places codes, arrays; /* code objects, and their arrays of thread-local bytecode */
    uint64_t executable_bits;    /* those of frame.executable that are address and not tag */
    uint32_t unnoted_frames;
    uint32_t chunks_visited;
    struct walk_frame *shown, *shown_end; /* where the next frame is stored, and the end of the room */
    struct look *look, *last_look;        /* where this frame is noted for a second look, and the last place for one */
    struct look *unnoted;                 /* the only place once there is none left in walk->looks */
};

/* How many aligned places there are in `room` bytes for something of `size` bytes. */
INLINE uint64_t places_in(uint64_t room, uint64_t size) {
    return room < size ? 0 : (room - size) / POINTER_ALIGNMENT + 1;
}

/* Whether the address is one of so many aligned places from `low`, which is aligned, on. One comparison: what is not
 * aligned has a bit set that the rotation makes one of the highest. */
INLINE bool in_place(uintptr_t address, uintptr_t low, uint64_t places) {
    uint64_t distance = address - low;
    uint64_t index = distance >> ALIGNMENT_BITS | distance << (64 - ALIGNMENT_BITS);
    return __builtin_expect(index < places, 1);
}

INLINE enum spprof_reason check_address(uintptr_t address, uint64_t size) {
    if (in_place(address, ADDRESS_LOW, places_in(ADDRESS_HIGH - ADDRESS_LOW, size)))
        return SPPROF_CAPTURED;
    return address < ADDRESS_LOW || address > ADDRESS_HIGH - size ? SPPROF_BOUNDS : SPPROF_ALIGNMENT;
}

/* The same, for what every frame has one of: where it can lie is worked out once a walk. */
INLINE struct places places_for(uint64_t size) {
    return (struct places){.count = places_in(ADDRESS_HIGH - ADDRESS_LOW, size), .size = size};
}

INLINE enum spprof_reason check_place(uintptr_t address, const struct places *places) {
    return in_place(address, ADDRESS_LOW, places->count) ? SPPROF_CAPTURED : check_address(address, places->size);
}

INLINE enum spprof_reason enter_chunk(const struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                      uintptr_t chunk) {
    const struct layout *layout = walk->layout;
    enum spprof_reason reason = check_address(chunk, layout->chunk.data);
    if (reason != SPPROF_CAPTURED)
        return reason;
    uint64_t size;
    if (!load_word(reader, chunk + layout->chunk.size, &size))
        return SPPROF_FAULT;
    if (size < layout->chunk.data || size > LARGEST_CHUNK || size > ADDRESS_HIGH - chunk)
        return SPPROF_BOUNDS;
    cursor->chunk = chunk;
    cursor->chunk_low = chunk + layout->chunk.data;
    cursor->chunk_places = places_in(size - layout->chunk.data, layout->frame.size);
    cursor->frame_high = chunk + size;
    return SPPROF_CAPTURED;
}

/* Goes on with the newest chunk, or with the one before the current one. A stack has no more chunks than frames: past
 * that limit the frame is in none of the thread's. */
INLINE enum spprof_reason next_chunk(const struct walk *walk, const struct reader *reader, struct cursor *cursor) {
    uintptr_t link = cursor->chunk == 0 ? walk->thread_state + walk->layout->thread.datastack_chunk
                                        : cursor->chunk + walk->layout->chunk.previous;
    uint64_t chunk;
    if (!load_link(reader, link, &chunk))
        return SPPROF_FAULT;
    if (chunk != 0 && comes_back(&cursor->chunks, chunk))
        return SPPROF_CYCLE;
    if (cursor->chunks_visited++ == WALK_STEPS)
        return SPPROF_BOUNDS;
    return enter_chunk(walk, reader, cursor, chunk);
}

/* Whether the frame lies in the chunk that the last one was found in, as nearly all do. */
INLINE bool in_chunk(const struct cursor *cursor, uintptr_t frame) {
    return in_place(frame, cursor->chunk_low, cursor->chunk_places);
}

/* A frame on the data stack lies in one of the thread's chunks, below the frames that it called. */
INLINE enum spprof_reason place_on_data_stack(const struct walk *walk, const struct reader *reader,
                                              struct cursor *cursor, uintptr_t frame, bool found) {
    while (__builtin_expect(!found, 0)) {
        enum spprof_reason reason = next_chunk(walk, reader, cursor);
        if (reason != SPPROF_CAPTURED)
            return reason;
        found = in_chunk(cursor, frame);
    }
    if (frame + walk->layout->frame.size > cursor->frame_high)
        return SPPROF_PROGRESS;
    cursor->frame_high = frame;
    return SPPROF_CAPTURED;
}

/* The interpreter's entry frames are variables of its C functions: inside the thread's C stack, the
 * callers' above. Where that stack is not known, none can be placed. */
INLINE enum spprof_reason place_on_c_stack(const struct walk *walk, struct cursor *cursor, uintptr_t frame) {
    uintptr_t end = frame + walk->layout->frame.size;
    if (frame < walk->stack_low || end > walk->stack_high)
        return walk->stack_high != 0 ? SPPROF_BOUNDS : SPPROF_STACK_UNKNOWN;
    if (frame < cursor->stack_low)
        return SPPROF_PROGRESS;
    cursor->stack_low = end;
    return SPPROF_CAPTURED;
}

/* Where the bytecode begins that this frame runs: in the code object, or in a free-threaded build from 3.14 in the copy
 * that belongs to the thread. */
INLINE enum spprof_reason find_bytecode(const struct walk *walk, const struct reader *reader, uintptr_t frame,
                                        uintptr_t code, const struct places *arrays, uintptr_t *bytecode) {
    const struct layout *layout = walk->layout;
    if (layout->code.tlbc == 0) {
        *bytecode = code + layout->code.code_adaptive;
        return SPPROF_CAPTURED;
    }
    uint64_t array, index, count, entry;
    if (!load_link(reader, code + layout->code.tlbc, &array))
        return SPPROF_FAULT;
    enum spprof_reason reason = check_place(array, arrays);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (!load_int(reader, frame + layout->frame.tlbc_index, &index) ||
        !load_word(reader, array + layout->tlbc_array.size, &count))
        return SPPROF_FAULT;
    if (index >= count)
        return SPPROF_CODE_RANGE;
    if (!load_link(reader, array + layout->tlbc_array.entries + 8 * index, &entry))
        return SPPROF_FAULT;
    *bytecode = entry;
    return entry != 0 ? SPPROF_CAPTURED : SPPROF_CODE_RANGE;
}

INLINE enum spprof_reason read_instruction(const struct walk *walk, const struct reader *reader, uintptr_t frame,
                                           uintptr_t code, const struct places *arrays, uint64_t *pointer,
                                           uint32_t *instruction) {
    uint64_t units;
    uintptr_t bytecode;
    enum spprof_reason reason = find_bytecode(walk, reader, frame, code, arrays, &bytecode);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (!load_word(reader, frame + walk->layout->frame.instr_ptr, pointer) ||
        !load_word(reader, code + walk->layout->code.units, &units))
        return SPPROF_FAULT;
    uint64_t distance = *pointer - bytecode;
    uint64_t index = distance >> 1 | distance << 63; /* of an odd distance: past any code's end */
    if (__builtin_expect(index >= units, 0) || __builtin_expect(units > LARGEST_CODE_UNITS, 0))
        return SPPROF_CODE_RANGE;
    *instruction = (uint32_t)index;
    return SPPROF_CAPTURED;
}

/* The interpreter's own code objects (`_Py_InitCleanup`, run when a class is instantiated) have line 0 and one string
 * for file and name; no compiler makes such a code object. Their thread-local bytecode is not kept up, so this is asked
 * before the instruction is. */
INLINE enum spprof_reason is_trampoline(const struct walk *walk, const struct reader *reader, uintptr_t code,
                                        uint64_t first_line, bool *answer) {
    uint64_t filename, qualname;
    *answer = false;
    if (__builtin_expect(first_line != 0, 1))
        return SPPROF_CAPTURED;
    if (!load_word(reader, code + walk->layout->code.filename, &filename) ||
        !load_word(reader, code + walk->layout->code.qualname, &qualname))
        return SPPROF_FAULT;
    *answer = filename == qualname;
    return SPPROF_CAPTURED;
}

/* The present frame is not to be shown. */
INLINE void note_hidden(struct walk *walk, const struct cursor *cursor) {
    if (cursor->look == walk->looks)
        walk->top_hidden = true;
}

/* Reads what a Python frame runs and stores it, unless it is a trampoline or the store is full. A trampoline's instruction
 * is read for the second look alone. */
INLINE enum spprof_reason read_frame(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                     uintptr_t frame) {
    const struct layout *layout = walk->layout;
    struct look *look = cursor->look;
    uint64_t type, first_line;
    if (!load_link(reader, frame + layout->frame.executable, &look->executable))
        return SPPROF_FAULT;
    uintptr_t code = look->executable & cursor->executable_bits;
    enum spprof_reason reason = check_place(code, &cursor->codes);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (!load_word(reader, code + layout->object_type, &type))
        return SPPROF_FAULT;
    if (type != walk->code_type)
        return SPPROF_TYPE;
    if (!load_int(reader, code + layout->code.first_line, &first_line))
        return SPPROF_FAULT;
    bool trampoline;
    reason = is_trampoline(walk, reader, code, first_line, &trampoline);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (trampoline) {
        note_hidden(walk, cursor);
        return load_word(reader, frame + layout->frame.instr_ptr, &look->instr_ptr) ? SPPROF_CAPTURED : SPPROF_FAULT;
    }
    uint32_t instruction;
    reason = read_instruction(walk, reader, frame, code, &cursor->arrays, &look->instr_ptr, &instruction);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (cursor->shown == cursor->shown_end) {
        walk->flags |= SPPROF_SAMPLE_TRUNCATED;
        return SPPROF_CAPTURED;
    }
    *cursor->shown++ = (struct walk_frame){.code = code, .instruction = instruction, .first_line = (int32_t)first_line};
    return SPPROF_CAPTURED;
}

/* The interpreter's own frames all stand at one instruction, which no code object has. What else is in their place on
 * the C stack does not. */
INLINE enum spprof_reason read_entry_frame(const struct walk *walk, const struct reader *reader, struct look *look,
                                           uintptr_t frame) {
    if (!load_word(reader, frame + walk->layout->frame.instr_ptr, &look->instr_ptr) ||
        !load_word(reader, frame + walk->layout->frame.executable, &look->executable))
        return SPPROF_FAULT;
    bool known = walk->entry_instr_ptr == 0 || look->instr_ptr == walk->entry_instr_ptr;
    return known ? SPPROF_CAPTURED : SPPROF_OWNER;
}

/* Where a frame that is not on the data stack lies, and what it runs. */
INLINE enum spprof_reason visit_elsewhere(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                          uintptr_t frame, uint64_t owner, bool *entry) {
    *entry = owner == OWNED_BY_INTERPRETER || owner == OWNED_BY_CSTACK;
    if (!*entry && owner != OWNED_BY_GENERATOR)
        return SPPROF_OWNER;
    if (!*entry)
        return comes_back(&cursor->generators, frame) ? SPPROF_CYCLE : read_frame(walk, reader, cursor, frame);
    note_hidden(walk, cursor);
    enum spprof_reason reason = place_on_c_stack(walk, cursor, frame);
    return reason == SPPROF_CAPTURED ? read_entry_frame(walk, reader, cursor->look, frame) : reason;
}

/* One frame of the chain: where it lies, and what it runs. `entry` says whether it is the interpreter's own. */
INLINE enum spprof_reason visit_frame(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                      uintptr_t frame, bool *entry) {
    bool found = in_chunk(cursor, frame); /* the chunk's own address has been checked */
    enum spprof_reason reason = SPPROF_CAPTURED;
    if (__builtin_expect(!found, 0))
        reason = frame == 0 ? SPPROF_INCOMPLETE : check_address(frame, walk->layout->frame.size);
    if (reason != SPPROF_CAPTURED)
        return reason;
    uint64_t owner;
    if (!load_byte(reader, frame + walk->layout->frame.owner, &owner))
        return SPPROF_FAULT;
    if (__builtin_expect(owner != OWNED_BY_THREAD, 0))
        return visit_elsewhere(walk, reader, cursor, frame, owner, entry);
    *entry = false;
    reason = place_on_data_stack(walk, reader, cursor, frame, found);
    return reason == SPPROF_CAPTURED ? read_frame(walk, reader, cursor, frame) : reason;
}

/* Goes on to the caller, whose address the next look has already, where the walk has noted as much as it can. False: no
 * more frames are visited. */
INLINE bool go_on_unnoted(struct walk *walk, struct cursor *cursor) {
    if (cursor->look != cursor->unnoted)
        walk->looks_count = walk->looks_room - 1;
    cursor->look = cursor->last_look = cursor->unnoted;
    return ++cursor->unnoted_frames < WALK_STEPS;
}

/* Follows the chain from `frame` to its end. The end is the thread's root: the sentinel `root` where the version has
 * one, else a last frame that is the interpreter's own, which place_on_c_stack has found on this thread's C stack. */
INLINE enum spprof_reason follow_chain(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                       uintptr_t frame, uintptr_t root) {
    bool entry = true; /* a thread without Python frames has nothing above its root */
    cursor->look->frame = frame;
    while (frame != root) {
        enum spprof_reason reason = visit_frame(walk, reader, cursor, frame, &entry);
        if (reason != SPPROF_CAPTURED)
            return reason;
        if (!load_link(reader, frame + walk->layout->frame.previous, &cursor->look[1].frame))
            return SPPROF_FAULT;
        frame = cursor->look[1].frame;
        if (__builtin_expect(cursor->look != cursor->last_look, 1))
            cursor->look++;
        else if (!go_on_unnoted(walk, cursor) && frame != root) {
            walk->flags |= SPPROF_SAMPLE_TRUNCATED;
            return SPPROF_CAPTURED;
        }
    }
    return entry ? SPPROF_CAPTURED : SPPROF_INCOMPLETE;
}

INLINE enum spprof_reason walk_chain(struct walk *walk, const struct reader *reader, uintptr_t frame, uintptr_t root) {
    struct look unnoted[2];
    struct cursor cursor = {
        .stack_low = walk->stack_low,
        .executable_bits = ~walk->layout->executable_tag_mask,
        .codes = places_for(walk->layout->code.size),
        .arrays = places_for(walk->layout->tlbc_array.entries),
        .shown = walk->frames,
        .shown_end = walk->frames + walk->max_depth,
        .look = unnoted,
        .last_look = unnoted,
        .unnoted = unnoted,
    };
    if (walk->looks_room >= 2) {
        cursor.look = walk->looks;
        cursor.last_look = walk->looks + walk->looks_room - 2;
    }
    enum spprof_reason reason = follow_chain(walk, reader, &cursor, frame, root);
    walk->depth = (uint32_t)(cursor.shown - walk->frames);
    if (cursor.last_look != cursor.unnoted)
        walk->looks_count = (uint32_t)(cursor.look - walk->looks);
    return reason;
}

/* Whether the state is bound to the thread that it is thought to be of, and whether that thread is attached. */
INLINE enum spprof_reason check_thread_state(struct walk *walk, const struct reader *reader) {
    const struct layout *layout = walk->layout;
    if (walk->thread_state == 0)
        return SPPROF_NO_THREAD_STATE;
    enum spprof_reason reason = check_address(walk->thread_state, layout->thread.size);
    if (reason != SPPROF_CAPTURED)
        return reason;
    uint64_t tid, status;
    if (!load_word(reader, walk->thread_state + layout->thread.native_thread_id, &tid) ||
        !load_int(reader, walk->thread_state + layout->thread.status, &status))
        return SPPROF_FAULT;
    if (tid != walk->tid || !(status & layout->thread.status_bound) || (status & layout->thread.status_unbound))
        return SPPROF_DETACHED;
    if (!(status & layout->thread.status_active))
        walk->flags |= SPPROF_SAMPLE_DETACHED;
    return SPPROF_CAPTURED;
}

INLINE enum spprof_reason walk_through(struct walk *walk, const struct reader *reader) {
    const struct layout *layout = walk->layout;
    walk->depth = 0;
    walk->flags = 0;
    walk->looks_count = 0;
    walk->top_hidden = false;
    enum spprof_reason reason = check_thread_state(walk, reader);
    if (reason != SPPROF_CAPTURED)
        return reason;
    uint64_t frame, root = 0;
    if (!load_link(reader, walk->thread_state + layout->thread.current_frame, &frame))
        return SPPROF_FAULT;
    if (layout->thread.base_frame != 0) {
        if (!load_word(reader, walk->thread_state + layout->thread.base_frame, &root))
            return SPPROF_FAULT;
        if (root == 0)
            return SPPROF_INCOMPLETE;
    }
    return walk_chain(walk, reader, frame, root);
}

enum spprof_reason walk_thread(struct walk *walk) {
    return walk->reader.through == NULL ? walk_through(walk, &guarded) : walk_through(walk, &walk->reader);
}

INLINE bool still(const struct reader *reader, uintptr_t address, const uint64_t *value) {
    uint64_t now;
    return load_link(reader, address, &now) && now == *value;
}

/* The innermost frame runs on while it is looked at. Where it is one that is shown, its present instruction counts. */
INLINE enum spprof_reason look_again_at_top(const struct walk *walk, const struct reader *reader) {
    const struct look *top = &walk->looks[0];
    uint64_t current, pointer;
    if (!load_link(reader, walk->thread_state + walk->layout->thread.current_frame, &current))
        return SPPROF_FAULT;
    if (walk->looks_count == 0)
        return SPPROF_CAPTURED;
    if (current != top->frame)
        return SPPROF_TORN;
    uintptr_t code = top->executable & ~walk->layout->executable_tag_mask;
    if (walk->depth > 0 && !walk->top_hidden) {
        const struct places arrays = places_for(walk->layout->tlbc_array.entries);
        enum spprof_reason reason =
            read_instruction(walk, reader, top->frame, code, &arrays, &pointer, &walk->frames[0].instruction);
        if (reason != SPPROF_CAPTURED)
            return reason;
    }
    bool stands = still(reader, top->frame + walk->layout->frame.executable, &top->executable) &&
                  still(reader, top->frame + walk->layout->frame.previous, &top[1].frame);
    return stands ? SPPROF_CAPTURED : SPPROF_TORN;
}

/* The frames that wait for the one that they called: nothing of them moves. */
INLINE bool others_stand(const struct walk *walk, const struct reader *reader) {
    const uint64_t executable = walk->layout->frame.executable, previous = walk->layout->frame.previous,
                   instr_ptr = walk->layout->frame.instr_ptr;
    const struct look *end = walk->looks + walk->looks_count;
    for (const struct look *look = walk->looks + 1; look < end; look++)
        if (!still(reader, look->frame + executable, &look->executable) ||
            !still(reader, look->frame + previous, &look[1].frame) ||
            !still(reader, look->frame + instr_ptr, &look->instr_ptr))
            return false;
    return true;
}

INLINE enum spprof_reason confirm_through(struct walk *walk, const struct reader *reader) {
    enum spprof_reason reason = look_again_at_top(walk, reader);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (!others_stand(walk, reader))
        return SPPROF_TORN;
    walk->flags &= ~(uint32_t)SPPROF_SAMPLE_DETACHED;
    return check_thread_state(walk, reader);
}

enum spprof_reason walk_confirm(struct walk *walk) {
    return walk->reader.through == NULL ? confirm_through(walk, &guarded) : confirm_through(walk, &walk->reader);
}

uintptr_t walk_find_entry_instr_ptr(const struct walk *walk) {
    const struct layout *layout = walk->layout;
    uint64_t frame, owner, instr_ptr;
    if (!load_link(&walk->reader, walk->thread_state + layout->thread.current_frame, &frame))
        return 0;
    for (uint32_t i = 0; i < WALK_STEPS && frame != 0; i++) {
        if (!load_byte(&walk->reader, frame + layout->frame.owner, &owner))
            return 0;
        bool entry = owner == OWNED_BY_INTERPRETER || owner == OWNED_BY_CSTACK;
        if (entry)
            return load_word(&walk->reader, frame + layout->frame.instr_ptr, &instr_ptr) ? instr_ptr : 0;
        if (!load_link(&walk->reader, frame + layout->frame.previous, &frame))
            return 0;
    }
    return 0;
}

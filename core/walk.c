#include "walk.h"

/* User-space addresses. Below the first, nothing can be mapped (the kernel's vm.mmap_min_addr); the second is the first
 * that no program gets without asking for it: 47 bits on x86-64, up to 52 on aarch64. */
#define ADDRESS_LOW 0x10000u
#if defined(__aarch64__)
#define ADDRESS_HIGH (UINT64_C(1) << 52)
#else
#define ADDRESS_HIGH (UINT64_C(1) << 47)
#endif

/* The interpreter aligns all that is read here to a pointer's size at least. */
#define POINTER_ALIGNMENT 8

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

/* Where the walk is. */
struct cursor {
    uintptr_t chunk;          /* the data-stack chunk that the last frame on the data stack lies in; 0: none met yet */
    uintptr_t chunk_low;      /* frames in it begin at or above this address ... */
    uintptr_t chunk_high;     /* ... and end at or below this one; */
    uintptr_t frame_high;     /* the next one there ends at or below this one */
    uintptr_t stack_low;      /* the next frame on the C stack begins at or above this address */
    struct circle chunks;     /* chunks, and */
    struct circle generators; /* generators' frames: these two may lie anywhere */
    uint32_t frames_visited;
    uint32_t chunks_visited;
    struct walk_frame *shown, *shown_end; /* where the next frame is stored, and the end of the room */
    struct look *look, *look_end;         /* where the next frame is noted for a second look */
};

INLINE enum spprof_reason check_address(uintptr_t address, uint64_t size) {
    if (address < ADDRESS_LOW || address > ADDRESS_HIGH - size)
        return SPPROF_BOUNDS;
    if (address % POINTER_ALIGNMENT != 0)
        return SPPROF_ALIGNMENT;
    return SPPROF_CAPTURED;
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
    if (size < layout->chunk.data || size > LARGEST_CHUNK)
        return SPPROF_BOUNDS;
    cursor->chunk = chunk;
    cursor->chunk_low = chunk + layout->chunk.data;
    cursor->chunk_high = cursor->frame_high = chunk + size;
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

/* A frame on the data stack lies in one of the thread's chunks, below the frames that it called. */
INLINE enum spprof_reason place_on_data_stack(const struct walk *walk, const struct reader *reader,
                                              struct cursor *cursor, uintptr_t frame) {
    uintptr_t end = frame + walk->layout->frame.size;
    while (cursor->chunk == 0 || frame < cursor->chunk_low || end > cursor->chunk_high) {
        enum spprof_reason reason = next_chunk(walk, reader, cursor);
        if (reason != SPPROF_CAPTURED)
            return reason;
    }
    if (end > cursor->frame_high)
        return SPPROF_PROGRESS;
    cursor->frame_high = frame;
    return SPPROF_CAPTURED;
}

/* The interpreter's entry frames are variables of its C functions: inside the thread's C stack, the callers' above. */
INLINE enum spprof_reason place_on_c_stack(const struct walk *walk, struct cursor *cursor, uintptr_t frame) {
    uintptr_t end = frame + walk->layout->frame.size;
    if (frame < walk->stack_low || end > walk->stack_high)
        return SPPROF_BOUNDS;
    if (frame < cursor->stack_low)
        return SPPROF_PROGRESS;
    cursor->stack_low = end;
    return SPPROF_CAPTURED;
}

/* Where the bytecode begins that this frame runs: in the code object, or in a free-threaded build from 3.14 in the copy
 * that belongs to the thread. */
INLINE enum spprof_reason find_bytecode(const struct walk *walk, const struct reader *reader, uintptr_t frame,
                                        uintptr_t code, uintptr_t *bytecode) {
    const struct layout *layout = walk->layout;
    if (layout->code.tlbc == 0) {
        *bytecode = code + layout->code.code_adaptive;
        return SPPROF_CAPTURED;
    }
    uint64_t array, index, count, entry;
    if (!load_link(reader, code + layout->code.tlbc, &array))
        return SPPROF_FAULT;
    enum spprof_reason reason = check_address(array, layout->tlbc_array.entries);
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
                                           uintptr_t code, uint64_t *pointer, uint32_t *instruction) {
    uint64_t units;
    uintptr_t bytecode;
    enum spprof_reason reason = find_bytecode(walk, reader, frame, code, &bytecode);
    if (reason != SPPROF_CAPTURED)
        return reason;
    if (!load_word(reader, frame + walk->layout->frame.instr_ptr, pointer) ||
        !load_word(reader, code + walk->layout->code.units, &units))
        return SPPROF_FAULT;
    uint64_t distance = *pointer - bytecode;
    if (units > LARGEST_CODE_UNITS || distance >= 2 * units || distance % 2 != 0)
        return SPPROF_CODE_RANGE;
    *instruction = (uint32_t)(distance / 2);
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

/* Reads what a Python frame runs and stores it, unless it is a trampoline or the store is full. */
INLINE enum spprof_reason read_frame(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                     struct look *look) {
    const struct layout *layout = walk->layout;
    uint64_t type, first_line;
    if (!load_link(reader, look->frame + layout->frame.executable, &look->executable))
        return SPPROF_FAULT;
    uintptr_t code = look->executable & ~layout->executable_tag_mask;
    enum spprof_reason reason = check_address(code, layout->code.size);
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
    if (reason != SPPROF_CAPTURED || trampoline)
        return reason;
    uint32_t instruction;
    reason = read_instruction(walk, reader, look->frame, code, &look->instr_ptr, &instruction);
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
INLINE enum spprof_reason read_entry_frame(const struct walk *walk, const struct reader *reader, struct look *look) {
    if (!load_word(reader, look->frame + walk->layout->frame.instr_ptr, &look->instr_ptr) ||
        !load_word(reader, look->frame + walk->layout->frame.executable, &look->executable))
        return SPPROF_FAULT;
    bool known = walk->entry_instr_ptr == 0 || look->instr_ptr == walk->entry_instr_ptr;
    return known ? SPPROF_CAPTURED : SPPROF_OWNER;
}

/* One frame of the chain: where it lies, and what it runs. `entry` says whether it is the interpreter's own. */
INLINE enum spprof_reason visit_frame(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                      struct look *look, bool *entry) {
    enum spprof_reason reason = check_address(look->frame, walk->layout->frame.size);
    if (reason != SPPROF_CAPTURED)
        return reason;
    uint64_t owner;
    if (!load_byte(reader, look->frame + walk->layout->frame.owner, &owner))
        return SPPROF_FAULT;
    *entry = owner == OWNED_BY_INTERPRETER || owner == OWNED_BY_CSTACK;
    if (*entry)
        reason = place_on_c_stack(walk, cursor, look->frame);
    else if (owner == OWNED_BY_THREAD)
        reason = place_on_data_stack(walk, reader, cursor, look->frame);
    else if (owner == OWNED_BY_GENERATOR)
        reason = comes_back(&cursor->generators, look->frame) ? SPPROF_CYCLE : SPPROF_CAPTURED;
    else
        return SPPROF_OWNER;
    if (reason != SPPROF_CAPTURED)
        return reason;
    return *entry ? read_entry_frame(walk, reader, look) : read_frame(walk, reader, cursor, look);
}

/* Follows the chain from `frame` to its end. The end is the thread's root: the sentinel `root` where the version has
 * one, else a last frame that is the interpreter's own, which place_on_c_stack has found on this thread's C stack. */
INLINE enum spprof_reason follow_chain(struct walk *walk, const struct reader *reader, struct cursor *cursor,
                                       uintptr_t frame, uintptr_t root) {
    struct look unnoted;
    bool entry = true; /* a thread without Python frames has nothing above its root */
    while (frame != 0 && frame != root) {
        if (cursor->frames_visited++ == WALK_STEPS) {
            walk->flags |= SPPROF_SAMPLE_TRUNCATED;
            return SPPROF_CAPTURED;
        }
        struct look *look = cursor->look != cursor->look_end ? cursor->look++ : &unnoted;
        look->frame = frame;
        look->instr_ptr = 0; /* a trampoline's is not looked at */
        enum spprof_reason reason = visit_frame(walk, reader, cursor, look, &entry);
        if (reason != SPPROF_CAPTURED)
            return reason;
        if (!load_link(reader, frame + walk->layout->frame.previous, &look->caller))
            return SPPROF_FAULT;
        frame = look->caller;
    }
    return frame == root && entry ? SPPROF_CAPTURED : SPPROF_INCOMPLETE;
}

INLINE enum spprof_reason walk_chain(struct walk *walk, const struct reader *reader, uintptr_t frame, uintptr_t root) {
    struct cursor cursor = {
        .stack_low = walk->stack_low,
        .shown = walk->frames,
        .shown_end = walk->frames + walk->max_depth,
        .look = walk->looks,
        .look_end = walk->looks + walk->looks_room,
    };
    enum spprof_reason reason = follow_chain(walk, reader, &cursor, frame, root);
    walk->depth = (uint32_t)(cursor.shown - walk->frames);
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

INLINE bool still(const struct reader *reader, uintptr_t address, uint64_t value) {
    uint64_t now;
    return load_link(reader, address, &now) && now == value;
}

INLINE bool frame_stands(const struct walk *walk, const struct reader *reader, const struct look *look) {
    const struct layout *layout = walk->layout;
    return still(reader, look->frame + layout->frame.executable, look->executable) &&
           still(reader, look->frame + layout->frame.previous, look->caller);
}

/* The innermost frame runs on while it is looked at. Where it is one that is shown, its present instruction counts. */
INLINE enum spprof_reason renew_instruction(struct walk *walk, const struct reader *reader) {
    const struct look *top = &walk->looks[0];
    uintptr_t code = top->executable & ~walk->layout->executable_tag_mask;
    if (walk->depth == 0 || walk->frames[0].code != code || top->instr_ptr == 0)
        return SPPROF_CAPTURED;
    uint64_t pointer;
    return read_instruction(walk, reader, top->frame, code, &pointer, &walk->frames[0].instruction);
}

INLINE enum spprof_reason confirm_through(struct walk *walk, const struct reader *reader) {
    const struct layout *layout = walk->layout;
    uint64_t current;
    if (!load_link(reader, walk->thread_state + layout->thread.current_frame, &current))
        return SPPROF_FAULT;
    if (walk->looks_count > 0 && current != walk->looks[0].frame)
        return SPPROF_TORN;
    if (walk->looks_count > 0) {
        enum spprof_reason reason = renew_instruction(walk, reader);
        if (reason != SPPROF_CAPTURED)
            return reason;
    }
    for (uint32_t i = 0; i < walk->looks_count; i++) {
        const struct look *look = &walk->looks[i];
        bool suspended = i > 0;
        if (!frame_stands(walk, reader, look) ||
            (suspended && look->instr_ptr != 0 &&
             !still(reader, look->frame + layout->frame.instr_ptr, look->instr_ptr)))
            return SPPROF_TORN;
    }
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

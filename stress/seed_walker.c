/* The plain seed walk, as a walker to be judged: range, alignment, type, and a window of the last 8 frames against
 * cycles. What was read before a bad hop is returned as if it were the stack. That is what is wrong with it, and why the
 * harness must show it. Its loads are guarded, so that it lives to be judged. */
#include "walker.h"

#include "load.h"

#define WINDOW 8

const char walker_name[] = "seed";

bool walker_recover(void *ucontext) { return load_recover(ucontext); }

static const struct reader direct;

static bool plausible(uint64_t address) {
    return address >= 0x10000 && address < UINT64_C(1) << 47 && address % 8 == 0;
}

static bool in_window(const uint64_t window[WINDOW], uint64_t frame) {
    for (int i = 0; i < WINDOW; i++)
        if (window[i] == frame)
            return true;
    return false;
}

/* 0 where it cannot be told: this walk takes whatever it finds. */
static uint64_t bytecode_of(const struct layout *layout, uint64_t frame, uint64_t code) {
    uint64_t array, index, entry;
    if (layout->code.tlbc == 0)
        return code + layout->code.code_adaptive;
    if (!load_word(&direct, code + layout->code.tlbc, &array) || !plausible(array) ||
        !load_int(&direct, frame + layout->frame.tlbc_index, &index) ||
        !load_word(&direct, array + layout->tlbc_array.entries + 8 * index, &entry))
        return 0;
    return entry;
}

/* False: the chain is followed no further. *shown: the frame is one of the program's. */
static bool read_frame(const struct walker_target *target, uint64_t frame, struct walker_frame *into, bool *shown) {
    const struct layout *layout = target->layout;
    uint64_t owner, executable, type, first_line, pointer;
    *shown = false;
    if (!load_byte(&direct, frame + layout->frame.owner, &owner))
        return false;
    if (owner >= OWNED_BY_INTERPRETER)
        return true;
    if (!load_word(&direct, frame + layout->frame.executable, &executable))
        return false;
    uint64_t code = executable & ~layout->executable_tag_mask;
    if (!plausible(code) || !load_word(&direct, code + layout->object_type, &type) || type != target->code_type)
        return false;
    if (!load_int(&direct, code + layout->code.first_line, &first_line) ||
        !load_word(&direct, frame + layout->frame.instr_ptr, &pointer))
        return false;
    *into = (struct walker_frame){code, (uint32_t)((pointer - bytecode_of(layout, frame, code)) / 2)};
    *shown = first_line != 0; /* 0: the interpreter's own trampoline, which no honest table should count */
    return true;
}

int walker_walk(const struct walker_target *target, struct walker_frame *frames, int room) {
    uint64_t window[WINDOW] = {0}, frame;
    int depth = 0;
    bool shown;
    if (!load_word(&direct, target->thread_state + target->layout->thread.current_frame, &frame))
        return -SPPROF_FAULT;
    for (int step = 0; depth < room && plausible(frame) && !in_window(window, frame); step++) {
        window[step % WINDOW] = frame;
        if (!read_frame(target, frame, &frames[depth], &shown))
            break;
        depth += shown;
        if (!load_word(&direct, frame + target->layout->frame.previous, &frame))
            break;
    }
    return depth;
}

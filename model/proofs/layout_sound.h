/* What layout_read promises of a layout that it accepts, and all that the proofs of the walk assume of one. */
#ifndef SPPROF_LAYOUT_SOUND_H
#define SPPROF_LAYOUT_SOUND_H

#include "layout.h"

static inline bool within(uint32_t offset, uint32_t size, uint32_t width) {
    return offset % width == 0 && offset <= size && size - offset >= width;
}

/* Sizes are at most 16 MiB, and each field lies whole and aligned in its structure. */
static inline bool layout_is_sound(const struct layout *layout) {
    uint32_t most = 1u << 24;
    bool sizes = layout->interpreter.size <= most && layout->thread.size <= most && layout->frame.size <= most &&
                 layout->code.size <= most && layout->frame.size >= 48 && layout->thread.size >= 64 &&
                 layout->code.size >= 64;
    bool interpreter = layout->runtime.interpreters_head % 8 == 0 && layout->runtime.interpreters_head < most &&
                       within(layout->interpreter.next, layout->interpreter.size, 8) &&
                       within(layout->interpreter.threads_head, layout->interpreter.size, 8);
    bool thread = within(layout->thread.next, layout->thread.size, 8) &&
                  within(layout->thread.interpreter, layout->thread.size, 8) &&
                  within(layout->thread.current_frame, layout->thread.size, 8) &&
                  within(layout->thread.base_frame, layout->thread.size, 8) &&
                  within(layout->thread.thread_id, layout->thread.size, 8) &&
                  within(layout->thread.native_thread_id, layout->thread.size, 8) &&
                  within(layout->thread.datastack_chunk, layout->thread.size, 8) &&
                  within(layout->thread.status, layout->thread.size, 4) && layout->thread.status_bound == 2 &&
                  layout->thread.status_unbound == 4 && layout->thread.status_active == 16;
    bool chunk = layout->chunk.previous == 0 && layout->chunk.size == 8 && layout->chunk.data == 24;
    bool frame = within(layout->frame.previous, layout->frame.size, 8) &&
                 within(layout->frame.executable, layout->frame.size, 8) &&
                 within(layout->frame.instr_ptr, layout->frame.size, 8) &&
                 within(layout->frame.owner, layout->frame.size, 1) &&
                 within(layout->frame.tlbc_index, layout->frame.size, 4);
    bool code = within(layout->code.filename, layout->code.size, 8) &&
                within(layout->code.qualname, layout->code.size, 8) &&
                within(layout->code.first_line, layout->code.size, 4) &&
                within(layout->code.code_adaptive, layout->code.size, 1) &&
                within(layout->code.tlbc, layout->code.size, 8) && layout->code.units % 8 == 0 &&
                layout->code.units < most && layout->object_type % 8 == 0 && layout->object_type < most;
    bool array = layout->tlbc_array.size == 0 && layout->tlbc_array.entries == 8 &&
                 (layout->executable_tag_mask == 0 || layout->executable_tag_mask == 3);
    bool version = layout->version >= 0x030d && layout->version <= 0x030f &&
                   (layout->version == 0x030f) == (layout->thread.base_frame != 0) &&
                   (layout->free_threaded && layout->version >= 0x030e) == (layout->code.tlbc != 0);
    return sizes && interpreter && thread && chunk && frame && code && array && version;
}

#endif

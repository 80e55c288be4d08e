/* What layout_read promises of a layout that it accepts, and all that the proofs of the walk assume of one. */
#ifndef SPPROF_LAYOUT_SOUND_H
#define SPPROF_LAYOUT_SOUND_H

#include "layout.h"

#define LARGEST (1u << 24) /* no structure is larger */

static inline bool in_size(uint32_t size, uint32_t least) { return size >= least && size <= LARGEST; }

/* In a structure whose size the layout does not keep. */
static inline bool below(uint32_t offset) { return (offset & 7) == 0 && offset < LARGEST; }

static inline bool within(uint32_t offset, uint32_t size, uint32_t width) {
    return (offset & (width - 1)) == 0 && offset <= size && size - offset >= width;
}

/* X(NAME, CONDITION): one each, because a solver takes one at a time more easily than all. */
#define LAYOUT_CONDITIONS(X)                                                                                           \
    X(interpreter_size, in_size(layout->interpreter.size, 64))                                                         \
    X(thread_size, in_size(layout->thread.size, 64))                                                                   \
    X(frame_size, in_size(layout->frame.size, 48))                                                                     \
    X(code_size, in_size(layout->code.size, 64))                                                                       \
    X(interpreters_head, below(layout->runtime.interpreters_head))                                                     \
    X(code_units, below(layout->code.units))                                                                           \
    X(object_type, below(layout->object_type))                                                                         \
    X(interpreter_next, within(layout->interpreter.next, layout->interpreter.size, 8))                                 \
    X(interpreter_threads_head, within(layout->interpreter.threads_head, layout->interpreter.size, 8))                 \
    X(thread_next, within(layout->thread.next, layout->thread.size, 8))                                                \
    X(thread_interpreter, within(layout->thread.interpreter, layout->thread.size, 8))                                  \
    X(thread_current_frame, within(layout->thread.current_frame, layout->thread.size, 8))                              \
    X(thread_base_frame, within(layout->thread.base_frame, layout->thread.size, 8))                                    \
    X(thread_thread_id, within(layout->thread.thread_id, layout->thread.size, 8))                                      \
    X(thread_native_thread_id, within(layout->thread.native_thread_id, layout->thread.size, 8))                        \
    X(thread_datastack_chunk, within(layout->thread.datastack_chunk, layout->thread.size, 8))                          \
    X(thread_status, within(layout->thread.status, layout->thread.size, 4))                                            \
    X(frame_previous, within(layout->frame.previous, layout->frame.size, 8))                                           \
    X(frame_executable, within(layout->frame.executable, layout->frame.size, 8))                                       \
    X(frame_instr_ptr, within(layout->frame.instr_ptr, layout->frame.size, 8))                                         \
    X(frame_owner, within(layout->frame.owner, layout->frame.size, 1))                                                 \
    X(frame_tlbc_index, within(layout->frame.tlbc_index, layout->frame.size, 4))                                       \
    X(code_filename, within(layout->code.filename, layout->code.size, 8))                                              \
    X(code_qualname, within(layout->code.qualname, layout->code.size, 8))                                              \
    X(code_tlbc, within(layout->code.tlbc, layout->code.size, 8))                                                      \
    X(code_first_line, within(layout->code.first_line, layout->code.size, 4))                                          \
    X(code_code_adaptive, within(layout->code.code_adaptive, layout->code.size, 1))                                    \
    X(status_bits,                                                                                                     \
      layout->thread.status_bound == 2 && layout->thread.status_unbound == 4 && layout->thread.status_active == 16)    \
    X(chunk, layout->chunk.previous == 0 && layout->chunk.size == 8 && layout->chunk.data == 24)                       \
    X(tlbc_array, layout->tlbc_array.size == 0 && layout->tlbc_array.entries == 8)                                     \
    X(tag, layout->executable_tag_mask == 0 || layout->executable_tag_mask == 3)                                       \
    X(version, layout->version >= 0x030d && layout->version <= 0x030f)                                                 \
    X(root, (layout->version == 0x030f) == (layout->thread.base_frame != 0))                                           \
    X(tlbc, (layout->free_threaded && layout->version >= 0x030e) == (layout->code.tlbc != 0))

static inline bool layout_is_sound(const struct layout *layout) {
#define AND(name, condition) &&(condition)
    return true LAYOUT_CONDITIONS(AND);
}

#endif

/* The speculative walk of one thread's frame chain.
 *
 * Reads memory only through guarded loads (load.h), writes only into its `struct walk`, and gives one verdict: a whole
 * stack (SPPROF_CAPTURED) or one reason, never part of a stack as if it were whole. It always ends: frames on the data
 * stack fall within their chunk, frames on the C stack rise, and what may lie anywhere, chunks and generators' frames, is
 * watched for a cycle; at most WALK_STEPS frames, besides those that are noted for a second look, and as many chunks are
 * visited. Async-signal-safe, takes no lock.
 */
#ifndef SPPROF_WALK_H
#define SPPROF_WALK_H

#include "layout.h"
#include "load.h"
#include "spprof.h"

/* Frames that one walk visits without noting them, and data-stack chunks, at most. A deeper stack is truncated. */
#ifndef WALK_STEPS /* a proof takes a few */
#define WALK_STEPS 65536
#endif

/* A frame as the walk stores it. */
struct walk_frame {
    uint64_t code;        /* the code object's address, tag removed */
    uint32_t instruction; /* index in code units */
    int32_t first_line;
};

/* What a walk went by at one frame: words that must still be so at a second look. The next look holds the caller's. */
struct look {
    uint64_t frame;
    uint64_t executable;
    uint64_t instr_ptr;
};

struct walk {
    /* Set by the caller. */
    const struct layout *layout;
    struct reader reader;
    uintptr_t code_type;       /* &PyCode_Type */
    uintptr_t thread_state;    /* whose chain */
    uint64_t tid;              /* the kernel's id of the thread that the state must be bound to */
    uintptr_t stack_low;       /* the thread's C stack: lowest address in use ... */
    uintptr_t stack_high;      /* ... and the first one past its end; both 0: not known */
    struct walk_frame *frames; /* room for max_depth */
    uint32_t max_depth;
    uintptr_t entry_instr_ptr; /* the instruction pointer of the interpreter's own frames; 0: not known */
    struct look *looks;        /* for walk_confirm; or NULL */
    uint32_t looks_room;       /* how many there is room for: the last holds only a caller's address */

    /* Set by the walk; meant only where it returns SPPROF_CAPTURED. */
    uint32_t depth; /* frames stored, innermost first */
    uint32_t flags; /* enum spprof_sample_flag */
    uint32_t looks_count;
    bool top_hidden; /* the innermost frame is noted and not stored: the interpreter's own, or a trampoline */
};

/* Walks walk->thread_state's chain. `detached` and `no_thread_state` speak of the state, all else of the chain. */
enum spprof_reason walk_thread(struct walk *walk);

/* The second look, after a walk_thread with `looks` that captured: SPPROF_CAPTURED where nothing has changed but the
 * innermost frame's instruction, which is then the present one, else `torn` or the reason met. */
enum spprof_reason walk_confirm(struct walk *walk);

/* The instruction pointer of the interpreter's own frames, from the calling thread's chain; 0 where it has none. */
uintptr_t walk_find_entry_instr_ptr(const struct walk *walk);

#endif

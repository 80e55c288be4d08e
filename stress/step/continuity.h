/* The oracle of `ninja step`: what one machine instruction can do to a stack. Shares no code with the walk.
 *
 * A stack changes when the interpreter stores `current_frame` of the thread state, so it changes by one frame at a time
 * unless one store links or unlinks several frames. Where CPython 3.13 and 3.14 do that, and what is seen of it:
 *
 * - `_CREATE_INIT_FRAME` with `_PUSH_FRAME` (3.13: `CALL_ALLOC_AND_ENTER_INIT`; Python/bytecodes.c) make a class's
 *   instance: they push `_Py_InitCleanup`, the trampoline that checks what `__init__` returned, and `__init__` on it,
 *   and then store `current_frame` once. The walk hides the trampoline, so one frame is gained: nothing has to be allowed
 *   here for its sake, and the driver counts these pushes by looking for the trampoline itself. `__init__` and the
 *   trampoline are unlinked by a store each (`RETURN_VALUE`, `EXIT_INIT_CHECK`): one frame is lost, then none.
 * - `_PyEval_EvalFrameDefault` (Python/ceval.c) links its entry frame and the first Python frame with one store. Entry
 *   frames are not Python's: one frame is gained. They are unlinked by a store each (`exit_unwind`, `INTERPRETER_EXIT`).
 * - `_gen_throw` (Objects/genobject.c) links a suspended generator for as long as it throws into the one that it
 *   delegates to; each link of a chain of `yield from` is a call of `_gen_throw` of its own, so a store of its own.
 * - `RETURN_GENERATOR` moves a function's frame into the generator that it makes, and pops it: one frame is lost.
 * - Exceptions unwind frame by frame (`exit_unwind`), never several at once.
 *
 * So there is no exception to the rule below, and none should be added without such a reason.
 */
#ifndef SPPROF_STEP_CONTINUITY_H
#define SPPROF_STEP_CONTINUITY_H

#include "walk.h"

struct stack {
    uint32_t depth;
    const struct walk_frame *frames; /* innermost first */
};

enum change {
    CHANGE_NONE,   /* the same frames; the innermost may be at another instruction */
    CHANGE_GAINED, /* one frame more, on top */
    CHANGE_LOST,   /* the innermost frame is gone */
    CHANGE_BROKEN, /* anything else: a discontinuity */
    CHANGES
};

/* How `after` follows from `before`. A frame is its code object and, unless it is the innermost one of its stack, its
 * instruction too: a caller stands where it made the call until it runs again. */
enum change continuity_compare(const struct stack *before, const struct stack *after);

#endif

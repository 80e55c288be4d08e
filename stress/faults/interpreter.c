#include "interpreter.h"

#include <string.h>

const char PyCode_Type[] = "the type of code objects";

static struct {
    uint64_t next, threads_head, filler[6];
} interpreter;

/* `_Py_DebugOffsets` of CPython 3.13, Include/internal/pycore_runtime.h: each structure's size, then its fields. */
struct runtime {
    char cookie[8];
    uint64_t version, free_threaded;
    struct {
        uint64_t size, finalizing, interpreters_head;
    } runtime_state;
    struct {
        uint64_t size, id, next, threads_head, gc, imported_modules, sysdict, builtins, ceval_gil, gil_runtime_state,
            gil_runtime_state_enabled, gil_runtime_state_locked, gil_runtime_state_holder;
    } interpreter_state;
    struct {
        uint64_t size, prev, next, interp, current_frame, thread_id, native_thread_id, datastack_chunk, status;
    } thread_state;
    struct {
        uint64_t size, previous, executable, instr_ptr, localsplus, owner;
    } interpreter_frame;
    struct {
        uint64_t size, filename, name, qualname, linetable, firstlineno, argcount, localsplusnames, localspluskinds,
            co_code_adaptive;
    } code_object;
    struct {
        uint64_t size, ob_type;
    } pyobject;
    struct {
        uint64_t size, tp_name, tp_repr, tp_flags;
    } type_object;
    struct {
        uint64_t size, ob_item, ob_size;
    } tuple_object;
    uint64_t rest[75]; /* what the core does not read */
    void *interpreters_head;
};

#define AT(type, field) offsetof(struct type, field)

struct runtime _PyRuntime = {
    .cookie = {'x', 'd', 'e', 'b', 'u', 'g', 'p', 'y'},
    .version = 0x030d07f0,
    .runtime_state = {sizeof _PyRuntime, 0, offsetof(struct runtime, interpreters_head)},
    .interpreter_state = {sizeof interpreter, .next = 0, .threads_head = 8},
    .thread_state = {sizeof(struct state), 0, AT(state, next), AT(state, interpreter), AT(state, current_frame),
                     AT(state, thread_id), AT(state, native_thread_id), AT(state, datastack_chunk), AT(state, status)},
    .interpreter_frame = {sizeof(struct frame), AT(frame, previous), AT(frame, executable), AT(frame, instr_ptr), 0,
                          AT(frame, owner)},
    .code_object = {sizeof(struct code), AT(code, filename), 0, AT(code, qualname), 0, AT(code, first_line),
                    .co_code_adaptive = AT(code, instructions)},
    .pyobject = {16, AT(code, type)},
    .tuple_object = {24, 0, AT(code, units)},
    .interpreters_head = &interpreter,
};

#define CODE(line) {.type = (uintptr_t)PyCode_Type, .units = 8, .filename = 8, .qualname = 16, .first_line = (line)}
const struct code outer = CODE(10), inner = CODE(20);

static void call(struct frame *frame, const struct code *code, unsigned at, const struct frame *caller) {
    *frame = (struct frame){
        .executable = (uintptr_t)code,
        .previous = (uintptr_t)caller,
        .instr_ptr = (uintptr_t)&code->instructions[at],
    };
}

void state_make(struct state *state, int32_t tid, uintptr_t thread_id, struct frame *entry) {
    static const uint16_t nowhere;
    memset(state, 0, sizeof *state);
    *entry = (struct frame){.instr_ptr = (uintptr_t)&nowhere, .owner = 3};
    call(&state->chunk.frames[0], &outer, OUTER_AT, entry);
    call(&state->chunk.frames[1], &inner, INNER_AT, &state->chunk.frames[0]);
    state->chunk.size = sizeof state->chunk;
    state->interpreter = (uintptr_t)&interpreter;
    state->current_frame = (uintptr_t)&state->chunk.frames[1];
    state->thread_id = thread_id;
    state->native_thread_id = (uint64_t)tid;
    state->datastack_chunk = (uintptr_t)&state->chunk;
    state->status = STATUS_ATTACHED;
}

void state_link(struct state *state) {
    state->next = interpreter.threads_head;
    interpreter.threads_head = (uintptr_t)state;
}

void state_unlink(struct state *state) {
    uint64_t *link = &interpreter.threads_head;
    while (*link != (uintptr_t)state)
        link = &((struct state *)(uintptr_t)*link)->next;
    *link = state->next;
}

uint64_t state_first(void) { return interpreter.threads_head; }

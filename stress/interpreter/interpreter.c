#define _GNU_SOURCE /* gettid */
#include "interpreter.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "delivery.h"
#include "spprof.h"

/* A store that other threads or a handler may see: neither moved nor merged by the compiler, and no ordering besides. */
#define PUT(where, value) (*(volatile __typeof__(where) *)&(where) = (value), delivery_point())

#define CHUNK_BYTES 2048 /* CPython: 16 KiB; smaller, so that they come and go */

enum status { INITIALIZED = 1 << 0, BOUND = 1 << 1, UNBOUND = 1 << 2, ACTIVE = 1 << 4 };
enum owner { BY_THREAD = 0, BY_GENERATOR = 1, BY_INTERPRETER = 3 };

struct interpreter the_interpreter = {.id = 1};
static const char code_type[64];
const void *const interpreter_code_type = code_type;
static code_unit trampoline[2]; /* _Py_INTERPRETER_TRAMPOLINE_INSTRUCTIONS */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t code_lock = PTHREAD_MUTEX_INITIALIZER;

static void out_of_memory(void) {
    fputs("interpreter: out of memory\n", stderr);
    abort();
}

/* --- the table of offsets --------------------------------------------------------------------------- */

/* _Py_DebugOffsets of 3.14, Include/internal/pycore_debug_offsets.h, as far as the tuple. */
static struct {
    char cookie[8];
    uint64_t version, free_threaded;
    struct {
        uint64_t size, finalizing, interpreters_head;
    } runtime_state;
    struct {
        uint64_t size, id, next, threads_head, threads_main, gc, imports_modules, sysdict, builtins, ceval_gil,
            gil_runtime_state, gil_runtime_state_enabled, gil_runtime_state_locked, gil_runtime_state_holder,
            code_object_generation, tlbc_generation;
    } interpreter_state;
    struct {
        uint64_t size, prev, next, interp, current_frame, thread_id, native_thread_id, datastack_chunk, status;
    } thread_state;
    struct {
        uint64_t size, previous, executable, instr_ptr, localsplus, owner, stackpointer, tlbc_index;
    } interpreter_frame;
    struct {
        uint64_t size, filename, name, qualname, linetable, firstlineno, argcount, localsplusnames, localspluskinds,
            co_code_adaptive, co_tlbc;
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
    uint64_t rest[128]; /* the core reads a fixed number of bytes */
} runtime;
const void *const interpreter_runtime = &runtime;

#define AT(type, field) offsetof(struct type, field)

void interpreter_begin(void) {
    memcpy(runtime.cookie, "xdebugpy", 8);
    runtime.version = 0x030e07f0;
    runtime.free_threaded = 1;
    runtime.runtime_state.size = sizeof runtime;
    runtime.interpreter_state.size = sizeof(struct interpreter);
    runtime.interpreter_state.next = AT(interpreter, next);
    runtime.interpreter_state.threads_head = AT(interpreter, threads_head);
    runtime.thread_state.size = sizeof(struct thread_state);
    runtime.thread_state.next = AT(thread_state, next);
    runtime.thread_state.interp = AT(thread_state, interpreter);
    runtime.thread_state.current_frame = AT(thread_state, current_frame);
    runtime.thread_state.thread_id = AT(thread_state, thread_id);
    runtime.thread_state.native_thread_id = AT(thread_state, native_thread_id);
    runtime.thread_state.datastack_chunk = AT(thread_state, datastack_chunk);
    runtime.thread_state.status = AT(thread_state, status);
    runtime.interpreter_frame.size = sizeof(struct frame);
    runtime.interpreter_frame.previous = AT(frame, previous);
    runtime.interpreter_frame.executable = AT(frame, executable);
    runtime.interpreter_frame.instr_ptr = AT(frame, instr_ptr);
    runtime.interpreter_frame.owner = AT(frame, owner);
    runtime.interpreter_frame.tlbc_index = AT(frame, tlbc_index);
    runtime.code_object.size = sizeof(struct code);
    runtime.code_object.filename = AT(code, filename);
    runtime.code_object.qualname = AT(code, qualname);
    runtime.code_object.firstlineno = AT(code, first_line);
    runtime.code_object.co_code_adaptive = AT(code, adaptive);
    runtime.code_object.co_tlbc = AT(code, tlbc);
    runtime.pyobject.size = runtime.tuple_object.size = AT(code, references);
    runtime.pyobject.ob_type = AT(code, ob_type);
    runtime.tuple_object.ob_size = AT(code, ob_size);
}

/* --- threads: Python/pystate.c ------------------------------------------------------------------------- */

static void set_status(struct thread_state *thread, uint32_t set, uint32_t clear) {
    PUT(thread->status, (thread->status | set) & ~clear);
}

void thread_attach(struct thread_state *thread) { set_status(thread, ACTIVE, 0); }
void thread_detach(struct thread_state *thread) { set_status(thread, 0, ACTIVE); }

/* init_threadstate, add_threadstate, bind_tstate */
struct thread_state *thread_state_new(uint32_t number) {
    struct thread_state *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        out_of_memory();
    thread->interpreter = &the_interpreter;
    thread->tlbc_index = (int32_t)(number % TLBC_INDEXES);
    thread->status = INITIALIZED;
    pthread_mutex_lock(&list_lock);
    if (the_interpreter.threads_head != NULL)
        PUT(the_interpreter.threads_head->prev, thread);
    PUT(thread->next, the_interpreter.threads_head);
    PUT(the_interpreter.threads_head, thread);
    pthread_mutex_unlock(&list_lock);
    PUT(thread->thread_id, (uint64_t)pthread_self());
    PUT(thread->native_thread_id, (uint64_t)gettid());
    set_status(thread, BOUND, 0);
    thread_attach(thread);
    return thread;
}

static void chunk_free(struct chunk *chunk) {
    if (chunk != NULL)
        munmap(chunk, chunk->size);
}

/* tstate_delete_common, clear_datastack */
void thread_state_delete(struct thread_state *thread) {
    thread_detach(thread);
    pthread_mutex_lock(&list_lock);
    if (thread->prev != NULL)
        PUT(thread->prev->next, thread->next);
    else
        PUT(the_interpreter.threads_head, thread->next);
    if (thread->next != NULL)
        PUT(thread->next->prev, thread->prev);
    pthread_mutex_unlock(&list_lock);
    set_status(thread, UNBOUND, 0);
    struct chunk *chunk = thread->datastack_chunk;
    PUT(thread->datastack_chunk, NULL);
    while (chunk != NULL) {
        struct chunk *previous = chunk->previous;
        chunk_free(chunk);
        delivery_point();
        chunk = previous;
    }
    chunk_free(thread->datastack_cached_chunk);
    free(thread);
    delivery_point();
}

/* --- code objects: Objects/codeobject.c ------------------------------------------------------------------ */

struct code *code_new(int32_t first_line, int64_t locals) {
    struct code *code = calloc(1, sizeof *code);
    struct bytecodes *tlbc = calloc(1, sizeof *tlbc + sizeof(code_unit *));
    if (code == NULL || tlbc == NULL)
        out_of_memory();
    code->ob_type = code_type;
    code->ob_size = CODE_UNITS;
    code->references = 1;
    code->first_line = first_line;
    code->locals = locals;
    code->filename = "synthetic";
    code->name = code->qualname = "code";
    tlbc->size = 1;
    tlbc->entries[0] = code->adaptive;
    code->tlbc = tlbc;
    return code;
}

/* code_dealloc: watchers hear of it while it is whole. */
void code_release(struct code *code) {
    if (atomic_fetch_sub_explicit(&code->references, 1, memory_order_acq_rel) != 1)
        return;
    spprof_code_died(code);
    for (int64_t i = 1; i < code->tlbc->size; i++)
        free(code->tlbc->entries[i]);
    free(code->tlbc);
    for (int i = 0; i < code->replaced_count; i++)
        free(code->replaced[i]);
    code->ob_type = NULL;
    free(code);
}

static code_unit *bytecode_of(const struct code *code, int32_t index) {
    struct bytecodes *tlbc = __atomic_load_n(&code->tlbc, __ATOMIC_ACQUIRE);
    return index < tlbc->size ? __atomic_load_n(&tlbc->entries[index], __ATOMIC_ACQUIRE) : NULL;
}

/* create_tlbc_lock_held */
static code_unit *make_bytecode(struct code *code, int32_t index) {
    pthread_mutex_lock(&code_lock);
    struct bytecodes *tlbc = code->tlbc;
    if (index >= tlbc->size) {
        int64_t size = tlbc->size;
        while (size <= index)
            size *= 2;
        struct bytecodes *grown = calloc(1, sizeof *grown + (size_t)size * sizeof(code_unit *));
        if (grown == NULL)
            out_of_memory();
        grown->size = size;
        memcpy(grown->entries, tlbc->entries, (size_t)tlbc->size * sizeof(code_unit *));
        __atomic_store_n(&code->tlbc, grown, __ATOMIC_RELEASE);
        code->replaced[code->replaced_count++] = tlbc;
        tlbc = grown;
    }
    if (tlbc->entries[index] == NULL) { /* another thread with this index may have been first */
        code_unit *copy = calloc(CODE_UNITS, sizeof *copy);
        if (copy == NULL)
            out_of_memory();
        __atomic_store_n(&tlbc->entries[index], copy, __ATOMIC_RELEASE);
    }
    code_unit *made = tlbc->entries[index];
    pthread_mutex_unlock(&code_lock);
    return made;
}

/* --- frames: Python/ceval.c, Python/pystate.c, Include/internal/pycore_interpframe.h ------------------------ */

static struct code *code_of(const struct frame *frame) {
    return (struct code *)(frame->executable & ~(uintptr_t)3); // NOLINT: a tagged reference
}

/* push_chunk */
static uintptr_t *push_chunk(struct thread_state *thread, size_t words) {
    size_t bytes = CHUNK_BYTES;
    struct chunk *chunk = thread->datastack_cached_chunk;
    if (chunk != NULL) {
        thread->datastack_cached_chunk = NULL;
        PUT(chunk->previous, thread->datastack_chunk);
        PUT(chunk->top, 0);
    } else {
        chunk = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED)
            out_of_memory();
        PUT(chunk->previous, thread->datastack_chunk);
        PUT(chunk->size, bytes);
        PUT(chunk->top, 0);
    }
    if (thread->datastack_chunk != NULL)
        PUT(thread->datastack_chunk->top, (uint64_t)(thread->datastack_top - thread->datastack_chunk->data));
    PUT(thread->datastack_chunk, chunk);
    thread->datastack_limit = (uintptr_t *)((char *)chunk + bytes);
    uintptr_t *frame = &chunk->data[chunk->previous == NULL];
    thread->datastack_top = frame + words;
    return frame;
}

/* _PyThreadState_PushFrame */
static struct frame *push_frame(struct thread_state *thread, const struct code *code) {
    size_t words = sizeof(struct frame) / 8 + (size_t)code->locals;
    uintptr_t *top = thread->datastack_top;
    if (top == NULL || (ptrdiff_t)words >= thread->datastack_limit - top)
        return (struct frame *)push_chunk(thread, words);
    thread->datastack_top += words;
    return (struct frame *)top;
}

/* _PyThreadState_PopFrame */
static void pop_frame(struct thread_state *thread, struct frame *frame) {
    uintptr_t *base = (uintptr_t *)frame;
    struct chunk *chunk = thread->datastack_chunk;
    if (base != chunk->data) {
        thread->datastack_top = base;
        return;
    }
    struct chunk *previous = chunk->previous, *cached = thread->datastack_cached_chunk;
    thread->datastack_top = &previous->data[previous->top];
    PUT(thread->datastack_chunk, previous);
    thread->datastack_limit = (uintptr_t *)((char *)previous + previous->size);
    PUT(chunk->previous, NULL);
    chunk_free(cached);
    delivery_point();
    thread->datastack_cached_chunk = chunk;
}

/* _PyFrame_Initialize, _PyFrame_InitializeTLBC. The executable is a tagged reference, as _PyStackRef is. */
static void initialize(const struct thread_state *thread, struct frame *frame, struct code *code,
                       struct frame *previous) {
    PUT(frame->previous, previous);
    PUT(frame->funcobj, 0);
    atomic_fetch_add_explicit(&code->references, 1, memory_order_relaxed);
    PUT(frame->executable, (uintptr_t)code | 1);
    PUT(frame->builtins, 0);
    PUT(frame->globals, 0);
    PUT(frame->locals, 0);
    uintptr_t *locals = (uintptr_t *)(frame + 1);
    PUT(frame->stackpointer, locals + code->locals);
    PUT(frame->frame_obj, 0);
    code_unit *own = bytecode_of(code, thread->tlbc_index);
    PUT(frame->instr_ptr, own != NULL ? own : code->adaptive);
    PUT(frame->tlbc_index, own != NULL ? thread->tlbc_index : 0);
    PUT(frame->return_offset, 0);
    PUT(frame->owner, BY_THREAD);
    PUT(frame->visited, 0);
    for (int64_t i = 0; i < code->locals; i++)
        *(volatile uintptr_t *)&locals[i] = 0;
    delivery_point();
}

void frame_at(struct thread_state *thread, unsigned instruction) {
    struct frame *frame = thread->current_frame;
    PUT(frame->instr_ptr, bytecode_of(code_of(frame), frame->tlbc_index) + instruction);
}

/* _LOAD_BYTECODE */
void frame_resume(struct thread_state *thread) {
    struct frame *frame = thread->current_frame;
    struct code *code = code_of(frame);
    if (frame->tlbc_index == thread->tlbc_index)
        return;
    code_unit *own = make_bytecode(code, thread->tlbc_index);
    ptrdiff_t instruction = frame->instr_ptr - bytecode_of(code, frame->tlbc_index);
    PUT(frame->tlbc_index, thread->tlbc_index);
    PUT(frame->instr_ptr, own + instruction);
}

/* _PUSH_FRAME */
void call(struct thread_state *thread, struct code *code) {
    struct frame *frame = push_frame(thread, code);
    initialize(thread, frame, code, thread->current_frame);
    PUT(thread->current_frame, frame);
}

/* RETURN_VALUE, clear_thread_frame: unlinked, then cleared, then popped. */
void call_return(struct thread_state *thread) {
    struct frame *dying = thread->current_frame;
    struct code *code = code_of(dying);
    PUT(thread->current_frame, dying->previous);
    PUT(dying->executable, 0);
    code_release(code);
    pop_frame(thread, dying);
}

/* _PyEval_EvalFrameDefault */
static void eval_frame(struct thread_state *thread, struct frame *frame, struct entry_frame *entry) {
    PUT(entry->frame.executable, 1);
    PUT(entry->frame.instr_ptr, trampoline + 1);
    PUT(entry->frame.stackpointer, entry->stack);
    PUT(entry->frame.owner, BY_INTERPRETER);
    PUT(entry->frame.visited, 0);
    PUT(entry->frame.return_offset, 0);
    PUT(entry->frame.previous, thread->current_frame);
    PUT(frame->previous, &entry->frame);
    PUT(thread->current_frame, frame);
}

void call_from_c(struct thread_state *thread, struct code *code, struct entry_frame *entry) {
    struct frame *frame = push_frame(thread, code);
    initialize(thread, frame, code, NULL);
    eval_frame(thread, frame, entry);
}

/* INTERPRETER_EXIT */
void entry_leave(struct thread_state *thread, struct entry_frame *entry) {
    PUT(thread->current_frame, entry->frame.previous);
}

/* --- generators: Objects/genobject.c, Python/bytecodes.c --------------------------------------------------------- */

struct generator *generator_new(struct thread_state *thread, struct code *code) {
    struct generator *generator = calloc(1, sizeof *generator);
    if (generator == NULL)
        out_of_memory();
    generator->code = code;
    initialize(thread, &generator->frame, code, NULL);
    PUT(generator->frame.owner, BY_GENERATOR);
    return generator;
}

/* SEND_GEN */
void generator_send(struct thread_state *thread, struct generator *generator) {
    PUT(generator->frame.previous, thread->current_frame);
    PUT(thread->current_frame, &generator->frame);
}

/* gen_send_ex2 */
void generator_send_from_c(struct thread_state *thread, struct generator *generator, struct entry_frame *entry) {
    eval_frame(thread, &generator->frame, entry);
}

/* YIELD_VALUE */
void generator_yield(struct thread_state *thread) {
    struct frame *frame = thread->current_frame;
    PUT(frame->instr_ptr, frame->instr_ptr + 1);
    PUT(thread->current_frame, frame->previous);
    PUT(frame->previous, NULL);
}

/* RETURN_VALUE, clear_gen_frame */
void generator_return(struct thread_state *thread) {
    struct frame *dying = thread->current_frame;
    PUT(thread->current_frame, dying->previous);
    PUT(dying->previous, NULL);
}

void generator_free(struct generator *generator) {
    PUT(generator->frame.executable, 0);
    code_release(generator->code);
    free(generator);
    delivery_point();
}

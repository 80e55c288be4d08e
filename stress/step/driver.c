/* step_driver: runs a callable with the trap flag set, walks its stack after every machine instruction, and compares
 * each stack with the one before (continuity.h). x86-64 Linux.
 *
 * How stepping gets along with the rest:
 * - The kernel clears the trap flag on entry to any handler and puts it back with the interrupted context, so neither
 *   the walk, nor the fault handler of a guarded load, nor any other handler of the process is stepped.
 * - A trap while SIGTRAP is blocked would end the process, and libc blocks every signal while it makes and ends a
 *   thread. A system call that changes the signal mask is therefore done here, on the mask that the handler returns to,
 *   and leaves out the signals that stepping lives on. What the program asked for is kept and told to it.
 * - Any other system call is one step: the trap comes with the instruction after it.
 * - A function that was named to pass_over() runs through as one step: its return address is replaced by that of a
 *   breakpoint.
 * - A thread made by a stepped thread starts with a copy of its flags, so it is stepped from its first instruction, long
 *   before it has a thread state, to the system call that ends it.
 */
#include <Python.h>

#include <errno.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "continuity.h"
#include "handler.h"
#include "signals.h"

#define TRAP_FLAG 0x100
#define RED_ZONE 128 /* bytes below the stack pointer that a function may use (System V ABI) */

#define THREADS_MOST 32  /* stepped at once */
#define DEPTH_MOST 1024  /* frames compared of one stack */
#define BREAKS_KEPT 16   /* discontinuities that are told in full */
#define DROPS_MOST 16384 /* in a row, on one thread */
#define PLACES 16384     /* of the table of drops, a power of two */
#define STATES_MOST 4096 /* looked at to find a thread's own */

/* --- what is counted ------------------------------------------------------------------------------------ */

/* Where in a thread's life a point was dropped: what is right at its ends would be a fault between two stacks. */
enum phase {
    PHASE_BIRTH,   /* before its first stack */
    PHASE_BETWEEN, /* between two of its stacks */
    PHASE_END,     /* after its last stack */
    PHASES
};

/* One stepped thread. Only its own handler writes here, except that run() makes and ends a thread's entry. */
struct thread {
    _Atomic int32_t tid; /* 0: free */
    uintptr_t state;     /* its thread state; 0: not known yet */
    uint64_t denied;     /* signals that the program thinks are blocked and are not */
    uintptr_t return_to; /* where the function that is being passed over was called from */
    uint64_t tail;       /* points without a frame since it had one */
    bool born;           /* made by a stepped thread, not by run() */
    bool captured;       /* has had a stack */
    bool had_frames;     /* has had one with frames */
    bool compares;       /* stacks[latest] is what the next one is compared with */
    unsigned latest;
    uint32_t depth[2];
    struct walk_frame stacks[2][DEPTH_MOST];
    uint32_t drops; /* in a row, up to now: their phase is not known yet */
    uint64_t dropped[DROPS_MOST];
};

/* Two stacks that do not follow from one another. */
struct broken {
    uintptr_t counter;
    int32_t tid;
    uint64_t drops;    /* points in between that gave no stack */
    uint32_t depth[2]; /* of the one before, the one after */
    struct walk_frame stacks[2][DEPTH_MOST];
};

/* How often a reason was given at one program counter, in one phase. */
struct place {
    _Atomic uint64_t key; /* counter | phase << 48 | reason << 56; 0: free */
    _Atomic uint64_t count;
};

static struct {
    _Atomic uint64_t points, captured, detached, truncated, broken;
    _Atomic uint64_t changes[CHANGES];
    _Atomic uint64_t trampolines; /* frames gained together with a hidden one */
    _Atomic uint64_t threads;     /* stepped from birth */
    _Atomic uint64_t ends;        /* of them, stepped to their last instruction */
    _Atomic uint64_t passed_over; /* calls of the function to pass over */
    _Atomic uint64_t lost;        /* threads and drops that there was no room for */
    _Atomic uint64_t deepest;
    struct place places[PLACES];
    struct broken kept[BREAKS_KEPT];
} totals;

static struct thread threads[THREADS_MOST];

/* Constant while anything is stepped. */
static struct {
    struct layout layout;
    uintptr_t interpreter;
    uintptr_t main_stack_high;
    uintptr_t pass_over; /* a function, or 0 */
    uint64_t tail_most;  /* a born thread goes on by itself after so many points without a frame; 0: never */
} target;

/* The control: the next stack of three frames or more is reported without its second. */
static _Atomic bool planted;

static void count(_Atomic uint64_t *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

static void raise_to(_Atomic uint64_t *most, uint64_t value) {
    uint64_t seen = atomic_load(most);
    while (seen < value && !atomic_compare_exchange_weak(most, &seen, value))
        continue;
}

static void count_drop(uint64_t key) {
    for (uint64_t probe = 0; probe < PLACES; probe++) {
        struct place *place = &totals.places[(key * UINT64_C(0x9e3779b97f4a7c15) / PLACES + probe) % PLACES];
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&place->key, &found, key) || found == key) {
            count(&place->count);
            return;
        }
    }
    count(&totals.lost);
}

static void add_drop(struct thread *thread, enum spprof_reason reason, uintptr_t counter) {
    if (thread->drops == DROPS_MOST)
        count(&totals.lost);
    else
        thread->dropped[thread->drops++] = (uint64_t)reason << 56 | counter;
}

/* The drops since the last stack happened in this phase. */
static void settle_drops(struct thread *thread, enum phase phase) {
    for (uint32_t i = 0; i < thread->drops; i++)
        count_drop(thread->dropped[i] | (uint64_t)phase << 48);
    thread->drops = 0;
}

/* --- threads ---------------------------------------------------------------------------------------------- */

static int32_t own_tid(void) { return (int32_t)syscall(SYS_gettid); }

static struct thread *find_thread(int32_t tid) {
    for (int i = 0; i < THREADS_MOST; i++)
        if (atomic_load(&threads[i].tid) == tid)
            return &threads[i];
    return NULL;
}

/* A thread without Python frames is how every thread begins: its first stack is compared with that. */
static struct thread *add_thread(int32_t tid, bool born) {
    for (int i = 0; i < THREADS_MOST; i++) {
        struct thread *thread = &threads[i];
        int32_t nobody = 0;
        if (!atomic_compare_exchange_strong(&thread->tid, &nobody, tid))
            continue;
        thread->state = 0;
        thread->denied = 0;
        thread->tail = 0;
        thread->drops = 0;
        thread->captured = thread->had_frames = false;
        thread->born = thread->compares = born;
        thread->depth[thread->latest] = 0;
        if (born)
            count(&totals.threads);
        return thread;
    }
    return NULL;
}

static void end_thread(struct thread *thread) {
    settle_drops(thread, thread->captured ? PHASE_END : PHASE_BIRTH);
    atomic_store(&thread->tid, 0);
}

/* The thread's state as the interpreter's list has it, or 0. The list is read while others change it: what is found is
 * for the walk to judge, as it is in the sampler. */
static uintptr_t find_state(int32_t tid) {
    const struct reader reader = {0};
    uint64_t state, id;
    if (!load_link(&reader, target.interpreter + target.layout.interpreter.threads_head, &state))
        return 0;
    for (int i = 0; state != 0 && i < STATES_MOST; i++) {
        if (!load_word(&reader, state + target.layout.thread.native_thread_id, &id))
            return 0;
        if (id == (uint64_t)tid)
            return state;
        if (!load_link(&reader, state + target.layout.thread.next, &state))
            return 0;
    }
    return 0;
}

/* --- one point -------------------------------------------------------------------------------------------- */

/* As the handler does it: a thread's descriptor lies just past its stack, the initial thread's below. */
static uintptr_t stack_high_of(uintptr_t stack_low) {
    uintptr_t descriptor = (uintptr_t)__builtin_thread_pointer();
    return stack_low < descriptor ? descriptor : target.main_stack_high;
}

static enum spprof_reason capture(struct thread *thread, uintptr_t stack_low, struct walk *walk) {
    if (thread->state == 0)
        thread->state = find_state(atomic_load(&thread->tid));
    *walk = (struct walk){
        .layout = &target.layout,
        .code_type = (uintptr_t)&PyCode_Type,
        .thread_state = thread->state,
        .tid = (uint64_t)atomic_load(&thread->tid),
        .stack_low = stack_low,
        .stack_high = stack_high_of(stack_low),
        .frames = thread->stacks[!thread->latest],
        .max_depth = DEPTH_MOST,
    };
    return walk_thread(walk);
}

static void keep_broken(const struct thread *thread, uintptr_t counter) {
    uint64_t number = atomic_fetch_add(&totals.broken, 1);
    if (number >= BREAKS_KEPT)
        return;
    struct broken *broken = &totals.kept[number];
    broken->tid = atomic_load(&thread->tid);
    broken->drops = thread->drops;
    for (unsigned i = 0; i < 2; i++) {
        unsigned from = thread->latest ^ i;
        broken->depth[i] = thread->depth[from];
        memcpy(broken->stacks[i], thread->stacks[from], thread->depth[from] * sizeof(struct walk_frame));
    }
    broken->counter = counter;
}

/* Whether the frame below the innermost one is the interpreter's trampoline, which the walk hides. */
static bool stands_on_trampoline(const struct thread *thread) {
    const struct reader reader = {0};
    const struct layout *layout = &target.layout;
    uint64_t frame, code, type, first_line;
    if (!load_word(&reader, thread->state + layout->thread.current_frame, &frame) ||
        !load_word(&reader, frame + layout->frame.previous, &frame) ||
        !load_word(&reader, frame + layout->frame.executable, &code))
        return false;
    code &= ~layout->executable_tag_mask;
    return load_word(&reader, code + layout->object_type, &type) && type == (uintptr_t)&PyCode_Type &&
           load_int(&reader, code + layout->code.first_line, &first_line) && first_line == 0;
}

static void plant(struct thread *thread) {
    uint32_t *depth = &thread->depth[!thread->latest];
    bool yes = true;
    if (*depth < 3 || !atomic_compare_exchange_strong(&planted, &yes, false))
        return;
    struct walk_frame *frames = thread->stacks[!thread->latest];
    memmove(frames + 1, frames + 2, (*depth - 2) * sizeof *frames);
    --*depth;
}

/* Compares the stack just captured with the last one and takes its place. */
static void follow(struct thread *thread, uintptr_t counter) {
    unsigned latest = !thread->latest;
    struct stack before = {.depth = thread->depth[!latest], .frames = thread->stacks[!latest]};
    struct stack after = {.depth = thread->depth[latest], .frames = thread->stacks[latest]};
    if (thread->compares) {
        enum change change = continuity_compare(&before, &after);
        count(&totals.changes[change]);
        if (change == CHANGE_GAINED && stands_on_trampoline(thread))
            count(&totals.trampolines);
        if (change == CHANGE_BROKEN)
            keep_broken(thread, counter);
    }
    settle_drops(thread, thread->captured ? PHASE_BETWEEN : PHASE_BIRTH);
    thread->captured = thread->compares = true;
    thread->had_frames |= after.depth > 0;
    thread->latest = latest;
}

static void take_point(struct thread *thread, const ucontext_t *context) {
    uintptr_t counter = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    struct walk walk;
    enum spprof_reason reason = capture(thread, (uintptr_t)context->uc_mcontext.gregs[REG_RSP] - RED_ZONE, &walk);
    if (reason != SPPROF_CAPTURED) {
        add_drop(thread, reason, counter);
    } else {
        count(&totals.captured);
        if (walk.flags & SPPROF_SAMPLE_DETACHED)
            count(&totals.detached);
        if (walk.flags & SPPROF_SAMPLE_TRUNCATED)
            count(&totals.truncated);
        raise_to(&totals.deepest, walk.depth);
        thread->depth[!thread->latest] = walk.depth;
        plant(thread);
        follow(thread, counter);
    }
    count(&totals.points);
    bool idle = thread->had_frames && (reason != SPPROF_CAPTURED || walk.depth == 0);
    thread->tail = idle ? thread->tail + 1 : 0;
}

/* --- system calls ------------------------------------------------------------------------------------------ */

/* Stepping, and guarded loads, end where one of these is blocked. */
#define BIT(signal) (UINT64_C(1) << ((signal) - 1))
#define NEEDED (BIT(SIGTRAP) | BIT(SIGSEGV) | BIT(SIGBUS))

static bool at_system_call(const ucontext_t *context) {
    const struct reader reader = {0};
    uintptr_t counter = (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    uint64_t first, second;
    return load_byte(&reader, counter, &first) && load_byte(&reader, counter + 1, &second) && first == 0x0f &&
           second == 0x05;
}

/* Does rt_sigprocmask(how, set, old, 8) to the mask that the handler returns to. */
static void change_mask(struct thread *thread, ucontext_t *context) {
    greg_t *registers = context->uc_mcontext.gregs;
    const uint64_t *set = (const uint64_t *)registers[REG_RSI]; // NOLINT: what the program passed to the kernel
    uint64_t *old = (uint64_t *)registers[REG_RDX];             // NOLINT
    uint64_t mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    uint64_t before = mask | thread->denied, wanted = before;
    if (set != NULL && registers[REG_RDI] == SIG_BLOCK)
        wanted = before | *set;
    else if (set != NULL && registers[REG_RDI] == SIG_UNBLOCK)
        wanted = before & ~*set;
    else if (set != NULL)
        wanted = *set;
    thread->denied = wanted & NEEDED;
    mask = wanted & ~NEEDED;
    memcpy(&context->uc_sigmask, &mask, sizeof mask); /* the kernel takes no more of it than this */
    if (old != NULL)
        *old = before;
    registers[REG_RAX] = 0;
    registers[REG_RIP] += 2;
}

/* Lets the thread go on by itself, with the mask that it thinks it has. */
static void release(struct thread *thread, ucontext_t *context) {
    uint64_t mask;
    memcpy(&mask, &context->uc_sigmask, sizeof mask);
    mask |= thread->denied;
    memcpy(&context->uc_sigmask, &mask, sizeof mask);
    context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    end_thread(thread);
}

/* What a function that is passed over returns to. */
__asm__(".pushsection .text\n"
        "step_returned: int3\n"
        ".popsection\n");
extern const char step_returned[] __attribute__((visibility("hidden")));
#define RETURNED ((uintptr_t)step_returned + 1) /* a breakpoint's trap comes after it */

/* Lets the function that is about to begin run through. */
static void pass_over(struct thread *thread, ucontext_t *context) {
    uintptr_t *top = (uintptr_t *)context->uc_mcontext.gregs[REG_RSP]; // NOLINT: the interrupted stack
    thread->return_to = *top;
    *top = (uintptr_t)step_returned;
    context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    count(&totals.passed_over);
}

static void come_back(struct thread *thread, ucontext_t *context) {
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)thread->return_to;
    context->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
    thread->return_to = 0;
}

/* Looks at the instruction that comes next. */
static void prepare_next(struct thread *thread, ucontext_t *context) {
    if (thread->born && target.tail_most != 0 && thread->tail > target.tail_most) {
        release(thread, context);
        return;
    }
    if (target.pass_over != 0 && (uintptr_t)context->uc_mcontext.gregs[REG_RIP] == target.pass_over) {
        pass_over(thread, context);
        return;
    }
    if (!at_system_call(context))
        return;
    long number = context->uc_mcontext.gregs[REG_RAX];
    if (number == SYS_rt_sigprocmask) {
        change_mask(thread, context);
    } else if (number == SYS_exit) { /* this thread's last instruction */
        count(&totals.ends);
        end_thread(thread);
    }
}

static void on_step(ucontext_t *context) {
    int32_t tid = own_tid();
    struct thread *thread = find_thread(tid);
    if (thread == NULL)
        thread = add_thread(tid, true);
    if (thread == NULL) { /* more threads than there is room for: this one goes on by itself */
        context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
        count(&totals.lost);
        return;
    }
    if ((uintptr_t)context->uc_mcontext.gregs[REG_RIP] == RETURNED)
        come_back(thread, context);
    take_point(thread, context);
    prepare_next(thread, context);
}

static bool on_trap(int signal, siginfo_t *info, void *ucontext) {
    (void)signal;
    ucontext_t *context = ucontext;
    bool ours = info->si_code == TRAP_TRACE || (uintptr_t)context->uc_mcontext.gregs[REG_RIP] == RETURNED;
    if (ours)
        on_step(context);
    return ours;
}

/* --- stepping ---------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void set_trap_flag(void) {
    __asm__ volatile("subq %0, %%rsp; pushfq; orq %1, (%%rsp); popfq; leaq %c0(%%rsp), %%rsp"
                     :
                     : "i"(RED_ZONE), "i"(TRAP_FLAG)
                     : "memory", "cc");
}

static inline __attribute__((always_inline)) void clear_trap_flag(void) {
    __asm__ volatile("subq %0, %%rsp; pushfq; andq %1, (%%rsp); popfq; leaq %c0(%%rsp), %%rsp"
                     :
                     : "i"(RED_ZONE), "i"(~TRAP_FLAG)
                     : "memory", "cc");
}

static bool unblock_needed(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    sigaddset(&set, SIGSEGV);
    sigaddset(&set, SIGBUS);
    return pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0;
}

static bool take_signals(void) {
    return signals_take(SIGSEGV, handler_on_fault) == 0 && signals_take(SIGBUS, handler_on_fault) == 0 &&
           signals_take(SIGTRAP, on_trap) == 0 && unblock_needed();
}

static PyObject *driver_run(PyObject *Py_UNUSED(module), PyObject *callable) {
    if (!take_signals())
        return PyErr_SetFromErrno(PyExc_OSError);
    int32_t tid = own_tid();
    struct thread *thread = find_thread(tid) == NULL ? add_thread(tid, false) : NULL;
    if (thread == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this thread is stepped already, or too many are");
        return NULL;
    }
    set_trap_flag();
    PyObject *result = PyObject_CallNoArgs(callable);
    clear_trap_flag();
    end_thread(thread);
    return result;
}

/* Waits for threads that the stepped callable has started and that are not quite over, `join` or not. */
static PyObject *driver_settle(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    bool busy = true;
    for (int round = 0; busy && round < 5000; round++) {
        busy = false;
        for (int i = 0; i < THREADS_MOST; i++)
            busy |= atomic_load(&threads[i].tid) != 0;
        if (busy) {
            Py_BEGIN_ALLOW_THREADS usleep(1000);
            Py_END_ALLOW_THREADS
        }
    }
    return PyBool_FromLong(!busy);
}

/* --- results ----------------------------------------------------------------------------------------------- */

static PyObject *driver_points(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    return PyLong_FromUnsignedLongLong(atomic_load(&totals.points));
}

/* Puts `value` (a new reference, or NULL with an exception set) into the dictionary. */
static bool put(PyObject *dictionary, const char *key, PyObject *value) {
    int status = value != NULL ? PyDict_SetItemString(dictionary, key, value) : -1;
    Py_XDECREF(value);
    return status == 0;
}

static bool put_number(PyObject *dictionary, const char *key, uint64_t number) {
    return put(dictionary, key, PyLong_FromUnsignedLongLong(number));
}

static PyObject *places_list(void) {
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < PLACES; i++) {
        uint64_t key = atomic_load(&totals.places[i].key);
        if (key == 0)
            continue;
        static const char *const phases[PHASES] = {"birth", "between", "end"};
        PyObject *entry = Py_BuildValue("(ssKK)", spprof_reason_name((enum spprof_reason)(key >> 56)),
                                        phases[key >> 48 & 0xff], (unsigned long long)(key & ((UINT64_C(1) << 48) - 1)),
                                        (unsigned long long)atomic_load(&totals.places[i].count));
        if (entry == NULL || PyList_Append(list, entry) != 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *stack_list(const struct walk_frame *frames, uint32_t depth) {
    PyObject *list = PyList_New(depth);
    for (uint32_t i = 0; list != NULL && i < depth; i++) {
        PyObject *entry = Py_BuildValue("(KIi)", (unsigned long long)frames[i].code, (unsigned)frames[i].instruction,
                                        (int)frames[i].first_line);
        if (entry == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, entry);
    }
    return list;
}

static PyObject *broken_list(void) {
    uint64_t found = atomic_load(&totals.broken);
    PyObject *list = PyList_New(0);
    for (uint64_t i = 0; list != NULL && i < found && i < BREAKS_KEPT; i++) {
        const struct broken *broken = &totals.kept[i];
        PyObject *entry = Py_BuildValue("{s:K,s:i,s:K,s:N,s:N}", "pc", (unsigned long long)broken->counter, "tid",
                                        (int)broken->tid, "drops_between", (unsigned long long)broken->drops, "before",
                                        stack_list(broken->stacks[0], broken->depth[0]), "after",
                                        stack_list(broken->stacks[1], broken->depth[1]));
        if (entry == NULL || PyList_Append(list, entry) != 0)
            Py_CLEAR(list);
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *driver_totals(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    PyObject *result = PyDict_New();
    bool good =
        result != NULL && put_number(result, "points", totals.points) &&
        put_number(result, "captured", totals.captured) && put_number(result, "detached", totals.detached) &&
        put_number(result, "truncated", totals.truncated) && put_number(result, "discontinuities", totals.broken) &&
        put_number(result, "unchanged", totals.changes[CHANGE_NONE]) &&
        put_number(result, "frames_gained", totals.changes[CHANGE_GAINED]) &&
        put_number(result, "frames_lost", totals.changes[CHANGE_LOST]) &&
        put_number(result, "trampolines", totals.trampolines) && put_number(result, "threads", totals.threads) &&
        put_number(result, "thread_ends", totals.ends) && put_number(result, "deepest", totals.deepest) &&
        put_number(result, "lost", totals.lost) && put_number(result, "passed_over", totals.passed_over) &&
        put(result, "places", places_list()) && put(result, "broken", broken_list());
    if (!good)
        Py_CLEAR(result);
    return result;
}

/* --- settings ---------------------------------------------------------------------------------------------- */

static PyObject *driver_set_tail(PyObject *Py_UNUSED(module), PyObject *number) {
    unsigned long long tail = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred())
        return NULL;
    target.tail_most = tail;
    Py_RETURN_NONE;
}

static PyObject *driver_pass_over(PyObject *Py_UNUSED(module), PyObject *address) {
    unsigned long long function = PyLong_AsUnsignedLongLong(address);
    if (PyErr_Occurred())
        return NULL;
    target.pass_over = function;
    Py_RETURN_NONE;
}

static PyObject *driver_plant(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments)) {
    atomic_store(&planted, true);
    Py_RETURN_NONE;
}

/* --- the module --------------------------------------------------------------------------------------------- */

extern const char _PyRuntime[]; /* declared by CPython's internal headers alone */

static int prepare(PyObject *Py_UNUSED(module)) {
    char problem[200];
    if (!layout_read(&target.layout, _PyRuntime, LAYOUT_TABLE_BYTES, problem, sizeof problem)) {
        PyErr_SetString(PyExc_ImportError, problem);
        return -1;
    }
    const char *state = (const char *)PyThreadState_Get();
    memcpy(&target.interpreter, state + target.layout.thread.interpreter, sizeof target.interpreter);
    target.main_stack_high = getauxval(AT_EXECFN) & ~(uintptr_t)7;
    return 0;
}

static PyMethodDef methods[] = {
    {"run", driver_run, METH_O, "run(callable): call it, with a walk after every machine instruction."},
    {"settle", driver_settle, METH_NOARGS, "settle() -> bool: wait until no thread is stepped any more."},
    {"points", driver_points, METH_NOARGS, "points() -> int: instructions stepped so far."},
    {"totals", driver_totals, METH_NOARGS, "totals() -> dict: what was counted since the start."},
    {"set_tail", driver_set_tail, METH_O,
     "set_tail(points): let a new thread go on by itself that long after its last frame; 0, the default: never."},
    {"pass_over", driver_pass_over, METH_O,
     "pass_over(address): run the function there, and whatever it calls, as one step; 0, the default: none."},
    {"plant", driver_plant, METH_NOARGS, "plant(): falsify one of the next stacks, for the control."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "step_driver", .m_doc = "Walks the stack after every machine instruction.",
    .m_slots = slots,      .m_methods = methods,
};

PyMODINIT_FUNC PyInit_step_driver(void) { return PyModuleDef_Init(&definition); }

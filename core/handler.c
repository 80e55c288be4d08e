#include "handler.h"

#include <ucontext.h>

#include "atomics.h"
#include "clock.h"
#include "held.h"
#include "signals.h"
#include "states.h"

struct sampler sampler;
_Atomic uint32_t tick_cookie;

/* The first address past the C stack that `stack_low` is in. Where the thread's own is not known
 * it is the nearer of two above it: every thread but the initial one has its descriptor there;
 * where that of the initial one lies, and where its stack lies among others, is not promised. */
static uintptr_t stack_high_of(const struct slot *slot, uintptr_t stack_low) {
    if (slot->stack_high != 0)
        return slot->stack_high;
    uintptr_t own = slot->thread_id, initial = sampler.main_stack_high;
    bool own_is_nearer = own - stack_low < initial - stack_low; /* what is below wraps, and is far */
    return own_is_nearer ? own : initial;
}

struct walk handler_walk(struct slot *slot, struct reader reader) {
    return (struct walk){
        .layout = &sampler.layout,
        .reader = reader,
        .code_type = sampler.code_type,
        .thread_state = atomic_read(state_update, &slot->thread_state),
        .tid = (uint64_t)slot->tid,
        .frames = slot->scratch->frames,
        .max_depth = sampler.max_depth,
    };
}

/* C code makes a state for each of its calls into Python, and ends it after the call. The outcome of a look by the state
 * that the thread was known by stays where the list does not say. */
static enum spprof_reason look_by_present_state(struct slot *slot, struct walk *walk, enum spprof_reason outcome) {
    uintptr_t state;
    if (!states_find(&walk->reader, walk->tid, &state))
        return outcome;
    atomic_write(state_update, &slot->thread_state, state);
    walk->thread_state = state;
    if (state != 0)
        return walk_thread(walk);
    walk->flags = SPPROF_SAMPLE_DETACHED;
    return SPPROF_CAPTURED;
}

enum spprof_reason handler_look(struct slot *slot, struct walk *walk) {
    enum spprof_reason outcome = walk_thread(walk);
    bool is_unknown = outcome == SPPROF_DETACHED || outcome == SPPROF_NO_THREAD_STATE;
    return is_unknown ? look_by_present_state(slot, walk, outcome) : outcome;
}

enum spprof_reason handler_record(struct slot *slot, const struct walk *walk, uint64_t generation, uint32_t weight) {
    struct record *record = slot->scratch;
    record->head = (struct record_head){
        .time = clock_now(),
        .thread = slot->thread,
        .generation = generation,
        .tid = slot->tid,
        .weight = weight,
        .flags = walk->flags,
        .depth = walk->depth,
    };
    bool pushed = ring_push(&slot->ring, (const uint64_t *)record, RECORD_WORDS(walk->depth));
    return pushed ? SPPROF_CAPTURED : SPPROF_RING_FULL;
}

/* Walks and records; the verdict is the tick's outcome. */
static enum spprof_reason take_sample(struct slot *slot, uint32_t weight, uintptr_t stack_low, struct reader reader) {
    /* Read before the walk: an object on this thread's own stack cannot die before the walk is over. */
    uint64_t generation = atomic_read(generation_read, &sampler.deaths);
    struct walk walk = handler_walk(slot, reader);
    walk.stack_low = stack_low;
    walk.stack_high = stack_high_of(slot, stack_low);
    load_looking = true;
    enum spprof_reason outcome = handler_look(slot, &walk);
    load_looking = false;
    return outcome == SPPROF_CAPTURED ? handler_record(slot, &walk, generation, weight) : outcome;
}

static void look(struct slot *slot, uint32_t weight, uintptr_t stack_low, struct reader reader) {
    if (reader.through != NULL)
        counters_unguarded(&slot->counters, weight);
    counters_end(&slot->counters, weight, take_sample(slot, weight, stack_low, reader));
}

void handler_tick(struct slot *slot, uint32_t weight, uintptr_t stack_low, struct reader reader) {
    int64_t began = clock_cpu_time(slot->tid);
    counters_begin(&slot->counters, weight);
    if (began >= 0 && slot->rest_until - began > REST_DUE) {
        counters_end(&slot->counters, weight, SPPROF_THROTTLED);
        return;
    }
    look(slot, weight, stack_low, reader);
    int64_t took = clock_cpu_time(slot->tid) - began;
    if (began >= 0 && took >= sampler.long_look)
        slot->rest_until = (slot->rest_until > began ? slot->rest_until : began) + (1 + RESTS) * took;
}

struct reader handler_choose_reader(const sigset_t *blocked) {
    bool guarded = !sigismember(blocked, SIGSEGV) && !sigismember(blocked, SIGBUS) && signals_in_front(SIGSEGV) &&
                   signals_in_front(SIGBUS);
    return guarded ? (struct reader){0} : (struct reader){.through = read_by_syscall};
}

/* The slot's side of the stop handshake: raise `inside`, then look whether the session and the slot are still what the
 * signal was sent for. The other side takes those away first and looks at `inside` afterwards (session.c). */
static bool enter(struct slot *slot, uint32_t lease) {
    atomic_add(enter_raise, &slot->inside, 1);
    return atomic_read(enter_check, &sampler.active) && atomic_read(enter_lease, &slot->lease) == lease;
}

static void leave(struct slot *slot) { atomic_subtract(leave, &slot->inside, 1); }

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ /* as gcc has it */
#endif
#endif

/* What the signal interrupted may run on another stack than the thread's own: a handler on its alternate one, where the
 * kernel puts the frames of all signals that come together. Then all of its own may be in use. */
static uintptr_t own_stack_low(const struct slot *slot, uintptr_t stack_pointer) {
    bool is_elsewhere = stack_pointer < slot->stack_low || stack_pointer >= slot->stack_high;
    return slot->stack_high != 0 && is_elsewhere ? slot->stack_low : stack_pointer;
}

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer holds a signal back and calls the handler later, with the context of the moment when the signal came,
 * and with every signal blocked: a guarded load's fault would end the process. It restores the mask itself. */
static void let_faults_through(void) {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
}

/* The handler's own frame counts where it is on the thread's stack: the initial thread may have an alternate one. */
static uintptr_t stack_low_of(const struct slot *slot, const ucontext_t *context) {
    uintptr_t then = interrupted_stack(context), here = (uintptr_t)__builtin_frame_address(0);
    bool is_nearer =
        here < then && own_stack_low(slot, here) == here && stack_high_of(slot, here) == stack_high_of(slot, then);
    return is_nearer ? here : own_stack_low(slot, then);
}
#else
static void let_faults_through(void) {}

static uintptr_t stack_low_of(const struct slot *slot, const ucontext_t *context) {
    return own_stack_low(slot, interrupted_stack(context));
}
#endif

static void on_tick(uint64_t value, uint32_t weight, const ucontext_t *context) {
    uint32_t number = value & (SLOTS_MAX - 1), lease = value >> (SLOT_BITS + ASKS_BITS) & (LEASES - 1);
    bool asks = value & VALUE_ASKS; /* then what is due is counted by whoever takes it */
    struct slot *slot = atomic_read(slot_find, &sampler.slots[number]);
    if (slot == NULL) {
        if (!asks)
            counters_stray(&sampler.strays, weight, SPPROF_NO_THREAD_STATE);
        return;
    }
    if (enter(slot, lease)) {
        uint32_t ticks = asks ? due_take(&slot->due) : weight;
        if (ticks > 0)
            handler_tick(slot, ticks, stack_low_of(slot, context), handler_choose_reader(&context->uc_sigmask));
    } else if (!asks) {
        bool active = atomic_read(active_peek, &sampler.active);
        counters_stray(&sampler.strays, weight, active ? SPPROF_NO_THREAD_STATE : SPPROF_BUSY);
    }
    leave(slot);
}

uint32_t tick_cookie_of(uint32_t random) {
    uint32_t top = 1 + (random >> 24) % 254, second = 1 + (random >> 16 & 0xff) % 254; /* not 0, not 255 */
    return top << 16 | second << 8 | (random & 0xff);
}

static bool is_ours(const siginfo_t *info, uint64_t value) {
    return info->si_code == SI_TIMER &&
           value >> (SLOT_BITS + ASKS_BITS + LEASE_BITS) == atomic_read(cookie, &tick_cookie);
}

bool handler_on_profile_signal(int signal, siginfo_t *info, void *ucontext) {
    (void)signal;
    uint64_t value = (uintptr_t)info->si_value.sival_ptr;
    let_faults_through();
    bool ours = is_ours(info, value);
    if (ours)
        on_tick(value, 1 + (uint32_t)info->si_overrun, ucontext);
    return ours;
}

bool handler_on_fault(int signal, siginfo_t *info, void *ucontext) {
    return load_recover(ucontext) || load_sent_again(info) || held_take(signal, info, ucontext);
}

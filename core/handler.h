/* The handler of the signal that asks threads, and what it shares with the session that runs it.
 *
 * Every sampled thread has a slot: its counters, its ring, and the thread state that it is known by. A timer's signal
 * carries the slot's number and lease, so the handler needs no thread-local storage, and a signal that comes late
 * (for a slot that has changed hands, or for a session that has ended) is told from a current one.
 *
 * Slots and their table live as long as the process: a late handler always finds memory that is still a slot. What a
 * slot points to (ring words, scratch) may go once its lease has moved on and `inside` was seen to be 0.
 */
#ifndef SPPROF_HANDLER_H
#define SPPROF_HANDLER_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "atomics.h"
#include "counters.h"
#include "layout.h"
#include "ring.h"
#include "walk.h"

/* A signal's value, from its lowest bit on: the slot's number, whether it asks for what is due on the slot (else it is a
 * tick itself), the slot's lease, the cookie. */
#define SLOT_BITS 14
#define ASKS_BITS 1
#define LEASE_BITS 25
#define COOKIE_BITS 24
_Static_assert(SLOT_BITS + ASKS_BITS + LEASE_BITS + COOKIE_BITS == 64, "a signal's value is one word");
#define VALUE_ASKS (UINT64_C(1) << SLOT_BITS)

/* Threads that can be sampled at once. */
#define SLOTS_MAX (1 << SLOT_BITS)

/* Leases that one slot has in its life, 0 to LEASES - 1; after them it is not let again. So no lease
 * comes round, however long a thread has held a signal back. At a thousand new threads a second all
 * slots together have enough for 17 years. */
#define LEASES (UINT32_C(1) << LEASE_BITS)

/* A captured stack as it stands in a ring: this head, then `depth` walk_frames. All of whole words. */
struct record_head {
    uint64_t time;       /* CLOCK_MONOTONIC, nanoseconds */
    uint64_t thread;     /* the thread's number in the session */
    uint64_t generation; /* deaths of code objects before the walk */
    int32_t tid;
    uint32_t weight;
    uint32_t flags;
    uint32_t depth;
};

struct record {
    struct record_head head;
    struct walk_frame frames[];
};

#define RECORD_WORDS(depth) ((uint32_t)((sizeof(struct record_head) + (depth) * sizeof(struct walk_frame)) / 8))

/* What the monitor keeps of a thread. */
struct watch {
    int timer;            /* asks the thread, now or once it runs again; NO_TIMER: it cannot be asked */
    uint32_t idle_visits; /* in a row, at which it had not run */
    int64_t asked_at;     /* its CPU time when it was asked last, ns, */
    int64_t waits_at;     /* and when the timer was set to ask once it runs; negative: it is not */
    uint64_t left_at;     /* CLOCK_MONOTONIC at the last look before which no tick was due on it, ns */
    int64_t used;         /* its CPU time at the last look, ns, */
    int64_t watched;      /* that up to which it has been counted as watched, */
    uint64_t time;        /* and what has been counted */
    int64_t next; /* that at which its next tick is due; by the clock: CLOCK_MONOTONIC, none before that is its */
    /* Its C stack, for looks from outside: at first as the slot has it, both 0 where it is not known;
     * and when it was looked for last (CLOCK_MONOTONIC, ns). */
    uintptr_t stack_low, stack_high;
    uint64_t sought_at;
};

/* Grouped by who writes, each group on cache lines of its own. */
struct slot {
    /* The session writes, the handler reads; all but the last two while no timer of the slot exists. */
    uint64_t thread;                /* number within the session */
    int32_t tid;                    /* the kernel's id of the thread */
    uintptr_t thread_id;            /* pthread_t: libc keeps a thread's descriptor just past the end of its stack */
    struct record *scratch;         /* room for max_depth frames: the handler's own */
    uintptr_t stack_low;            /* the thread's own C stack, and ... */
    uintptr_t stack_high;           /* ... the first address past it; both 0 where it is not known */
    _Atomic uintptr_t thread_state; /* 0: none is known; handler and monitor, too, write what a look finds */
    _Atomic uint32_t lease;         /* tenants so far; the handler compares */
    struct watch watch;             /* the monitor's alone */

    /* The ring's producer writes: the handler, or the observer. */
    alignas(CACHE_LINE) _Atomic uint32_t inside; /* handlers that are in the slot; the session waits for 0 */
    _Atomic uint32_t due;     /* ticks that wait to be taken, by the handler or the monitor (ask.h) */
    int64_t rest_until;       /* the thread's CPU time at which it owes no rest; nobody else reads it */
    struct counters counters; /* whoever counts reads */

    struct ring ring; /* consumer: whoever holds the session's work lock */
};

_Static_assert(offsetof(struct slot, inside) % CACHE_LINE == 0 && offsetof(struct slot, ring) % CACHE_LINE == 0 &&
                   sizeof(struct slot) % CACHE_LINE == 0,
               "what different sides write lies on different lines");

/* What a handler needs to know of the session. */
struct sampler {
    _Atomic bool active; /* the session writes, handlers read: the stop handshake */

    /* Constant while `active`. */
    int signal; /* that asks threads (signals_choose) */
    struct layout layout;
    uintptr_t code_type;
    uintptr_t interpreter; /* whose threads are sampled */
    uint32_t max_depth;
    int64_t long_look;         /* CPU time of a look for which its thread owes a rest, ns */
    uintptr_t main_stack_high; /* first address past the initial thread's stack */
    uintptr_t entry_instr_ptr; /* where the interpreter's own frames stand, for the observer, which writes it where it
                                * was 0: not known */

    _Atomic(struct slot *) slots[SLOTS_MAX]; /* the session fills in, never takes out */
    struct stray_counters strays;            /* ticks that no slot is to be charged for */
    _Atomic uint64_t deaths;                 /* of code objects: the generation that samples carry */
};

extern struct sampler sampler;

/* While a look takes longer than ticks are apart, the next signal waits already when the handler
 * returns, and the program comes to a standstill: a thousand frames read through system calls
 * take 10 ms. So for a look that takes a quarter of the interval, and no less than LOOK_SHORT,
 * its thread owes a rest of RESTS times as long, and while it owes more than REST_DUE it is not
 * looked at: in the long run looks get a quarter of its time. Shorter looks cannot get more: a
 * CPU timer comes due at the kernel's own ticks, 1 to 10 ms apart. A slow one now and then
 * (pages that are brought in) is forgiven. */
#define RESTS 3
#define LOOK_SHORT INT64_C(250000) /* nanoseconds, as are all of these */
#define REST_DUE INT64_C(20000000)
static inline int64_t long_look_of(uint64_t interval) {
    int64_t part = (int64_t)(interval / (1 + RESTS));
    return part < LOOK_SHORT ? LOOK_SHORT : part;
}

/* A number drawn for this process, by which its ticks are told from the signals of a neighbour's
 * timers. The session sets it once, before the handler is installed; handlers compare. */
extern _Atomic uint32_t tick_cookie;

/* The cookie that a random number makes: never the upper part of what a neighbour's value most
 * likely is, a pointer (tagged in its top byte or not) or a number near 0. Any other value, such as
 * that of a second copy of this library, has it once in 16 million times, and is then taken for a
 * tick only with a slot's number and present lease; without, the neighbour loses it and it is
 * counted as `no_thread_state`. Async-signal-safe. */
uint32_t tick_cookie_of(uint32_t random);

/* What the signals of a slot's timer carry, with a lease below LEASES; with VALUE_ASKS added, those that ask. */
static inline uint64_t tick_value(uint32_t slot, uint32_t lease) {
    uint64_t cookie = atomic_read(cookie, &tick_cookie);
    return cookie << (SLOT_BITS + ASKS_BITS + LEASE_BITS) | (uint64_t)lease << (SLOT_BITS + ASKS_BITS) | slot;
}

/* The claim on that signal (signals.h): takes the ticks of our timers. May change errno. */
bool handler_on_profile_signal(int signal, siginfo_t *info, void *ucontext);

/* The claim on SIGSEGV and SIGBUS: recovers guarded loads, and keeps what came to the session's own thread for the program
 * (held.h). */
bool handler_on_fault(int signal, siginfo_t *info, void *ucontext);

/* How a thread may read memory that may not be there: by guarded loads only where our fault
 * handler is installed and the thread does not block the fault signals (`blocked`), for a fault
 * that finds either otherwise is fatal. Changes errno. */
struct reader handler_choose_reader(const sigset_t *blocked);

/* Fills in a walk of the slot's thread, but for the C stack and what an observer adds. (A handler can interrupt its own
 * thread before an entry frame that is already linked has its instruction, so there that is not asked for.) */
struct walk handler_walk(struct slot *slot, struct reader reader);

/* Walks. A thread that has given up the state it was known by, and that is the caller or stands still, is walked by the one
 * that it has now; where it has none it runs without Python, which is a stack without frames. */
enum spprof_reason handler_look(struct slot *slot, struct walk *walk);

/* Puts the stack that the walk captured into the slot's ring, as a sample of `generation`. The outcome: `captured` or
 * `ring_full`. Only the slot's one producer calls this: the handler, or the observer in a session that has one. */
enum spprof_reason handler_record(struct slot *slot, const struct walk *walk, uint64_t generation, uint32_t weight);

/* Takes one tick for `slot` on the calling thread. `stack_low` is the lowest address of its own
 * C stack that may be in use. The walk reads through `reader`. Where looks have taken long the
 * thread rests from them for a while, and the tick of a thread that rests is `throttled`. */
void handler_tick(struct slot *slot, uint32_t weight, uintptr_t stack_low, struct reader reader);

#endif

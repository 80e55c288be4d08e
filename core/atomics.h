/* Every atomic access of the core, by the name of its order site.
 *
 * A site is one place where memory is ordered, or on purpose is not. Its order stands here and nowhere else, with the
 * site it pairs with; the code names the site. The accesses come with a field's `_Atomic` type, so an access that went
 * around this header would be sequentially consistent, never weaker.
 *
 * Signal safety: all of these are lock-free on the supported platforms (checked below), so they may be used anywhere.
 */
#ifndef SPPROF_ATOMICS_H
#define SPPROF_ATOMICS_H

#include <stdatomic.h>

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "a signal handler needs lock-free atomics");

/* ring.c: a record's words are written before the head that announces them is ... */
#define ORDER_ring_publish memory_order_release /* pairs with ring_observe */
#define ORDER_ring_observe memory_order_acquire /* pairs with ring_publish */
/* ... and the consumer has copied a record out before the tail that gives its words back is written. */
#define ORDER_ring_release memory_order_release /* pairs with ring_reserve */
#define ORDER_ring_reserve memory_order_acquire /* pairs with ring_release */
#define ORDER_ring_own memory_order_relaxed     /* a side reads the counter that only it writes: no pair */

/* counters.c: what a tick came to is counted after the tick; a reader looks at the ticks last. */
#define ORDER_counter_own memory_order_relaxed      /* the one writer reads or begins: no pair */
#define ORDER_counter_outcome memory_order_release  /* pairs with counter_snapshot */
#define ORDER_counter_snapshot memory_order_acquire /* pairs with counter_outcome */
#define ORDER_counter_shared memory_order_relaxed   /* counters with many writers: only the sum matters, no pair */

/* handler.c and ordinary/session.c: the stop handshake. Each side writes its own flag, then reads the other's; at least
 * one must see the other, which acquire and release cannot promise: all four are sequentially consistent. */
#define ORDER_enter_raise memory_order_seq_cst   /* pairs with quiesce_check */
#define ORDER_enter_check memory_order_seq_cst   /* pairs with active_write */
#define ORDER_active_write memory_order_seq_cst  /* pairs with enter_check; also publishes the session's constants */
#define ORDER_quiesce_check memory_order_seq_cst /* pairs with enter_raise and with leave */
#define ORDER_leave memory_order_release         /* pairs with quiesce_check: what the handler did is done */
#define ORDER_active_peek memory_order_relaxed   /* an answer that may be old when it arrives: no pair */

/* handler.h, slot table: a slot is made before its place in the table is written, and a tenant's fields before the
 * generation that the tenant's ticks carry is (again). */
#define ORDER_slot_publish memory_order_release /* pairs with slot_find */
#define ORDER_slot_let memory_order_release     /* pairs with enter_lease */
#define ORDER_slot_find memory_order_acquire    /* pairs with slot_publish */
#define ORDER_slot_retire memory_order_seq_cst  /* pairs with enter_lease, as active_write with enter_check */
#define ORDER_enter_lease memory_order_seq_cst  /* pairs with slot_retire and with slot_let */
/* The thread state's address alone: scanner, handler and monitor write it, each what it last found, and any of them may win;
 * what it points to is validated, and looked for anew where it is not the thread's: no pair. */
#define ORDER_state_update memory_order_relaxed

/* ask.h: who takes a slot's ticks has its ring and its counters, until more are laid on it. A
 * handler takes them inside the slot: a monitor that finds them taken sees it there, or sees all
 * that it did. */
#define ORDER_due_lay memory_order_release      /* pairs with due_take */
#define ORDER_due_take memory_order_acq_rel     /* pairs with due_lay and due_withdraw */
#define ORDER_due_withdraw memory_order_acquire /* pairs with due_take */

/* ordinary/monitor.c: what a thread had stored before its CPU clock was read, and nothing that it
 * stored after it was read again, is seen between two equal readings. Of a thread whose on_cpu is 0
 * the kernel returns the time that it has stored, without a lock (task_sched_runtime). It stores
 * that 0 with release (finish_task), and after a 1 there comes a full barrier before the thread goes
 * on (ARM64: __switch_to; x86-64 keeps the order of stores). */
#define ORDER_stands_since memory_order_acquire /* pairs with the kernel's switch away from the thread */
#define ORDER_stands_until memory_order_acquire /* pairs with the kernel's switch to it */

/* ordinary/threads.c: a forked child has one thread. */
#define ORDER_fork_reset memory_order_relaxed /* no pair */

/* handler.c, observe.c and ordinary/: deaths of code objects. The interpreter itself orders a death
 * after the last use of the object, and before the first of another in its place. A drain reads the
 * deaths and then looks inside, a handler raises `inside` and then reads the deaths: of a death that
 * the drain knows, the handler must know too unless it is seen inside, as in the stop handshake. */
#define ORDER_generation_advance memory_order_seq_cst /* pairs with generation_read and with generation_confirm */
#define ORDER_generation_read memory_order_seq_cst    /* pairs with generation_advance */
#define ORDER_generation_confirm memory_order_release /* pairs with generation_advance, which reads what it wrote */

/* handler.h: the number that marks our ticks. It is compared with what a tick itself carries, and guards nothing. So do
 * numbers that handlers of python/native/ending.c leave: a process, a signal and a time. */
#define ORDER_cookie memory_order_relaxed /* no pair */

/* python/native/recorder.c: a code object is whole before it is counted. */
#define ORDER_creation_tell memory_order_release /* pairs with creation_hear */
#define ORDER_creation_hear memory_order_acquire /* pairs with creation_tell */

/* signals.c: an owner is written whole before a handler can be led to it. */
#define ORDER_disposition_publish memory_order_release /* pairs with disposition_find */
#define ORDER_disposition_find memory_order_acquire    /* pairs with disposition_publish */

#define atomic_read(site, object) atomic_load_explicit((object), ORDER_##site)
#define atomic_write(site, object, value) atomic_store_explicit((object), (value), ORDER_##site)
#define atomic_add(site, object, value) atomic_fetch_add_explicit((object), (value), ORDER_##site)
#define atomic_swap(site, object, value) atomic_exchange_explicit((object), (value), ORDER_##site)
#define atomic_keep(site, object, bits) atomic_fetch_and_explicit((object), (bits), ORDER_##site)
#define atomic_fence(site) atomic_thread_fence(ORDER_##site)
#define atomic_subtract(site, object, value) atomic_fetch_sub_explicit((object), (value), ORDER_##site)

#endif

/* Asking a thread to look at itself.
 *
 * A stack can be read exactly where nothing moves it: on its own thread, or while that thread does not run. So the session's
 * monitor (ordinary/monitor.h) lays the ticks that have come due on a thread's slot, and where the thread runs it has the
 * kernel send it a signal. The handler takes what is due and looks at its own stack. Where the thread stands still, or does
 * not take the signal, the monitor takes the ticks back and looks itself.
 *
 * Ticks have one owner at each moment, and with them goes the right to write the slot's counters and to push into its ring:
 * whoever takes ticks has it until it is done. A handler is done when it leaves the slot; the monitor may begin once it has
 * withdrawn what is due and has then seen no handler inside.
 *
 * All of it is lock-free and async-signal-safe.
 */
#ifndef SPPROF_ASK_H
#define SPPROF_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "atomics.h"

/* In the same word as the ticks: a signal is on its way that no handler has answered. */
#define ASKED (UINT32_C(1) << 31)
#define DUE_MOST (ASKED - 1) /* ticks */

/* The monitor lays ticks on, and with ASKED among them says that it is about to send a signal. */
static inline void due_lay(_Atomic uint32_t *due, uint32_t ticks) { atomic_add(due_lay, due, ticks); }

/* The handler takes all that is due, and has then answered. */
static inline uint32_t due_take(_Atomic uint32_t *due) { return atomic_swap(due_take, due, 0) & DUE_MOST; }

/* The monitor takes all that is due; a signal that is on its way stays so. The result has ASKED where there is one. */
static inline uint32_t due_withdraw(_Atomic uint32_t *due) { return atomic_keep(due_withdraw, due, ASKED); }

#endif

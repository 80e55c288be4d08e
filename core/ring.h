/* A ring of variable-length records between one producer and one consumer.
 *
 * Who does what:
 *   ring_push   the producer: the signal handler on the slot's own thread, or the observer in wall mode. Async-signal-safe, wait-free.
 *   ring_pop    the consumer: one ordinary thread at a time (the session's work lock sees to that). Lock-free.
 * The two may run at once; nothing else may run beside either. The caller owns the words and frees them after the last
 * use of the ring.
 *
 * The counters run freely and are compared by difference, so a wrap of the 64-bit values themselves is harmless too.
 */
#ifndef SPPROF_RING_H
#define SPPROF_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a processor takes from another at once. (Some ARM64 ones take 128 bytes: there a line is shared, to no harm but
 * time.) */
#define CACHE_LINE 64

/* Each side has a line to itself: a push and a pop then do not take it from each other's processor. */
struct ring {
    uint64_t *words;                           /* set once, before either side runs */
    uint64_t capacity;                         /* words, a power of two */
    alignas(CACHE_LINE) _Atomic uint64_t head; /* words ever written: the producer writes, the consumer reads */
    alignas(CACHE_LINE) _Atomic uint64_t tail; /* words ever given back: the consumer writes, the producer reads */
};

_Static_assert(offsetof(struct ring, head) >= CACHE_LINE && offsetof(struct ring, tail) % CACHE_LINE == 0 &&
                   offsetof(struct ring, tail) > offsetof(struct ring, head) &&
                   sizeof(struct ring) - offsetof(struct ring, tail) == CACHE_LINE,
               "head and tail lie on lines of their own");

/* An empty ring over `capacity` (a power of two) words. */
void ring_init(struct ring *ring, uint64_t *words, uint64_t capacity);

/* What is in `from` now, for its consumer to take from here; nobody pushes here, and the consumer does not come back to
 * `from`. Its producer may go on: it does not write over what it has not seen taken. */
void ring_inherit(struct ring *ring, const struct ring *from);

/* Appends a record of `count` words. False where there is no room: the ring is then as it was. */
bool ring_push(struct ring *ring, const uint64_t *record, uint32_t count);

/* Takes the oldest record into `record`, which has room for `room` words; returns its length, or 0 where the ring is
 * empty. A record longer than `room` cannot be: push and pop agree on the longest record of a session. */
uint32_t ring_pop(struct ring *ring, uint64_t *record, uint32_t room);

/* Whether there is nothing to take. The consumer's question. */
bool ring_is_empty(const struct ring *ring);

#endif

#include "ring.h"

#include "atomics.h"

/* A record in the ring is one word with its length and then its words; it wraps around the end where it must. */

void ring_init(struct ring *ring, uint64_t *words, uint64_t capacity) {
    ring->words = words;
    ring->capacity = capacity;
    atomic_write(ring_own, &ring->head, 0);
    atomic_write(ring_own, &ring->tail, 0);
}

void ring_inherit(struct ring *ring, const struct ring *from) {
    ring->words = from->words;
    ring->capacity = from->capacity;
    atomic_write(ring_own, &ring->tail, atomic_read(ring_own, &from->tail));
    atomic_write(ring_own, &ring->head, atomic_read(ring_observe, &from->head));
}

static uint64_t *word_at(const struct ring *ring, uint64_t position) {
    return &ring->words[position & (ring->capacity - 1)];
}

bool ring_push(struct ring *ring, const uint64_t *record, uint32_t count) {
    uint64_t head = atomic_read(ring_own, &ring->head);
    uint64_t tail = atomic_read(ring_reserve, &ring->tail);
    uint64_t room = ring->capacity - (head - tail);
    if (room < (uint64_t)count + 1)
        return false;
    *word_at(ring, head) = count;
    for (uint32_t i = 0; i < count; i++)
        *word_at(ring, head + 1 + i) = record[i];
    atomic_write(ring_publish, &ring->head, head + 1 + count);
    return true;
}

uint32_t ring_pop(struct ring *ring, uint64_t *record, uint32_t room) {
    uint64_t tail = atomic_read(ring_own, &ring->tail);
    uint64_t head = atomic_read(ring_observe, &ring->head);
    if (head == tail)
        return 0;
    uint64_t count = *word_at(ring, tail);
    uint32_t copied = count < room ? (uint32_t)count : room;
    for (uint32_t i = 0; i < copied; i++)
        record[i] = *word_at(ring, tail + 1 + i);
    atomic_write(ring_release, &ring->tail, tail + 1 + count);
    return copied;
}

bool ring_is_empty(const struct ring *ring) {
    return atomic_read(ring_observe, &ring->head) == atomic_read(ring_own, &ring->tail);
}

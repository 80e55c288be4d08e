/* Push and pop of a ring whose two counters have any values that a ring can have, wrap of the 64-bit values included. */
#include "proof.h"
#include "ring.c"

#define CAPACITY 8
#define LONGEST 5 /* words of a record; with its length they do not always fit */

static uint64_t words[CAPACITY], before[CAPACITY];

static struct ring any_ring(void) {
    struct ring ring;
    ring_init(&ring, words, CAPACITY);
    ring.head = nondet_uint64();
    ring.tail = nondet_uint64();
    assume(ring.head - ring.tail <= CAPACITY);
    for (int i = 0; i < CAPACITY; i++)
        before[i] = words[i] = nondet_uint64();
    return ring;
}

static void prove_push(void) {
    struct ring ring = any_ring();
    uint64_t head = ring.head, tail = ring.tail, used = head - tail;
    uint64_t record[LONGEST];
    uint32_t count = nondet_uint32();
    assume(count <= LONGEST);
    for (int i = 0; i < LONGEST; i++)
        record[i] = nondet_uint64();
    bool pushed = ring_push(&ring, record, count);
    prove(pushed == (used + count + 1 <= CAPACITY), "a push fails exactly where there is no room");
    prove(ring.tail == tail && ring.words == words && ring.capacity == CAPACITY, "a push leaves the consumer's side");
    prove(ring.head == (pushed ? head + count + 1 : head), "the head moves by the record and its length, or not");
    for (uint64_t i = 0; i < CAPACITY; i++) {
        bool written = pushed && i <= count;
        uint64_t expected = written ? (i == 0 ? count : record[i - 1]) : before[(head + i) % CAPACITY];
        prove(words[(head + i) % CAPACITY] == expected, "a push writes its record and no other word");
    }
    reached(pushed && head % CAPACITY > CAPACITY - 3 && count == LONGEST);
    reached(pushed && head > UINT64_MAX - 3 && ring.head < 8);
    reached(!pushed && used < CAPACITY);
    if (!pushed)
        return;
    uint64_t taken[LONGEST];
    if (used == 0) {
        prove(ring_pop(&ring, taken, LONGEST) == count, "a pop gives the length that was pushed");
        for (uint32_t i = 0; i < LONGEST; i++)
            prove(i >= count || taken[i] == record[i], "a pop gives the words that were pushed");
        prove(ring_is_empty(&ring), "what was taken is gone");
        reached(count == LONGEST);
    }
}

static void prove_pop(void) {
    struct ring ring = any_ring();
    uint64_t head = ring.head, tail = ring.tail, used = head - tail;
    assume(used == 0 || words[tail % CAPACITY] < used); /* what a push has made so */
    uint64_t length = words[tail % CAPACITY];
    uint64_t taken[LONGEST];
    uint32_t room = nondet_uint32();
    assume(room <= LONGEST);
    uint32_t copied = ring_pop(&ring, taken, room);
    prove(ring.head == head, "a pop leaves the producer's side");
    for (int i = 0; i < CAPACITY; i++)
        prove(words[i] == before[i], "a pop writes no word of the ring");
    if (used == 0)
        prove(copied == 0 && ring.tail == tail, "an empty ring gives nothing and stays as it was");
    else
        prove(ring.tail == tail + 1 + length && copied == (length < room ? length : room), "a record is taken whole");
    prove(ring.head - ring.tail <= CAPACITY, "the counters stay those of a ring");
    reached(used == 0);
    reached(copied == LONGEST);
    reached(used != 0 && copied < length);
    reached(tail > UINT64_MAX - 3 && ring.tail < 8);
}

int main(void) {
    if (nondet_bool())
        prove_push();
    else
        prove_pop();
}

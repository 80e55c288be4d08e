/* Push and pop of a ring whose two counters have any values that a ring can have, wrap of the 64-bit values included.
 * With PUSH, the push; without, the pop. */
#include "proof.h"
#include "ring.c"

#define CAPACITY 4
#define LONGEST 4 /* words of a record; with its length they do not always fit */

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
    uint64_t any = nondet_uint64(); /* a word of the ring, by its distance from the old head */
    assume(any < CAPACITY);
    uint64_t now = words[(head + any) % CAPACITY];
    if (pushed && any <= count)
        prove(now == (any == 0 ? count : record[any - 1]), "a push writes its length and its words");
    else
        prove(now == before[(head + any) % CAPACITY], "a push writes no other word, and none where it fails");
    reached(pushed && head % CAPACITY == CAPACITY - 1 && count == CAPACITY - 1);
    reached(pushed && head > UINT64_MAX - 3 && ring.head < CAPACITY);
    reached(!pushed && used < CAPACITY);
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
    uint64_t any = nondet_uint64();
    assume(any < CAPACITY);
    prove(words[any] == before[any], "a pop writes no word of the ring");
    if (any < copied)
        prove(taken[any] == before[(tail + 1 + any) % CAPACITY], "a pop gives the words of the record");
    if (used == 0)
        prove(copied == 0 && ring.tail == tail, "an empty ring gives nothing and stays as it was");
    else
        prove(ring.tail == tail + 1 + length && copied == (length < room ? length : room), "a record is taken whole");
    prove(ring.head - ring.tail <= CAPACITY, "the counters stay those of a ring");
    reached(used == 0);
    reached(copied == CAPACITY - 1);
    reached(used != 0 && copied < length);
    reached(tail > UINT64_MAX - 3 && ring.tail < CAPACITY);
}

int main(void) {
#ifdef PUSH
    prove_push();
#else
    prove_pop();
#endif
}

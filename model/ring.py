"""The ring between a handler and the drain: records of different lengths, in order.

The rules
1. A record takes as many words as it has, and one for its length. All of them are in use until it is taken.
2. A record that fits is kept whole; one that does not changes nothing, and the older ones stay.
3. Records come out as they went in, oldest first, each once. What is longer than the taker's room is cut there.
"""

from collections import deque


class Ring:
    def __init__(self, capacity):
        self.capacity = capacity  # words
        self.records = deque()

    @property
    def used(self):
        return sum(1 + len(record) for record in self.records)

    def push(self, record):
        """Whether it was kept."""
        fits = self.used + 1 + len(record) <= self.capacity
        if fits:
            self.records.append(tuple(record))
        return fits

    def pop(self, room):
        """The oldest record, or None."""
        return self.records.popleft()[:room] if self.records else None

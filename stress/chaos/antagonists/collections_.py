"""Full collections, one after the other, with cycles to collect."""

import gc
import time
import weakref

from antagonists import Antagonist, expect

# Less than a cell or an act may take before it is said to hang.
LIMIT_SECONDS = 30


class Node:
    def __init__(self):
        self.self = self


class Collections(Antagonist):
    def round(self, dice):
        references = [weakref.ref(Node()) for _ in range(dice.randrange(1, 100))]
        kept = Node()
        limit = time.monotonic() + LIMIT_SECONDS
        while True:  # while another thread collects, however long that takes, this one's call does nothing
            gc.collect()
            if not any(reference() for reference in references) or time.monotonic() > limit:
                break
            time.sleep(0.001)
        expect(all(reference() is None for reference in references), "a collection left a cycle")
        expect(kept.self is kept, "a collection took what was in use")

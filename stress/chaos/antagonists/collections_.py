"""Full collections, one after the other, with cycles to collect."""

import gc
import time
import weakref

from antagonists import Antagonist, expect


class Node:
    def __init__(self):
        self.self = self


class Collections(Antagonist):
    def round(self, dice):
        references = [weakref.ref(Node()) for _ in range(dice.randrange(1, 100))]
        kept = Node()
        for _ in range(100):  # while another thread collects, this one is not made to wait for it
            gc.collect()
            if not any(reference() for reference in references):
                break
            time.sleep(0.001)
        expect(all(reference() is None for reference in references), "a collection left a cycle")
        expect(kept.self is kept, "a collection took what was in use")

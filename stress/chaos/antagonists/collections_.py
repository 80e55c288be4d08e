"""Full collections, one after the other, with cycles to collect."""

import gc
import weakref

from antagonists import Antagonist, expect


class Node:
    def __init__(self):
        self.self = self


class Collections(Antagonist):
    def round(self, dice):
        references = [weakref.ref(Node()) for _ in range(dice.randrange(1, 100))]
        kept = Node()
        gc.collect()
        expect(all(reference() is None for reference in references), "a collection left a cycle")
        expect(kept.self is kept, "a collection took what was in use")

"""Counters of ticks and of their outcomes.

The rules
1. The law: ticks = captured + the sum of all reasons, at any time.
2. A signal stands for `weight` ticks, 1 and the timer's overruns. All of them have the same outcome.
3. A captured signal makes one sample, whatever its weight.
4. Every signal that was taken for a thread is one run of the handler. Ticks that belong to no thread are counted by
   reason alone.
"""

from collections import Counter


class Counters:
    def __init__(self):
        self.by_reason = Counter()
        self.samples = 0
        self.handler_runs = 0
        self.unguarded_ticks = 0

    @property
    def ticks(self):
        return sum(self.by_reason.values())

    def tick(self, weight, outcome, unguarded=False):
        """A signal that was taken for a thread."""
        self.by_reason[outcome] += weight
        self.samples += outcome == "captured"
        self.handler_runs += 1
        self.unguarded_ticks += weight * unguarded

    def stray(self, weight, outcome):
        """A signal that was taken for none."""
        self.by_reason[outcome] += weight

    def add(self, other):
        self.by_reason.update(other.by_reason)
        self.samples += other.samples
        self.handler_runs += other.handler_runs
        self.unguarded_ticks += other.unguarded_ticks

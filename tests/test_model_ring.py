"""The ring and the counters beside their models: any sequence of operations, and nothing is lost, doubled or changed."""

import ctypes

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from profiles import examples
from synthetic import Counters, Stats, StrayCounters
from test_ring import ALL, Rig

import model
from model.counters import Counters as CountersModel
from model.ring import Ring as RingModel

words = st.integers(0, ALL)


class RingMachine(RuleBasedStateMachine):
    library = None

    @initialize(size=st.sampled_from([8, 16, 64]), start=st.integers(0, ALL) | st.integers(ALL - 80, ALL))
    def begin(self, size, start):
        self.start = start
        self.core, self.model = Rig(self.library, size, start), RingModel(size)
        self.pushed = self.taken = 0  # words

    def push(self, record):
        kept = self.model.push(record)
        before = self.core.state
        assert self.core.push(record) == kept
        self.pushed += kept * (1 + len(record))
        if not kept:
            assert self.core.state == before

    @rule(record=st.lists(words, min_size=1, max_size=20))
    def push_any(self, record):
        self.push(record)

    @rule(word=words)
    def push_longer_than_the_ring(self, word):
        self.push([word] * self.model.capacity)

    @precondition(lambda self: self.model.used < self.model.capacity - 1)
    @rule(word=words, off=st.sampled_from([-1, 0, 1]))
    def push_just_what_fits(self, word, off):
        self.push([word] * max(1, self.model.capacity - self.model.used - 1 + off))

    @rule(room=st.sampled_from([64, 64, 64, 1, 3]))
    def pop(self, room):
        used = self.model.used
        record = self.model.pop(room)
        self.taken += used - self.model.used
        assert self.core.pop(room) == (record and list(record))

    @rule()
    def drain(self):
        while self.model.records:
            self.pop(64)

    @invariant()
    def same(self):
        if not hasattr(self, "core"):
            return
        assert self.core.empty == (not self.model.records)
        assert self.core.ring.head == (self.start + self.pushed) & ALL
        assert self.core.ring.tail == (self.start + self.taken) & ALL
        self.core.check_guards()


class CountersMachine(RuleBasedStateMachine):
    """Two slots, and the ticks that belong to none."""

    library = None
    weights = st.integers(1, (1 << 32) - 1)
    outcomes = st.sampled_from(model.OUTCOMES)

    def __init__(self):
        super().__init__()
        self.core, self.model = [Counters(), Counters()], [CountersModel(), CountersModel()]
        self.strays = StrayCounters()
        self.strays_model = CountersModel()

    @rule(which=st.integers(0, 1), weight=weights, outcome=outcomes, unguarded=st.booleans())
    def tick(self, which, weight, outcome, unguarded):
        at, weight_c = ctypes.byref(self.core[which]), ctypes.c_uint32(weight)
        self.library.counters_begin(at, weight_c)
        if unguarded:
            self.library.counters_unguarded(at, weight_c)
        self.library.counters_end(at, weight_c, model.OUTCOMES.index(outcome))
        self.model[which].tick(weight, outcome, unguarded)

    @rule(weight=weights, outcome=outcomes)
    def stray(self, weight, outcome):
        self.library.counters_stray(ctypes.byref(self.strays), ctypes.c_uint32(weight), model.OUTCOMES.index(outcome))
        self.strays_model.stray(weight, outcome)

    @rule(which=st.integers(0, 1), weight=weights)
    def miss(self, which, weight):
        """Ticks that passed before the thread had a timer: no signal came for them."""
        self.library.counters_missed(ctypes.byref(self.core[which]), ctypes.c_uint32(weight))
        self.model[which].stray(weight, "no_thread_state")

    @invariant()
    def same(self):
        stats, expected = Stats(), CountersModel()
        for core, side in zip(self.core, self.model, strict=True):
            assert core.ticks == sum(core.by_reason)  # or the snapshot would wait for the end of a tick for ever
            self.library.counters_snapshot(ctypes.byref(core), ctypes.byref(stats))
            expected.add(side)
        self.library.counters_stray_snapshot(ctypes.byref(self.strays), ctypes.byref(stats))
        expected.add(self.strays_model)
        compare_stats(stats, expected)


def compare_stats(stats, expected):
    """What the core has counted is what the model has, and the law holds."""
    assert stats.outcomes == dict(expected.by_reason)
    assert stats.ticks == sum(stats.by_reason) == expected.ticks
    assert stats.samples == expected.samples
    assert stats.handler_runs == expected.handler_runs
    assert stats.unguarded_ticks == expected.unguarded_ticks


@pytest.mark.parametrize("machine", [RingMachine, CountersMachine])
def test_core_and_model_agree(harness, machine):
    machine.library = harness
    run_state_machine_as_test(machine, settings=examples(1))

"""The ring of records: nothing is lost, doubled or changed, wherever it wraps and however full it is."""

import ctypes

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

ALL = (1 << 64) - 1  # the counters count modulo 2**64
GUARD = 0xA5A5_5A5A_DEAD_BEEF


class Rig:
    """A ring with guard words on both sides of its words."""

    def __init__(self, library, capacity, start=0):
        self.library = library
        library.ring_push.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        library.ring_push.restype = library.ring_is_empty.restype = ctypes.c_bool
        library.ring_pop.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
        library.ring_pop.restype = ctypes.c_uint32
        library.ring_is_empty.argtypes = [ctypes.c_void_p]
        library.ring_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        self.memory = (ctypes.c_uint64 * (capacity + 2))(GUARD, *[0] * capacity, GUARD)
        self.ring = synthetic.aligned(synthetic.Ring, head=5, tail=3)  # of a former tenant
        self.at = ctypes.addressof(self.ring)
        library.ring_init(self.at, ctypes.addressof(self.memory) + 8, capacity)
        assert (self.ring.head, self.ring.tail, self.ring.capacity) == (0, 0, capacity)
        self.ring.head = self.ring.tail = start & ALL

    def push(self, record):
        return self.library.ring_push(self.at, (ctypes.c_uint64 * max(len(record), 1))(*record), len(record))

    def pop(self, room=64):
        words = (ctypes.c_uint64 * (room + 1))(*[GUARD] * (room + 1))
        count = self.library.ring_pop(self.at, words, room)
        assert set(words[count:]) == {GUARD}
        return list(words[:count]) or None

    @property
    def empty(self):
        return self.library.ring_is_empty(self.at)

    @property
    def state(self):
        return bytes(self.memory), self.ring.head, self.ring.tail

    def check_guards(self):
        assert (self.memory[0], self.memory[-1]) == (GUARD, GUARD)


@pytest.mark.parametrize("start", [0, 1 << 32, ALL - 40], ids=["zero", "past_32_bits", "before_the_wrap"])
def test_round_trip_at_every_offset(harness, start):
    """Records of every length that fits, at every place of the ring."""
    for offset in range(16):
        for length in range(1, 16):
            rig = Rig(harness, 16, start + offset)
            record = [length << 32 | word for word in range(length)]
            assert rig.empty and rig.push(record) and not rig.empty
            assert rig.pop() == record
            assert rig.empty and rig.pop() is None
            rig.check_guards()


def test_counters_run_over_the_end_of_64_bits(harness):
    rig = Rig(harness, 8, ALL - 2)
    for number in range(10):
        assert rig.push([number, number + 1])
        assert rig.push([number] * 4)
        assert not rig.push([number])
        assert rig.pop() == [number, number + 1]
        assert rig.pop() == [number] * 4
    assert rig.ring.head == rig.ring.tail == (ALL - 2 + 80) & ALL


def test_full_ring_stays_as_it_was(harness):
    rig = Rig(harness, 16, ALL - 8)
    for number in range(4):
        assert rig.push([number] * 3)
    before = rig.state
    for length in (0, 1, 3, 15, 100):
        assert not rig.push([7] * length)
        assert rig.state == before
    assert [rig.pop() for _ in range(5)] == [[number] * 3 for number in range(4)] + [None]


def test_record_that_fits_to_the_word(harness):
    rig = Rig(harness, 16, 5)
    assert rig.push([1] * 7)
    assert not rig.push([2] * 8)
    assert rig.push([3] * 7)
    assert (rig.pop(), rig.pop(), rig.pop()) == ([1] * 7, [3] * 7, None)


def test_record_longer_than_the_ring(harness):
    rig = Rig(harness, 16)
    assert not rig.push([1] * 16)
    assert rig.push([1] * 15)


def test_empty_pop_changes_nothing(harness):
    rig = Rig(harness, 8, 3)
    before = rig.state
    assert rig.pop() is None
    assert rig.state == before


def test_pop_into_too_little_room_writes_no_further(harness):
    rig = Rig(harness, 16)
    assert rig.push([1, 2, 3, 4]) and rig.push([5])
    assert rig.pop(room=2) == [1, 2]
    assert rig.pop() == [5]


STEPS = st.lists(st.none() | st.lists(st.integers(0, ALL), min_size=1, max_size=40), max_size=60)


@given(st.sampled_from([8, 16, 32]), st.integers(0, ALL) | st.integers(ALL - 64, ALL), STEPS)
def test_against_a_model(harness, capacity, start, steps):
    """A list is a push, None a pop."""
    rig, model = Rig(harness, capacity, start), []
    for record in steps:
        if record is None:
            assert rig.pop() == (model.pop(0) if model else None)
        else:
            fits = sum(len(other) + 1 for other in model) + len(record) + 1 <= capacity
            assert rig.push(record) == fits
            model += [record] * fits
        assert rig.empty == (not model)
        assert (rig.ring.head - rig.ring.tail) & ALL == sum(len(other) + 1 for other in model)
        rig.check_guards()
    assert [rig.pop() for _ in model] == model

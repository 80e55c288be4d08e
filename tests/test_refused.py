"""The threads that were refused: each is counted once, for as long as it can be the same thread."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

MOST = 16384  # kept in mind at once
TID = st.integers(1, 6) | st.sampled_from([1 << 15, (1 << 22) - 1])  # a few that meet often, and far ones
THREAD = st.tuples(TID, st.sampled_from([0x7F00_0000_0640, 0x7F00_0000_0680, 0x7FFF_F000_0640]))
READING = st.tuples(st.lists(THREAD, max_size=12), st.booleans())


@pytest.fixture
def refused(harness):
    harness.refused_add.restype = ctypes.c_bool
    harness.refused_add.argtypes = [ctypes.c_int32, ctypes.c_size_t]
    harness.refused_reading_over.argtypes = [ctypes.c_bool]
    harness.refused_forget()
    yield harness
    harness.refused_forget()


def read(refused, threads, sound=True):
    """How many of them are to be counted in a reading that meets these."""
    count = sum(refused.refused_add(*thread) for thread in threads)
    refused.refused_reading_over(sound)
    return count


@given(st.lists(READING))
def test_each_thread_is_counted_when_it_is_new(harness, readings):
    harness.refused_forget()
    known = set()
    for threads, sound in readings:
        assert read(harness, threads, sound) == len(set(threads) - known)
        known = set(threads) if sound else known | set(threads)


def test_thread_that_came_and_went_is_another_when_it_comes_again(refused):
    assert [read(refused, threads) for threads in ([(7, 64)], [(7, 64)], [], [(7, 64)])] == [1, 0, 0, 1]


def test_thread_that_an_unsound_reading_missed_is_the_same(refused):
    assert [read(refused, *reading) for reading in (([(7, 64)],), ([], False), ([(7, 64)],))] == [1, 0, 0]


@pytest.mark.parametrize("distance", [64, 2 * MOST * 64])  # the latter is looked for in the same place
def test_two_threads_with_one_id_are_two(refused, distance):
    assert read(refused, [(7, 64), (7, 64 + distance), (7, 64)]) == 2


def test_what_was_forgotten_is_new(refused):
    refused.refused_add(7, 64)
    refused.refused_forget()
    assert read(refused, [(7, 64)]) == 1


def test_more_than_can_be_kept_in_mind_are_not_counted(refused):
    threads = [(tid, tid << 12) for tid in range(1, MOST + 11)]
    assert [read(refused, threads) for _ in range(3)] == [MOST, 0, 0]

"""The observer's beat: when the next look is due, and how many ticks it stands for."""

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

MOST = (1 << 32) - 1  # that one look can stand for
INTERVAL = st.integers(100_000, 10_000_000_000)
TIME = st.integers(0, 1 << 62)


class Beat(ctypes.Structure):
    C_NAME = "struct beat"
    _fields_ = [("interval", ctypes.c_uint64), ("due", ctypes.c_uint64)]


@pytest.fixture(scope="module")
def following(harness):
    """(when the next look is due, its ticks)"""
    harness.beat_next.restype = ctypes.c_uint32

    def ask(interval, due, now):
        beat = Beat(interval, due)
        ticks = harness.beat_next(ctypes.byref(beat), ctypes.c_uint64(now))
        return beat.due, ticks

    return ask


@given(INTERVAL, TIME, st.integers(0, 1 << 40))
def test_look_is_due_at_the_first_beat_after_now(following, interval, due, late):
    after, ticks = following(interval, due, due + late)
    assert (after - due) % interval == 0 and due + late < after <= due + late + interval
    assert ticks == (after - due) // interval


@given(INTERVAL, TIME, st.integers(1, 1 << 62))
def test_clock_that_is_behind_is_not_waited_for(following, interval, due, behind):
    now = max(due - behind, 0)
    if now < due:
        assert following(interval, due, now) == (now + interval, 1)


def test_ticks_that_no_look_can_stand_for_are_left_out(following):
    assert following(100_000, 0, 100_000 * MOST)[1] == MOST
    assert following(100_000, 0, 100_000 * (MOST - 1))[1] == MOST
    assert following(100_000, 0, 1 << 62)[1] == MOST

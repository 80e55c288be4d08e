"""What a session does with the signals that others want: takes them back at each look, and gives all back in a child."""

import ctypes
import os
import signal

import pytest
from test_model_session import former_owner, wait_until  # noqa: F401 (the first is a fixture)
from test_session_pause import CPU, WALL, Paused

from model import session

TAKEN = {CPU: (signal.SIGPROF, signal.SIGSEGV, signal.SIGBUS), WALL: (signal.SIGSEGV, signal.SIGBUS)}

pytestmark = pytest.mark.usefixtures("former_owner")


@pytest.fixture
def world(harness):
    harness.signals_in_front.restype = ctypes.c_bool
    world = Paused(harness)
    yield world
    world.end()


def neighbour_takes(number):
    """Its handler is never called here. Returns what it found."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    return libc.signal(number, ctypes.cast(libc.abort, ctypes.c_void_p))


@pytest.mark.parametrize("mode", [CPU, WALL])
def test_each_signal_is_taken_back_at_the_next_look(world, mode):
    assert world.begin(mode) == session.OK
    for number in TAKEN[mode]:
        assert world.library.signals_in_front(number)
        neighbour_takes(number)
    wait_until(lambda: all(world.library.signals_in_front(number) for number in TAKEN[mode]))
    assert all(world.library.signals_in_front(number) for number in TAKEN[mode])


def test_a_forked_child_gives_every_signal_back(world):
    assert world.begin() == session.OK
    child = os.fork()
    if child == 0:
        os._exit(sum(1 << place for place, number in enumerate(TAKEN[CPU]) if world.library.signals_in_front(number)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(world.library.signals_in_front(number) for number in TAKEN[CPU])

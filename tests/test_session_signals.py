"""What a session does with the signals that others want: takes them back at each look, and gives all back in a child."""

import ctypes
import os
import signal

import pytest
from fresh import check as in_child
from test_model_session import former_owner, wait_until  # noqa: F401 (the first is a fixture)
from test_session_pause import CPU, WALL, Paused

from model import session

FAULTS = signal.SIGSEGV, signal.SIGBUS


def taken(library, mode=CPU):
    return (library.spprof_signal(), *FAULTS) if mode == CPU else FAULTS


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
    for number in taken(world.library, mode):
        assert world.library.signals_in_front(number)
        neighbour_takes(number)
    wait_until(lambda: all(world.library.signals_in_front(number) for number in taken(world.library, mode)))
    assert all(world.library.signals_in_front(number) for number in taken(world.library, mode))


def test_a_forked_child_gives_every_signal_back(world):
    assert world.begin() == session.OK
    child = os.fork()
    if child == 0:
        os._exit(
            sum(
                1 << place
                for place, number in enumerate(taken(world.library))
                if world.library.signals_in_front(number)
            )
        )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(world.library.signals_in_front(number) for number in taken(world.library))


def choices(path):
    library = ctypes.CDLL(str(path))
    first = library.signals_choose()
    assert signal.SIGRTMIN < first < signal.SIGRTMAX - 1
    assert library.signals_choose() == first
    signal.signal(first, signal.SIG_IGN)
    signal.signal(first - 1, lambda *_: None)
    assert library.signals_choose() == first - 2, "an owner's signal was chosen"
    signal.signal(first, signal.SIG_DFL)
    assert library.signals_choose() == first
    signal.pthread_sigmask(signal.SIG_BLOCK, [first])
    assert library.signals_choose() == first - 2, "a signal was chosen that somebody waits for"
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [first])
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        signal.signal(number, signal.SIG_IGN)
    assert library.signals_choose() == signal.SIGPROF


def test_signal_that_has_an_owner_is_not_chosen(harness):
    in_child(choices, harness._name)


def chosen_once(path):
    library = ctypes.CDLL(str(path))
    chosen = library.spprof_signal()
    signal.signal(chosen, signal.SIG_IGN)
    assert library.spprof_signal() == chosen


def test_signal_is_one_for_the_life_of_the_process(harness):
    """A tick of an earlier session may yet come."""
    in_child(chosen_once, harness._name)

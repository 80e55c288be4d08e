"""Fault signals that come to the session's own thread, since all of the program's block them, are the program's."""

import ctypes
import os
import signal

import pytest
import synthetic
from fresh import check as in_child
from test_model_session import wait_until
from test_stuck import Stage

FAULTS = (signal.SIGSEGV, signal.SIGBUS)
WALL, INTERVAL = 1, 1_000_000
LIMIT = 20  # seconds, which decide nothing else


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "stuck.c", "-shared")


def taken(number):
    """Whether the signal waits for the program, or comes yet."""
    found = signal.sigtimedwait({number}, LIMIT)
    return found is not None and found.si_signo == number


class Observed(Stage):
    """A session that looks at two threads, with every thread of the program blocking fault signals. `sent`: what is sent
    to the process as the session's thread begins."""

    def __init__(self, path, sent=None):
        signal.pthread_sigmask(signal.SIG_BLOCK, FAULTS)
        if sent is not None:
            ctypes.c_int.in_dll(ctypes.CDLL(str(path)), "at_begin").value = sent
        super().__init__(path, sink=True)

    def start(self):
        config = self.world.make_config(self.config, self.threads[0], self.sink)
        config.mode, config.interval = WALL, INTERVAL
        assert self.library.spprof_start(ctypes.byref(config)) == 0

    def looks(self, count):
        """After that many more."""
        before = self.world.stats().ticks
        wait_until(lambda: self.world.stats().ticks >= before + count * len(self.threads))


def wait_for_it(path):
    stage = Observed(path)
    for _ in range(30):
        for number in FAULTS:
            os.kill(os.getpid(), number)
            stage.looks(2)
            assert number in signal.sigpending()
            assert taken(number)
    assert stage.world.stop() == "ok"


def test_signal_waits_for_the_program(library):
    in_child(wait_for_it, library)


def read_as_before(path):
    stage = Observed(path)
    os.kill(os.getpid(), signal.SIGBUS)
    wait_until(lambda: stage.world.stats().unguarded_ticks > 0)
    assert taken(signal.SIGBUS)
    stage.looks(2)
    unguarded = stage.world.stats().unguarded_ticks
    stage.looks(20)
    assert stage.world.stats().unguarded_ticks == unguarded
    assert stage.world.stop() == "ok"


def test_thread_reads_as_before_once_it_was_taken(library):
    in_child(read_as_before, library)


def queued(path):
    stage = Observed(path)
    ctypes.CDLL(None).sigqueue(os.getpid(), signal.SIGBUS, ctypes.c_void_p(42))
    stage.looks(2)
    found = signal.sigtimedwait({signal.SIGBUS}, LIMIT)
    assert (found.si_signo, found.si_code, found.si_pid) == (signal.SIGBUS, -1, os.getpid())
    assert stage.world.stop() == "ok"


def test_what_it_says_is_kept(library):
    in_child(queued, library)


@pytest.fixture(scope="session")
def sending(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "held.c", "-shared")


def before_it_does_anything(path, number):
    stage = Observed(path, sent=number)
    assert taken(number)
    stage.looks(2)
    assert stage.world.stop() == "ok"


def after_its_last_look(path, number):
    stage = Observed(path)
    stage.looks(2)
    ctypes.c_int.in_dll(stage.library, "at_end").value = number
    assert stage.world.stop() == "ok"
    assert ctypes.c_int.in_dll(stage.library, "at_end").value == 0, "nothing was sent"
    assert taken(number)


@pytest.mark.parametrize("number", FAULTS, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", [before_it_does_anything, after_its_last_look], ids=lambda moment: moment.__name__)
def test_signal_that_comes_at_the_ends_of_the_threads_life(sending, moment, number):
    in_child(moment, sending, int(number))

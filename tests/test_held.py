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


class Observed(Stage):
    """A session that looks at two threads, with every thread of the program blocking fault signals."""

    def __init__(self, path):
        signal.pthread_sigmask(signal.SIG_BLOCK, FAULTS)
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
            assert signal.sigtimedwait({number}, LIMIT).si_signo == number
    assert stage.world.stop() == "ok"


def test_signal_waits_for_the_program(library):
    in_child(wait_for_it, library)


def read_as_before(path):
    stage = Observed(path)
    os.kill(os.getpid(), signal.SIGBUS)
    wait_until(lambda: stage.world.stats().unguarded_ticks > 0)
    assert signal.sigtimedwait({signal.SIGBUS}, LIMIT).si_signo == signal.SIGBUS
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

"""How the kernel's timers ask a thread: at once, or once it has run."""

import ctypes
import errno
import os
import signal
import threading
import time

import pytest
import support

VALUE = ctypes.c_uint64(5)
OURS = signal.SIGRTMAX - 6


def wait_until(condition):
    limit = time.monotonic() + support.HANG_SECONDS
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.001)


@pytest.fixture(scope="session")
def library(ticks):
    return ctypes.CDLL(str(ticks))


class Sleeper(threading.Thread):
    """Blocks a signal, stands, and runs where it is told to."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ready, self.go = threading.Event(), threading.Event()
        self.over = False

    def run(self):
        others = self.signals("SigBlk")
        signal.pthread_sigmask(signal.SIG_BLOCK, [OURS])
        self.ours = self.signals("SigBlk") & ~others
        self.ready.set()
        self.go.wait()
        while not self.over:
            pass

    def signals(self, which):
        """A mask, in which an emulator's signals have other numbers than its programs know."""
        with open(f"/proc/self/task/{self.native_id}/status") as status:
            return int(next(line for line in status if line.startswith(which)).split()[1], 16)

    def has_pending(self):
        assert self.ours.bit_count() == 1
        return bool(self.signals("SigPnd") & self.ours)

    def is_there(self):
        return os.path.exists(f"/proc/self/task/{self.native_id}")

    def end(self):
        self.over = True
        self.go.set()
        self.join()


@pytest.fixture
def sleeper():
    made = Sleeper()
    made.start()
    made.ready.wait()
    yield made
    made.end()


@pytest.fixture
def timer(library, sleeper):
    clock = time.pthread_getcpuclockid(sleeper.ident)
    made = library.timers_open(clock, sleeper.native_id, OURS, VALUE)
    assert made >= 0
    yield made
    library.timers_close(made)


def test_thread_is_asked_before_the_call_returns_where_it_stands(library, sleeper, timer):
    assert library.timers_ask(timer) == 0
    assert sleeper.has_pending()


def test_thread_that_is_asked_later_is_once_it_has_run(library, sleeper, timer):
    assert library.timers_ask_later(timer) == 0
    assert not sleeper.has_pending()
    sleeper.go.set()
    wait_until(sleeper.has_pending)


def test_thread_that_has_ended_cannot_be_asked(library, sleeper, timer):
    sleeper.end()
    wait_until(lambda: not sleeper.is_there())
    assert library.timers_ask(timer) == -errno.ESRCH

"""What may be called from where: every cell of the table in the public header."""

import ctypes
import errno
import itertools
import os
import re
import threading

import pytest
import support
import synthetic
from fresh import check as in_child
from fresh import forked
from test_model_session import SINK, wait_until
from test_stuck import Stage

HEADER = support.ROOT / "core" / "include" / "spprof.h"
COLUMNS = ("beside others", "in a sink", "in a handler", "in a child")
YES, WAITS, REFUSED, FALSE, NO = "yes", "waits", "-EDEADLK", "false", "no"
EXPECTED = {
    "spprof_start": (WAITS, REFUSED, NO, YES),
    "spprof_stop": (WAITS, REFUSED, NO, YES),
    "spprof_pause": (WAITS, REFUSED, NO, YES),
    "spprof_resume": (WAITS, REFUSED, NO, YES),
    "spprof_drain": (WAITS, REFUSED, NO, YES),
    "spprof_get_stats": (WAITS, REFUSED, NO, YES),
    "spprof_thread_name": (WAITS, FALSE, NO, YES),
    "spprof_thread_found": (WAITS, FALSE, NO, YES),
    "spprof_thread_time": (WAITS, FALSE, NO, YES),
    "spprof_signal": (WAITS, YES, NO, YES),
    "spprof_is_active": (YES, YES, YES, YES),
    "spprof_code_died": (YES, YES, YES, YES),
    "spprof_reason_name": (YES, YES, YES, YES),
    "spprof_error": (YES, YES, NO, YES),
}


@pytest.fixture(scope="session")
def callers(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "callers.c", "-shared")


def table():
    """{function: cells} as the header has it."""
    rows = re.findall(r"^ \*   (spprof_\w+) {2,}(.*)$", HEADER.read_text(), re.MULTILINE)
    return {name: tuple(re.split(r" {2,}", cells.strip())) for name, cells in rows}


def test_table_of_the_header_is_the_one_that_is_tested():
    exported = set(
        re.findall(r"^    (spprof_\w+);", (support.ROOT / "core" / "libspprof.map").read_text(), re.MULTILINE)
    )
    assert table() == EXPECTED
    assert EXPECTED.keys() == exported


# --- the calls ---------------------------------------------------------------------------------------------------


def nothing(*_):
    pass


class Calls(Stage):
    """Each function as a call that gives a number, a truth or a text."""

    def __init__(self, path, sink=False):
        super().__init__(path, sink)
        self.library.spprof_error.restype = self.library.spprof_reason_name.restype = ctypes.c_char_p
        self.drain_sink = SINK(nothing)
        self.stats = synthetic.Stats(size=ctypes.sizeof(synthetic.Stats))
        self.calls = {
            "spprof_start": lambda: self.library.spprof_start(ctypes.byref(self.configuration())),
            "spprof_stop": self.library.spprof_stop,
            "spprof_drain": lambda: self.library.spprof_drain(self.drain_sink, None),
            "spprof_get_stats": lambda: self.library.spprof_get_stats(
                ctypes.byref(synthetic.Stats(size=ctypes.sizeof(synthetic.Stats)))
            ),
            "spprof_thread_name": lambda: self.library.spprof_thread_name(
                0, ctypes.byref(ctypes.c_int32()), ctypes.create_string_buffer(16)
            ),
            "spprof_thread_found": lambda: self.library.spprof_thread_found(
                0, ctypes.byref(ctypes.c_int32()), ctypes.byref(ctypes.c_uint64()), ctypes.byref(ctypes.c_uint64())
            ),
            "spprof_thread_time": lambda: self.library.spprof_thread_time(0, ctypes.byref(ctypes.c_uint64())),
            "spprof_pause": self.library.spprof_pause,
            "spprof_resume": self.library.spprof_resume,
            "spprof_signal": self.library.spprof_signal,
            "spprof_is_active": self.library.spprof_is_active,
            "spprof_code_died": lambda: self.library.spprof_code_died(None),
            "spprof_reason_name": lambda: self.library.spprof_reason_name(9),
            "spprof_error": self.library.spprof_error,
        }

    def configuration(self, **changes):
        config = self.world.make_config(self.config, self.threads[0], self.sink)
        for name, value in changes.items():
            setattr(config, name, value)
        return config


# --- from a sink ---------------------------------------------------------------------------------------------------


def call_from(path, where, name):
    stage = Calls(path)
    answers = []

    def ask():
        if not answers:
            answer = stage.calls[name]()
            answers.append((answer, stage.library.spprof_error().decode()))

    if where == "drain":
        stage.tick(stage.threads[0])
        assert stage.library.spprof_drain(SINK(lambda *_: ask()), None) == 1
        assert stage.world.stop() == "ok"
    else:
        assert stage.world.stop() == "ok"
        on_sample = SINK(lambda *_: where == "sink" and ask())
        caught_up = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)(lambda *_: where == "caught_up" and ask())
        config = stage.configuration(sink=synthetic.address_of(on_sample), caught_up=synthetic.address_of(caught_up))
        assert stage.library.spprof_start(ctypes.byref(config)) == 0
        stage.tick(stage.threads[0])
        wait_until(lambda: answers)
        assert stage.world.stop() == "ok", "the session is not what it was"
    ((answer, error),) = answers
    expected = EXPECTED[name][1]
    if expected in (REFUSED, FALSE):
        assert answer == (-errno.EDEADLK if expected == REFUSED else False)
        assert (
            error == f"{name} was called from a sink, while the session's locks are held; call it from another thread"
        )
    else:
        assert answer is not None and answer not in (-errno.EDEADLK, False)


@pytest.mark.parametrize("where", ["sink", "drain", "caught_up"])
@pytest.mark.parametrize("name", EXPECTED)
def test_call_from_a_sink(callers, where, name):
    in_child(call_from, callers, where, name)


def call_after_a_sink(path):
    """The thread that drained may call everything again."""
    stage = Calls(path)
    stage.tick(stage.threads[0])
    assert stage.library.spprof_drain(stage.drain_sink, None) == 1
    assert [stage.calls[name]() for name in ("spprof_drain", "spprof_get_stats", "spprof_stop")] == [0, 0, 0]
    assert stage.calls["spprof_thread_name"]() is True


def test_call_after_a_sink_has_returned(callers):
    in_child(call_after_a_sink, callers)


# --- from a signal handler -------------------------------------------------------------------------------------------


def handler_within_a_sink(path):
    stage = Calls(path)
    stage.library.handle()
    expect = ctypes.c_int.in_dll(stage.library, "expect_active")
    handled, wrong = (ctypes.c_int.in_dll(stage.library, name) for name in ("handled", "wrong"))
    sink = ctypes.cast(stage.library.interrupted_sink, SINK)
    for _ in range(5):
        stage.tick(stage.threads[0])
    expect.value = 1
    assert stage.library.spprof_drain(sink, None) == 5
    assert (handled.value, wrong.value) == (5, 0)


def test_handler_that_interrupts_a_sink(callers):
    """With every lock of the session held by the thread that it interrupts."""
    in_child(handler_within_a_sink, callers)


def handler_at_any_moment(path):
    stage = Calls(path)
    stage.library.handle()
    ctypes.c_int.in_dll(stage.library, "expect_active").value = -1
    handled, wrong = (ctypes.c_int.in_dll(stage.library, name) for name in ("handled", "wrong"))
    stage.library.signal_every(300)
    rounds = 0
    while handled.value < 200 or rounds < 30:
        assert stage.calls["spprof_stop"]() == 0
        assert stage.calls["spprof_thread_name"]() is True
        assert stage.calls["spprof_start"]() == 0
        assert stage.calls["spprof_get_stats"]() == 0
        assert stage.calls["spprof_drain"]() >= 0
        rounds += 1
    stage.library.signal_every(0)
    assert wrong.value == 0


def test_handler_that_interrupts_any_call(callers):
    in_child(handler_at_any_moment, callers)


# --- beside each other, and in a forked child -------------------------------------------------------------------------

ANSWERS = {
    "spprof_start": {0, -errno.EBUSY},
    "spprof_stop": {0, -errno.ESRCH},
    "spprof_drain": None,
    "spprof_get_stats": {0},
    "spprof_thread_name": {True, False},
    "spprof_thread_found": {True, False},
    "spprof_thread_time": {True, False},
    "spprof_pause": {0},
    "spprof_resume": {0},
    "spprof_signal": set(range(40, 59)),
    "spprof_is_active": {True, False},
    "spprof_code_died": None,
    "spprof_reason_name": {b"torn"},
    "spprof_error": None,
}
ROUNDS = 40


def two_at_once(path, pair):
    stage = Calls(path)
    wrong = []
    gate = threading.Barrier(2)

    def call(name):
        gate.wait()
        for _ in range(ROUNDS):
            answer = stage.calls[name]()
            if ANSWERS[name] is not None and answer not in ANSWERS[name]:
                wrong.append((name, answer))

    threads = [threading.Thread(target=call, args=(name,)) for name in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    stage.world.stop()
    for name in pair:
        if name == "spprof_pause":
            for _ in range(ROUNDS * pair.count(name)):
                stage.library.spprof_resume()
    stage.start()
    stage.tick(stage.threads[0])
    assert stage.world.stop() == "ok" and stage.world.stats().outcomes == {"captured": 1}


@pytest.mark.parametrize("pair", [*itertools.combinations_with_replacement(EXPECTED, 2)], ids="-".join)
def test_two_calls_at_once(callers, pair):
    in_child(two_at_once, callers, pair)


CHILDS = {
    "spprof_start": 0,
    "spprof_stop": -errno.ESRCH,
    "spprof_drain": 0,
    "spprof_get_stats": 0,
    "spprof_thread_name": False,
    "spprof_thread_found": False,
    "spprof_thread_time": False,
    "spprof_pause": 0,
    "spprof_resume": 0,
    "spprof_is_active": False,
    "spprof_reason_name": b"torn",
}


def call_in_a_child(path, name):
    stage = Calls(path)
    first = stage.threads[0]
    stage.tick(first)
    parents = stage.library.spprof_signal()

    def check():
        for thread in stage.world.threads[:]:
            if thread is not first:
                stage.world.unlink(thread)
        first.tid = threading.get_native_id()
        first.rebuild()
        answer = stage.calls[name]()
        if name == "spprof_code_died":
            assert stage.calls[name]() == answer + 1
        elif name == "spprof_error":
            assert answer is not None
        elif name == "spprof_signal":
            assert answer == parents
        else:
            assert answer == CHILDS[name]

    complaint = first.worker.do(lambda: forked(check))
    assert not complaint, complaint
    assert stage.world.stop() == "ok"


@pytest.mark.parametrize("name", EXPECTED)
def test_call_in_a_forked_child(callers, name):
    in_child(call_in_a_child, callers, name)


def fork_beside(path, name):
    """Another thread calls it all the time; the child can use the library nevertheless."""
    stage = Calls(path)
    done = threading.Event()

    def call():
        while not done.is_set():
            stage.calls[name]()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signalled = stage.library.spprof_stop() in (0, -errno.ESRCH)
                    status = 0 if signalled and not stage.library.spprof_is_active() else 1
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()
    stage.world.stop()


@pytest.mark.parametrize("name", EXPECTED)
def test_fork_beside_a_call(callers, name):
    in_child(fork_beside, callers, name)

"""Counters: ticks == sum of by_reason in every snapshot, whether a tick is being taken, or stands still."""

import ctypes
import os
import shlex
import subprocess
import threading
import time

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from synthetic import REASONS, Counters, Stats, StrayCounters

REASON = st.integers(0, len(REASONS) - 1)
WEIGHT = st.integers(1, (1 << 32) - 1)


@pytest.fixture(scope="module")
def library(harness):
    for function in ("begin", "unguarded", "end"):
        getattr(harness, f"counters_{function}").restype = None
    return harness


def snapshot(library, counters, stats=None):
    stats = stats or Stats()
    library.counters_snapshot(ctypes.byref(counters), ctypes.byref(stats))
    return stats


def tick(library, counters, weight, reason, unguarded=False):
    at = ctypes.byref(counters)
    library.counters_begin(at, ctypes.c_uint32(weight))
    if unguarded:
        library.counters_unguarded(at, ctypes.c_uint32(weight))
    library.counters_end(at, ctypes.c_uint32(weight), reason)


@given(st.lists(st.tuples(WEIGHT, REASON, st.booleans())))
def test_law(library, ticks):
    counters = Counters()
    for weight, reason, unguarded in ticks:
        tick(library, counters, weight, reason, unguarded)
        stats = snapshot(library, counters)
        assert stats.ticks == sum(stats.by_reason)
    stats = snapshot(library, counters)
    assert stats.ticks == sum(weight for weight, _, _ in ticks)
    assert stats.samples == sum(reason == 0 for _, reason, _ in ticks)
    assert stats.handler_runs == len(ticks)
    assert stats.unguarded_ticks == sum(weight for weight, _, unguarded in ticks if unguarded)
    for number in range(len(REASONS)):
        assert stats.by_reason[number] == sum(weight for weight, reason, _ in ticks if reason == number)


def test_snapshots_add_up(library):
    """Those of several threads go into one, and nothing else in it changes."""
    first, second, stats = Counters(), Counters(), Stats(threads=7, threads_refused=2, duration=9)
    tick(library, first, 3, REASONS.index("captured"))
    tick(library, second, 4, REASONS.index("cycle"), unguarded=True)
    snapshot(library, first, stats)
    snapshot(library, second, stats)
    assert (stats.ticks, stats.samples, stats.handler_runs, stats.unguarded_ticks) == (7, 1, 2, 4)
    assert stats.outcomes == {"captured": 3, "cycle": 4}
    assert (stats.threads, stats.threads_refused, stats.duration) == (7, 2, 9)


def snapshot_in_time(library, counters):
    """A snapshot by a thread that is not waited for where it does not return."""
    stats = Stats()
    reader = threading.Thread(target=snapshot, args=(library, counters, stats), daemon=True)
    reader.start()
    reader.join(20)
    assert not reader.is_alive(), "it waits for a tick whose thread does not run"
    return stats


@pytest.mark.parametrize("unguarded", [False, True])
def test_snapshot_leaves_out_a_tick_that_stands_still(library, unguarded):
    """Its thread may have been stopped, or run at a lower priority than the one that reads."""
    counters = Counters()
    tick(library, counters, 2, REASONS.index("captured"))
    library.counters_begin(ctypes.byref(counters), 5)
    if unguarded:
        library.counters_unguarded(ctypes.byref(counters), 5)
    stats = snapshot_in_time(library, counters)
    assert (stats.ticks, stats.ticks_in_progress, stats.outcomes) == (2, 5, {"captured": 2})
    library.counters_end(ctypes.byref(counters), 5, REASONS.index("torn"))
    stats = snapshot_in_time(library, counters)
    assert (stats.ticks, stats.ticks_in_progress) == (7, 0)
    assert (stats.outcomes, stats.handler_runs) == ({"captured": 2, "torn": 5}, 2)


def test_ticks_in_progress_add_up(library):
    first, second, stats = Counters(), Counters(), Stats()
    library.counters_begin(ctypes.byref(first), 3)
    library.counters_begin(ctypes.byref(second), 4)
    snapshot(library, first, stats)
    snapshot(library, second, stats)
    assert (stats.ticks, stats.ticks_in_progress) == (0, 7)


END, BEGIN, BEGIN_AND_END = range(3)  # what the writer does, with a tick that is torn and stands for 5
ACCESSES = range(1, 4 * (len(REASONS) + 4))  # of more than three tries


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A snapshot at whose n-th access the writer goes on."""
    made = tmp_path_factory.mktemp("native") / "snapshots.so"
    core = support.ROOT / "core"
    source = support.ROOT / "tests" / "native" / "snapshots.c"
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra",
               "-Werror", f"-I{core}", f"-I{core}/include", source, "-o", made]  # fmt: skip
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(made))

    def snapshot(counters, at, step):
        stats = Stats()
        library.snapshot_beside(ctypes.byref(counters), ctypes.byref(stats), at, step)
        assert stats.ticks == sum(stats.by_reason)
        return stats

    return snapshot


@pytest.mark.parametrize("at", ACCESSES)
def test_snapshot_tries_again_until_the_tick_has_ended(library, beside, at):
    """So that a tick is left out only where it takes long: a thousand tries."""
    counters = Counters()
    tick(library, counters, 2, 0)
    library.counters_begin(ctypes.byref(counters), 5)
    stats = beside(counters, at, END)
    assert (stats.ticks_in_progress, stats.outcomes) == (0, {"captured": 2, "torn": 5})


@pytest.mark.parametrize("at", ACCESSES)
@pytest.mark.parametrize("step", [BEGIN, BEGIN_AND_END])
def test_snapshot_of_before_or_after_a_tick_that_comes_meanwhile(library, beside, at, step):
    """One that begins too late for the first try is not there; one that begins in it is left out, or whole."""
    counters = Counters()
    tick(library, counters, 2, 0)
    stats = beside(counters, at, step)
    late = at > len(REASONS) + 4
    if step == BEGIN:
        assert (stats.ticks_in_progress, stats.outcomes) == (0 if late else 5, {"captured": 2})
    else:
        torn = {} if late else {"torn": 5}
        assert (stats.ticks_in_progress, stats.outcomes) == (0, {"captured": 2, **torn})
    assert stats.samples == 1


def test_snapshots_beside_a_writer(library):
    counters, done = Counters(), threading.Event()

    def write():
        number = 0
        while not done.is_set():
            number += 1
            tick(library, counters, number % 5 + 1, number % len(REASONS))

    writer = threading.Thread(target=write)
    writer.start()
    last, until = 0, time.monotonic() + 0.5
    try:
        while time.monotonic() < until:
            stats = snapshot(library, counters)
            assert stats.ticks == sum(stats.by_reason)
            assert stats.ticks >= last
            last = stats.ticks
    finally:
        done.set()
        writer.join()
    assert last > 0


@given(st.lists(st.tuples(WEIGHT, REASON)))
def test_strays(library, ticks):
    strays, stats = StrayCounters(), Stats(ticks=1)
    stats.by_reason[0] = 1
    for weight, reason in ticks:
        library.counters_stray(ctypes.byref(strays), ctypes.c_uint32(weight), reason)
    library.counters_stray_snapshot(ctypes.byref(strays), ctypes.byref(stats))
    assert stats.ticks == sum(stats.by_reason) == 1 + sum(weight for weight, _ in ticks)
    assert stats.by_reason[3] == sum(weight for weight, reason in ticks if reason == 3)
    assert (stats.samples, stats.handler_runs) == (0, 0)

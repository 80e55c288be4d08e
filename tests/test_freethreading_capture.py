"""Capture: many threads of every kind of frame, and the arithmetic of what became of each tick."""

import pytest
import support
import synthetic

from stress import law
from stress.interpreters import FREE_THREADED


def check_capture(outcome):
    found = outcome.json
    stats = found["stats"]
    assert not found["gil_enabled"]
    assert law.broken(stats) == []
    assert found["weight"] == stats["captured"]
    assert stats["captured"] >= 0.99 * stats["ticks"], stats
    assert not found["odd_frames"], "a frame that no Python program has: a trampoline was shown"
    for index, (kind, functions) in enumerate(found["hot"].items()):
        thread = f"worker-{kind}-{index}"
        assert found["threads"].get(thread), f"{thread} was never sampled"
        shown = {tuple(name) for name in found["names"][thread]}
        for function in functions:
            assert (function, found["work_file"]) in shown, f"{function} is missing in {thread}"
    assert all(found["rounds"]), "a thread did not get on with its work"


def test_eight_threads_of_every_kind_are_captured(freethreaded):
    check_capture(freethreaded.run("capture", support.amount(5500)))


def test_builds_with_a_gil_are_captured_too(interpreter):
    for name in ("3.13", "3.14"):
        outcome = interpreter(name).run("capture", 2000)
        stats = outcome.json["stats"]
        assert not law.broken(stats) and stats["captured"] >= 0.99 * stats["ticks"], (name, stats)
        assert not outcome.json["odd_frames"]


def check_bursts(outcome):
    """What is shown for a function is the part of the CPU time that it used, by the thread's own clock."""
    found = outcome.json
    stats = found["stats"]
    assert not law.broken(stats) and stats["captured"] >= 0.95 * stats["ticks"], stats
    parts = [found[way]["work"] / sum(found[way].values()) for way in ("shown", "used")]
    assert abs(parts[0] - parts[1]) < 0.1, found


def test_time_is_of_the_work_and_not_of_the_wait_after_it(freethreaded):
    for interval in ("1", "10"):
        check_bursts(freethreaded.run("bursts", interval, 200))


def test_threads_of_less_than_an_interval_have_the_ticks_that_their_time_is_worth(freethreaded):
    """Each has used two fifths of one at its end. What it lost, before it was found and at its end, is counted: usually half,
    and more where the machine is busy. Were the first tick due after a whole interval, none had any."""
    found = freethreaded.run("short_lives", 60, 50, 20).json
    assert found["due"] / 2 <= found["stats"]["ticks"] <= 2 * found["due"]
    assert found["shown"] >= found["due"] / 8


@pytest.mark.parametrize("why", ["system", "bound"])
@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_where_memory_runs_out_the_rest_is_kept(freethreaded, limits, mode, why):
    """What could not be kept is counted, and the program's exit status is its own."""
    outcome = freethreaded.run("out_of_memory", mode, why, 7, check=False)
    assert outcome.returncode == 7, outcome.stderr
    found, stats = outcome.json, outcome.json["stats"]
    assert stats["dropped"]["no_memory"] >= 1000
    assert found["kept"] == stats["captured"] > 500
    assert found["same"], "the counters are others after the stop"
    assert law.broken(stats) == []
    assert why == "system" or 0.5 < found["full"] <= 1


@pytest.fixture(scope="module")
def nomemory(tmp_path_factory):
    return synthetic.shared(tmp_path_factory.mktemp("native"), "nomemory.c")


@pytest.mark.parametrize("name", [name for name in FREE_THREADED if name != "3.13t"])
def test_whichever_allocation_fails_nothing_is_lost(interpreter, nomemory, tmp_path, name):
    """A start raises MemoryError or works, a stop can be asked again, a file is whole. (3.13 itself crashes, or returns NULL
    without an exception, where an allocation of its own fails: without the profiler too.)"""
    found = interpreter(name).run("nth_allocation", nomemory, tmp_path).json
    assert found["wrong"] == []
    assert all(failed >= 3 for failed in found["found"].values()), found


def test_timeline_that_takes_all_its_memory_becomes_counts(freethreaded):
    found = freethreaded.run("out_of_memory", "cpu", "timeline").json
    stats = found["stats"]
    assert (stats["recording"], stats["recording_full"]) == ("counts", True)
    assert stats["dropped"]["no_memory"] == 0
    assert found["kept"] == stats["captured"] and law.broken(stats) == []
    assert found["full"] < 0.75 and found["samples"] < 5000

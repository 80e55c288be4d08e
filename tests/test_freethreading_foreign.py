"""Threads made in C that have a thread state for each of their calls into Python, and none between."""

import pytest
import synthetic

from stress import law

# Way, calls, and after each: microseconds in Python, in C without Python, and asleep.
POOLS = {
    "callbacks": ("callback", 200, 4000, 0, 0),
    "callbacks that wait": ("callback", 300, 1500, 0, 2500),
    "own states": ("state", 200, 2000, 2000, 0),
    "own states, mostly C": ("state", 200, 500, 3500, 0),
}
THREADS, INTERVAL = 2, 5_000  # of a pool; microseconds


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return synthetic.shared(tmp_path_factory.mktemp("native"), "pool.c")


def run(interpreter, library, mode, pool):
    return interpreter.run("pool", library, mode, *POOLS[pool]).json


def check_threads(found):
    """The main one and two of the pool: each is one thread, whatever states it has had."""
    stats = found["stats"]
    assert law.broken(stats) == []
    assert stats["threads"] == len(found["ids"]) == 3, found
    assert len(found["pool"]) == 2, found
    assert stats["captured"] >= 0.9 * stats["ticks"], stats


def due(pool):
    """Intervals of CPU time that its threads spend in Python and, without it, in C; what leads from one to the other is
    neither, and much where the machine is slow."""
    _, calls, python, spin, _ = POOLS[pool]
    return [THREADS * calls * microseconds / INTERVAL for microseconds in (python, spin)]


def check_job(found, pool):
    """Half of what is due: a thread whose calls take as long as an interval may be met in one part of each."""
    inside, without, _ = map(sum, zip(*found["pool"], strict=True))
    in_python, in_c = due(pool)
    assert inside >= 0.5 * in_python, found
    assert without >= 0.5 * in_c, found


@pytest.mark.parametrize("pool", POOLS)
def test_cpu_time_of_threads_made_in_c(every_interpreter, library, pool):
    found = run(every_interpreter, library, "cpu", pool)
    check_threads(found)
    assert found["stats"]["ticks"] + 3 >= 0.95 * found["due"], found  # each of three threads is in the midst of one
    check_job(found, pool)


@pytest.mark.parametrize("pool", POOLS)
def test_time_of_threads_made_in_c(every_interpreter, library, pool):
    found = run(every_interpreter, library, "wall", pool)
    check_threads(found)
    inside, without, whole = map(sum, zip(*found["pool"], strict=True))
    assert whole >= 0.85 * found["lived"] > 20, found
    assert inside > 0, found
    if due(pool)[1] > 0:  # how much of each goes by the processors that others leave, and by the GIL
        assert without > 0, found

"""Wall mode: one thread looks at all others by the clock."""

import pytest
import support
import synthetic

from stress import law


def check_wall(outcome):
    found = outcome.json
    stats = found["stats"]
    assert not found["gil_enabled"]
    assert law.broken(stats) == []
    assert stats["captured"] >= 0.95 * stats["ticks"], stats
    assert found["rootless"] == [], "a stack that does not begin where its thread does"
    assert found["woken"] == 0, "a thread that waits was asked to look at itself"
    # Asking whether there are enough ticks yet is work enough to keep an emulated main thread busy.
    for thread in ("waiter", "sleeper", *(() if support.EMULATOR else ("MainThread",))):
        count = found["states"][thread]
        assert count["blocked"] >= 0.9 * sum(count.values()), (thread, count)
    assert ("wait_for_event", found["this_file"]) in map(tuple, found["names"]["waiter"])
    for index, (kind, functions) in enumerate(found["hot"].items()):
        thread = f"worker-{kind}-{index}"
        count = found["states"][thread]
        assert count["running"] >= 0.9 * sum(count.values()), (thread, count)
        shown = {tuple(name) for name in found["names"][thread]}
        for function in functions:
            assert (function, found["work_file"]) in shown, f"{function} is missing in {thread}"
    assert all(found["rounds"])
    assert found["threads"][0] == found["threads"][1]
    assert found["files"][0] == found["files"][1]


def test_every_thread_is_seen_running_or_waiting(freethreaded):
    check_wall(freethreaded.run("wall", 15_000))


def test_wall_sessions_come_and_go_with_threads_and_code(freethreaded):
    cycles = support.amount(200)
    found = freethreaded.run("churn", cycles, support.amount(200), "wall").json
    assert found["laws"] == found["done"] >= cycles
    assert found["captured"] > 0


def test_few_waits_in_c_code_end_early(freethreaded):
    """A thread that is met running may have gone to sleep when the signal comes that asks it."""
    for mode in ("none", "cpu", "wall"):
        found = freethreaded.run("interrupted", mode, 3).json
        waits, early = sum(found["waits"]), sum(found["ended_early"])
        assert waits > 100
        assert early <= (0 if mode == "none" else 0.05 * waits), found


@pytest.fixture(scope="module")
def no_note(tmp_path_factory):
    """What makes libc one that does not tell where a thread's stack is."""
    return synthetic.preload(tmp_path_factory.mktemp("native"), "no_note.c")


def test_stack_that_cannot_be_found_at_a_threads_birth_is_found_later(freethreaded, no_note):
    """Until then the thread's ticks say so."""
    found = freethreaded.run("unplaced", env=no_note).json
    stats = found["stats"]
    assert law.broken(stats) == []
    assert stats["dropped"]["stack_unknown"] > 0 and stats["dropped"]["bounds"] == 0
    assert "wait_for_event" in found["names"]


def test_thread_that_is_born_after_a_pause_is_not_charged_with_it(freethreaded):
    """Of half a second, fifty ticks, in which it was not there."""
    found = freethreaded.run("paused").json
    assert len(found["ticks"]) == 3 and any(found["ticks"])
    for ticks, life in zip(found["ticks"], found["lived"], strict=True):
        assert ticks <= life + 5, found

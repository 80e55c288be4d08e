"""Processes that fork, replace themselves or end while a session is active, and interpreters beside the sampled one."""

import signal

import pytest
import support


def law_holds(stats):
    return stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())


@pytest.mark.parametrize("thread", ["main", "thread"])
def test_a_forked_child_is_inert_and_can_start_its_own(freethreaded, thread):
    found = freethreaded.run("forks", thread).json
    assert len(found["children"]) == 5
    for child in found["children"]:
        assert child["status"] == 0
        assert child["active"] is False
        assert child["ticks"] == 0
        assert child["timers"] == 0
        assert child["threads"] == 1
        assert child["stop"] == "no session is active; start one first"
        assert child["stats"]["captured"] >= 50 and law_holds(child["stats"])
        assert child["loop_seen"]
        assert child["timers_after"] == 0
    assert law_holds(found["stats"])
    assert found["stats"]["captured"] >= found["ticks_before"] + 150, "the parent's session did not go on"
    assert found["timers"] == 0


@pytest.mark.parametrize(
    ("way", "status", "output"),
    [
        ("exec", 0, "another program 1999999000000\n"),
        ("_exit", 3, ""),
        ("exit", 4, ""),
        ("exception", 1, ""),
        ("end", 0, ""),
        ("subprocess", 0, "children ran True\n"),
    ],
)
def test_a_process_may_end_in_the_middle_of_a_session(freethreaded, way, status, output):
    outcome = freethreaded.run("endings", way, support.amount(20), check=False)
    assert outcome.signal is None, outcome.stderr
    assert outcome.json["way"] == way
    assert (outcome.returncode, outcome.stdout) == (status, output), outcome.stderr
    if way == "exception":
        assert outcome.stderr.rstrip().endswith('KeyError: "the program\'s own"')
    else:
        assert outcome.stderr == ""


def test_other_interpreters_may_come_and_go(freethreaded):
    found = freethreaded.run("subinterpreters", support.amount(10)).json
    assert found["failures"] == []
    assert law_holds(found["stats"]) and found["stats"]["captured"] > 0
    assert found["visiting"] > 0, "the threads that ran other interpreters were never sampled"
    assert found["foreign"] == [], "a frame of another interpreter was shown as this one's"


@pytest.mark.parametrize("state", ["active", "stopped"])
def test_a_foreign_profile_signal_keeps_its_default_action(freethreaded, state):
    outcome = freethreaded.run("neighbours", "profile_signal", state, check=False)
    assert outcome.json["reached"]
    assert outcome.returncode == -signal.SIGPROF

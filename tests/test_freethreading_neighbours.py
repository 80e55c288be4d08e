"""Neighbours in the process that use the same signals: theirs stay theirs."""

import signal

import pytest
import support

from stress import law


def scene(freethreaded, name):
    found = freethreaded.run("neighbours", name, faulthandler=False).json
    stats = found["stats"]
    assert law.broken(stats) == []
    assert stats["captured"] > 0
    return found


def test_a_handler_from_before_gets_its_own_signals_only(freethreaded):
    found = scene(freethreaded, "own_handler_before")
    assert found["spurious"] == 0, "ticks of ours reached the program's handler"
    assert found["received"] == 50
    assert found["received_after"] == 60


def test_a_handler_set_during_a_session_gets_its_own_signals(freethreaded):
    found = scene(freethreaded, "own_handler_during")
    assert found["spurious"] == 0, "ticks of ours went on reaching the program's handler"
    assert found["received"] == 50


def test_sigprof_is_the_programs(freethreaded):
    """It may set it to its default action in the midst of a session and live, and has what was sent to it and no more."""
    found = scene(freethreaded, "sigprof_is_the_programs")
    assert (found["unasked"], found["received"], found["pending"]) == (0, 5000, [])


def test_sigprof_is_shared_where_every_other_signal_has_an_owner(freethreaded):
    found = scene(freethreaded, "every_signal_has_an_owner")
    assert found["signal"] == signal.SIGPROF
    assert (found["spurious"], found["received"], found["received_after"]) == (0, 50, 60)


def test_the_programs_own_profile_timer_goes_on(freethreaded):
    assert scene(freethreaded, "interval_timer")["received"] >= 20


def test_faulthandler_enabled_before(freethreaded):
    found = scene(freethreaded, "faulthandler_before")
    assert found["enabled"]
    assert found["stats"]["unguarded_ticks"] == 0


@pytest.mark.skipif(bool(support.EMULATOR), reason="there is no process_vm_readv here: QEMU's user mode has none")
def test_faulthandler_enabled_during_a_session_costs_no_longer_than_one_look(freethreaded):
    found = scene(freethreaded, "faulthandler_during")
    assert found["guarded"] == 0
    assert found["since"] == 0, "the session did not take the fault signals back"
    assert found["stats"]["dropped"]["fault"] == 0, "a load through the system call failed"


def test_faulthandler_registered_for_our_signal_reports_each_signal_once(freethreaded):
    """Not counted exactly: a tick that it gets before the session takes the signal back, at its next look, is one more."""
    found = scene(freethreaded, "faulthandler_on_our_signal")
    assert found["reports"] == sorted(found["reports"]) and len(set(found["reports"])) == 20


def test_our_handler_put_back_without_its_flags(freethreaded):
    """The next tick comes without its value, and must not be taken for the default action."""
    scene(freethreaded, "put_back_without_flags")


def test_a_forked_child_has_its_signals_as_without_a_session(freethreaded):
    found = scene(freethreaded, "forked_child")
    assert found["same"], "the child's handlers are not those from before the session"
    assert found["ignored_after_exec"], "a program that the child became no longer ignores what was ignored"


@pytest.mark.skipif(bool(support.EMULATOR), reason="there is no process_vm_readv here: QEMU's user mode has none")
def test_a_program_goes_on_where_each_look_takes_longer_than_the_interval(freethreaded):
    found = scene(freethreaded, "deep_stack")
    assert found["ended"] == [True]
    assert found["deep"] > 0
    assert found["stats"]["unguarded_ticks"] > 0
    assert found["stats"]["dropped"]["throttled"] > 0, "looks took no longer than the interval: nothing was tested"


def test_an_alternate_signal_stack_is_used_and_survives(freethreaded):
    found = scene(freethreaded, "alternate_stack")
    assert found["used"] == [True], "the handler did not run on the thread's alternate stack"
    assert found["seen"] > 0


@pytest.mark.parametrize("where", ["alarms_on_the_alternate_stack", "alarms_in_a_forked_child"])
def test_a_tick_that_finds_a_handler_on_the_alternate_stack_is_captured(freethreaded, where):
    found = scene(freethreaded, where)
    assert found["samples"] > 0 and found["strange"] == []
    assert found["stats"]["dropped"]["bounds"] <= 0.01 * found["stats"]["ticks"], found["stats"]


def test_blocked_signals(freethreaded):
    found = scene(freethreaded, "blocked_signals")
    assert found["counted"] >= 150, "the time of a thread that blocks the signal is not accounted for"
    assert found["stats"]["unasked_ticks"] >= 100, "it blocked the signal, yet took a signal"
    assert found["stats"]["unguarded_ticks"] > 0, "a thread with its fault signals blocked was read with guarded loads"


@pytest.mark.parametrize("cause", ["read", "kill"])
@pytest.mark.parametrize("when", ["none", "before", "after", "between"])
def test_a_genuine_fault_still_ends_the_program(freethreaded, when, cause):
    outcome = freethreaded.run("neighbours", "segfault", when, cause, faulthandler=False, check=False)
    assert outcome.json["reached"]
    assert outcome.returncode == -signal.SIGSEGV
    said = outcome.stderr.count("Fatal Python error: Segmentation fault")
    assert (said > 0) == (when != "none"), outcome.stderr
    assert said <= 2, "two former owners of each other went on for ever"
    if when != "none":
        assert "in segfault" in outcome.stderr, "faulthandler's traceback does not show the program"

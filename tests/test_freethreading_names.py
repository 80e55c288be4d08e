"""Names: a sample names the function that ran, even if it is dead by now and its address another's."""

import pytest
import support

FUNCTIONS = support.amount(14_000)
SECONDS = 6  # of CPU time, of which about a tenth is spent in those functions
# Samples wait in their rings for a look, which comes every 10 ms at this interval: dozens of functions die meanwhile.
INTERVAL_NS = 10_000_000


def check_names(outcome, least):
    found = outcome.json
    assert found["wrong_count"] == 0, found["wrong"]
    assert found["unknown"] == 0
    assert found["right"] >= least, "too few samples of dead functions to prove anything"
    assert found["used_again"] > 100, "no address was used again: the allocator did not put names to the test"


def test_functions_that_died_keep_their_names(freethreaded):
    check_names(freethreaded.run("names", FUNCTIONS, SECONDS, INTERVAL_NS), 25)


# --- names of threads ------------------------------------------------------------------------------


def agrees(shown, expected):
    """Whether a thread has its name, or with a dash or blank at the end one that begins so."""
    return expected is None or (shown.startswith(expected) if expected[-1:] in "- " else shown == expected)


def check_threads(outcome):
    found = outcome.json
    assert found["shown"].keys() == found["expected"].keys(), "a thread was not sampled"
    for function, expected in found["expected"].items():
        assert all(agrees(shown, expected) for shown in found["shown"][function]), (expected, found["shown"][function])
    assert found["calls"] == [], "Python code of the program was run for its name"
    return found


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_threads_that_ended_keep_their_last_names(every_interpreter, mode):
    check_threads(every_interpreter.run("thread_names", mode, "plain"))


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_odd_thread_names_and_objects(every_interpreter, mode):
    check_threads(every_interpreter.run("thread_names", mode, "odd"))


def test_program_that_replaces_the_dictionary_of_threads(every_interpreter):
    check_threads(every_interpreter.run("thread_names", "cpu", "replaced"))


def test_without_a_dict_watcher_the_living_keep_their_names(every_interpreter):
    check_threads(every_interpreter.run("thread_names", "cpu", "taken"))


def test_names_of_threads_that_nobody_found_do_not_pile_up(every_interpreter):
    threads = support.amount(5000)
    found = every_interpreter.run("thread_crowd", threads).json
    assert found["grown"] < found["names"] / 4, found
    assert found["after"] < found["names"] / 4, found


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_threads_that_are_renamed_by_others_as_they_come_and_go(every_interpreter, mode):
    found = every_interpreter.run("thread_renaming", support.amount(100), mode).json
    assert found["found"] > 0
    assert found["odd"] == [], "threads whose names were known before the stop"

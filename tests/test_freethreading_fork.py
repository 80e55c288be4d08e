"""Processes that fork, replace themselves or end while a session is active, and interpreters beside the sampled one."""

import os
import subprocess
from pathlib import Path

import pytest
import support

from stress import law


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
        assert child["stats"]["captured"] >= 50 and not law.broken(child["stats"])
        assert child["loop_seen"]
        assert child["timers_after"] == 0
    assert law.broken(found["stats"]) == []
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
    assert not law.broken(found["stats"]) and found["stats"]["captured"] > 0
    assert found["visiting"] > 0, "the threads that ran other interpreters were never sampled"
    assert found["foreign"] == [], "a frame of another interpreter was shown as this one's"


@pytest.mark.parametrize("state", ["active", "stopped"])
def test_a_foreign_profile_signal_keeps_its_default_action(freethreaded, state):
    outcome = freethreaded.run("neighbours", "profile_signal", state, check=False)
    assert outcome.json["reached"]
    assert outcome.returncode == -outcome.json["signal"]


# --- CPython's warning about forks ---------------------------------------------------------------

SUITE = """
import os
import threading
import unittest
import warnings

SECOND_THREAD = os.environ.get("SECOND_THREAD") == "yes"


def fork():
    child = os.fork()
    if child == 0:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Forks(unittest.TestCase):
    def setUp(self):
        self.over = threading.Event()
        if SECOND_THREAD:
            threading.Thread(target=self.over.wait).start()

    def tearDown(self):
        self.over.set()

    def test_fork(self):
        self.assertEqual(fork(), 3)

    def test_no_warning(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(20):
                fork()
        self.assertEqual([str(warning.message) for warning in caught], [])
"""
CONFTEST = "import spprof\nspprof.start(mode='{mode}')\n"
WARNING = "is multi-threaded, use of fork() may lead to deadlocks in the child"


@pytest.fixture
def suite(every_interpreter, tmp_path):
    """Runs a suite that forks, in a folder of its own, and gives status and output."""
    (tmp_path / "test_forks.py").write_text(SUITE)
    packages = [every_interpreter.packages, Path(pytest.__file__).parent.parent]

    def run(*arguments, second_thread=False):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
        environment["SECOND_THREAD"] = "yes" if second_thread else "no"
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command = [every_interpreter.path, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    run.folder = tmp_path
    return run


RUNNERS = {
    "unittest": ["-m", "unittest", "test_forks"],
    "pytest": ["-m", "pytest", "-p", "no:cacheprovider", "test_forks.py"],
}


@pytest.mark.parametrize("mode", ["cpu", "wall"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_suite_that_forks_is_not_warned_because_of_the_profiler(suite, runner, mode):
    status, output = suite(*RUNNERS[runner])
    assert (status, WARNING in output) == (0, False), output
    status, output = suite("-m", "spprof", "run", "--mode", mode, "-o", "out", *RUNNERS[runner])
    assert (status, WARNING in output) == (0, False), output
    assert "saved to" in output


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_a_suite_whose_conftest_starts_a_session_is_not_warned(suite, mode):
    (suite.folder / "conftest.py").write_text(CONFTEST.format(mode=mode))
    status, output = suite(*RUNNERS["pytest"])
    assert (status, WARNING in output) == (0, False), output


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_program_that_has_two_threads_is_warned_as_without_the_profiler(suite, runner):
    alone = suite(*RUNNERS[runner], second_thread=True)
    profiled = suite("-m", "spprof", "run", "-o", "out", *RUNNERS[runner], second_thread=True)
    assert profiled[0] == alone[0] == 1, profiled[1]
    assert profiled[1].count(WARNING) == alone[1].count(WARNING) > 0


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_every_way_to_fork_warns_as_without_the_profiler(every_interpreter, mode):
    found = every_interpreter.run("fork_ways", mode).json
    assert found["sampled"] == found["alone"] == found["after"]


# --- many forks ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["cpu", "wall"])
@pytest.mark.parametrize("way", ["alone", "busy", "two", "stops"])
def test_a_storm_of_forks_loses_nothing(every_interpreter, mode, way):
    forks = support.amount(300 if way == "alone" else 100)
    found = every_interpreter.run("fork_storm", mode, way, forks).json
    assert found["statuses"] == [0] * (forks * (2 if way == "two" else 1))
    assert found["lawful"] and found["profiles"] > 0
    assert found["lost"] == [], "threads that are not in the profile"
    assert (found["timers"], found["threads"]) == (0, 1)
    if way == "alone":
        assert found["messages"] == []

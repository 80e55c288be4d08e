"""What the harnesses below stress share: children that end, and results that are whole."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import support

sys.path.insert(0, str(support.ROOT))

from stress import children, results


def test_a_result_replaces_the_one_before(tmp_path):
    path = tmp_path / "results" / "one.json"
    for value in ({"a": 1}, {"b": [2]}):
        results.write_whole(path, value)
        assert json.loads(path.read_text()) == value
    assert list(path.parent.iterdir()) == [path]


def test_a_result_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "one.json"
    results.write_whole(path, {"a": 1})
    with pytest.raises(TypeError):
        results.write_whole(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_has_no_place_says_why(tmp_path):
    (tmp_path / "one.json").mkdir()
    with pytest.raises(IsADirectoryError):
        results.write_whole(tmp_path / "one.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    with pytest.raises(OSError, match="File name too long"):
        results.write_whole(tmp_path / ("a" * 300), {"a": 1})


@pytest.mark.parametrize("number, impossible, said", [(0, 0, "-"), (3_000_000, 0, "<= 1.0e-06"), (1000, 2, "2.0e-03")])
def test_a_rate_has_its_bound(number, impossible, said):
    assert results.bound(number, impossible) == said


@pytest.mark.parametrize(
    "status, said", [(0, None), (3, "exited with status 3"), (-signal.SIGSEGV, "crashed with SIGSEGV")]
)
def test_a_status_is_described(status, said):
    assert children.describe(status) == said


def test_a_group_ends_with_what_it_started():
    program = (
        "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as child:
        child.stdout.readline()
        children.end_group(child)
        assert child.returncode == -signal.SIGKILL
        assert child.stdout.read() == b""  # the grandchild had the pipe open too
        children.end_group(child)  # what is gone already is no error


def test_what_runs_to_its_end_is_told():
    done = children.run_to_its_end(
        [sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)"]
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "1\n", "2\n")


def test_an_interrupted_command_leaves_nothing(tmp_path, monkeypatch):
    """Neither what it has started nor what that has put into the folder for temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    pid = tmp_path.with_name("pid")
    program = f"""
import os, subprocess, sys, tempfile
open(tempfile.mkstemp()[1], "w").write("half")
child = subprocess.Popen(["sleep", "600"])
open({str(pid)!r} + ".new", "w").write(str(child.pid))
os.rename({str(pid)!r} + ".new", {str(pid)!r})
child.wait()
"""
    threading.Thread(target=interrupt_when_there, args=(pid,), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        children.run_to_its_end([sys.executable, "-c", program])
    assert list(tmp_path.iterdir()) == []
    until = time.monotonic() + support.HANG_SECONDS
    # It is killed; whoever inherits it may yet have to reap it.
    while is_running(pid.read_text()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid.read_text())


def interrupt_when_there(path):
    while not path.exists():
        time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def is_running(pid):
    stat = Path("/proc") / pid / "stat"
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_children_that_are_stopped_end_and_no_more_start():
    all_of_them = children.Children()
    with pytest.raises(children.Stopped), all_of_them.start(["sleep", "600"]) as child:
        all_of_them.stop()
        assert child.wait() == -signal.SIGKILL
    with pytest.raises(children.Stopped), all_of_them.start(["sleep", "600"]):
        raise AssertionError("one more was started")


def test_an_interrupt_waits_for_what_is_undisturbed():
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(KeyboardInterrupt), children.undisturbed():
        signal.raise_signal(signal.SIGTERM)
        done.append("after the signal")
    assert done
    assert signal.getsignal(signal.SIGTERM) is before


# --- signals that whoever started it had ignored -------------------------------------------------

QUIET = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD)
RUNNER = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from stress.children import begun, catch_signals
catch_signals()
try:
    command = [sys.executable, "-c", "print('ready', flush=True); input()"]
    with begun(command, stdin=subprocess.PIPE) as child:
        for line in sys.stdin:
            print(child.poll(), flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextlib.contextmanager
def started_with_ignored(numbers, command, **options):
    """A child that was started where these signals alone are ignored, as by nohup or in the background."""
    wanted = {number: signal.SIG_DFL for number in (*QUIET, signal.SIGHUP)}
    wanted |= {number: signal.SIG_IGN for number in numbers}
    former = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(command, text=True, start_new_session=True, **streams, **options)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    with child:
        try:
            yield child
        finally:
            children.kill_group(child)


@contextlib.contextmanager
def runner_with_ignored(*numbers):
    """A run of a harness with a child, which has begun."""
    with started_with_ignored(numbers, [sys.executable, "-c", RUNNER, support.ROOT]) as runner:
        assert runner.stdout.readline() == "ready\n"
        yield runner


def the_child_of(runner):
    path = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    return path.read_text().split()[0]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_a_run_ends_by_signals_that_were_ignored_when_it_began(how):
    with runner_with_ignored(*QUIET, signal.SIGHUP) as runner:
        child = the_child_of(runner)
        runner.send_signal(how)
        assert runner.wait(support.HANG_SECONDS) == 130
        assert not is_running(child)


def test_a_run_ends_with_its_terminal():
    with runner_with_ignored() as runner:
        child = the_child_of(runner)
        runner.send_signal(signal.SIGHUP)
        assert runner.wait(support.HANG_SECONDS) == 130
        assert not is_running(child)


def test_a_run_under_nohup_goes_on_when_its_terminal_ends():
    """And so does what it has started, which is in a session of its own."""
    with runner_with_ignored(signal.SIGHUP) as runner:
        child = int(the_child_of(runner))
        for process in (runner.pid, child):
            os.kill(process, signal.SIGHUP)
        runner.stdin.write("go on\n")
        runner.stdin.flush()
        assert runner.stdout.readline() == "None\n"


def ignored_by(status):
    """The signals that a process ignores, by the text of its /proc/PID/status."""
    mask = int(re.search(r"^SigIgn:\s+(\w+)$", status, re.M)[1], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


TESTS = """
import signal, subprocess, sys
import support

SHOW = [sys.executable, "-c", "print(open('/proc/self/status').read())"]

def test_it(tmp_path):
    shown = subprocess.run(SHOW, capture_output=True, text=True)
    assert shown.returncode == 0
    open("by_itself", "w").write(shown.stdout)
    with support.hearing(signal.SIGHUP):
        heard = subprocess.run(SHOW, capture_output=True, text=True)
    open("hearing", "w").write(heard.stdout)
    open("tests", "w").write(open("/proc/self/status").read())

def test_failing_child_is_noticed():
    assert subprocess.run(["false"]).returncode == 1
"""


def left(folder):
    return [path for path in folder.iterdir() if path.is_file() and path.suffix != ".py"]


def test_tests_and_what_they_start_hear_what_was_ignored(tmp_path):
    """But for the end of the terminal under nohup, which a child alone hears that is to be sent it."""
    (tmp_path / "test_one.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(support.ROOT / "tests")}
    options = ("-q", "-pconftest", "-pno:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, "test_one.py"]
    numbers = (*QUIET, signal.SIGHUP)
    with started_with_ignored(numbers, command, cwd=tmp_path, env=environment) as run:
        output, _ = run.communicate(timeout=support.HANG_SECONDS)
    assert run.returncode == 0, output
    ignored = {path.name: ignored_by(path.read_text()) & {*numbers} for path in left(tmp_path)}
    assert ignored == {"by_itself": {signal.SIGHUP}, "hearing": set(), "tests": {signal.SIGHUP}}


def runners():
    """The programs in Python that ninja runs, and that of ci/verify."""
    tool = ["ninja", "-C", support.ROOT, "-t"]
    text = subprocess.check_output([*tool, "targets", "all"], text=True)
    for target in re.findall(r"^([\w-]+): run$", text, re.M):
        command = subprocess.check_output([*tool, "commands", "-s", target], text=True)
        if command.strip().endswith(".py"):
            yield command.split()[-1]
    yield "ci/verdict.py"


CAUGHT = """
import runpy, subprocess, sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[1] + "/" + sys.argv[2].rpartition("/")[0])
from stress import children

class Refused(subprocess.Popen):
    def __init__(self, *arguments, **options):
        raise SystemExit("something is started before signals are caught")

def caught():
    raise SystemExit("caught")

children.catch_signals, subprocess.Popen = caught, Refused
sys.argv[:] = [sys.argv[2], *sys.argv[3:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("program", sorted(runners()))
def test_every_run_catches_signals_before_it_starts_anything(program):
    command = [sys.executable, "-c", CAUGHT, support.ROOT, program]
    done = subprocess.run(command, cwd=support.ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "caught"

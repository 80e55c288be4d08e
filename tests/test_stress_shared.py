"""What the harnesses below stress share: children, processors and results."""

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

from stress import cells, children, lanes, results


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


def test_child_ends_where_its_block_raises():
    with pytest.raises(ZeroDivisionError), children.Children().start(["sleep", "600"]) as child:
        raise ZeroDivisionError
    assert child.returncode == -signal.SIGKILL


def test_an_interrupt_waits_for_what_is_undisturbed():
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(KeyboardInterrupt), children.undisturbed():
        signal.raise_signal(signal.SIGTERM)
        done.append("after the signal")
    assert done
    assert signal.getsignal(signal.SIGTERM) is before


# --- how much of the machine is used --------------------------------------------------------------


def test_processors_are_those_that_the_run_may_use(monkeypatch):
    monkeypatch.delenv("STRESS_PROCESSORS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 6})
    assert lanes.processors() == 3
    assert lanes.chosen() == []
    monkeypatch.setenv("STRESS_PROCESSORS", "12")
    assert lanes.processors() == 12
    assert lanes.chosen() == ["STRESS_PROCESSORS=12"]


@pytest.mark.parametrize("text", ["many", "0", "-1", "2.5", "4097", "\u0662"])
def test_bad_number_of_processors_is_named(monkeypatch, text):
    monkeypatch.setenv("STRESS_PROCESSORS", text)
    with pytest.raises(SystemExit, match=f"STRESS_PROCESSORS is '{text}'; set it to a number"):
        lanes.processors()


GENEROUS = 1 << 50


@pytest.mark.parametrize(
    "processors, each, least, memory, files, count",
    [
        (64, 1, 1, GENEROUS, 1 << 20, 64),
        (64, 3, 1, GENEROUS, 1 << 20, 21),
        (2, 3, 1, GENEROUS, 1 << 20, 1),
        (1, 4, 2, GENEROUS, 1 << 20, 2),  # no fewer than that on a small machine
        (64, 1, 1, 10 * lanes.MEMORY_EACH, 1 << 20, 5),  # half of it
        (64, 1, 2, 1 << 20, 1 << 20, 1),
        (64, 1, 1, GENEROUS, 7 * lanes.FILES_EACH, 7),
    ],
)
def test_as_many_run_at_once_as_the_machine_holds(monkeypatch, processors, each, least, memory, files, count):
    monkeypatch.setenv("STRESS_PROCESSORS", str(processors))
    monkeypatch.setattr(lanes, "free_memory", lambda: memory)
    monkeypatch.setattr(lanes, "free_files", lambda: files)
    assert lanes.at_once(each, least) == count


@pytest.mark.parametrize("most, used, free", [(None, None, 3 << 30), ("max", "5", 3 << 30), ("1000", "400", 600)])
def test_free_memory_is_the_machines_and_the_control_groups(tmp_path, monkeypatch, most, used, free):
    (tmp_path / "meminfo").write_text("MemTotal:  4194304 kB\nMemAvailable:  3145728 kB\n")
    for name, text in (("memory.max", most), ("memory.current", used)):
        if text is not None:
            (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(lanes, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(lanes, "CGROUP", tmp_path)
    assert lanes.free_memory() == free


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(lanes.time, "monotonic", lambda: self.now)


def test_time_is_shared_by_weight_and_what_is_saved_is_too(monkeypatch):
    clock = Clock(monkeypatch)
    shares = lanes.Shares([1, 2, 1, 0], count=1, total=44, overhead=1, least=0.5)
    with shares.take(1) as seconds:
        assert seconds == 10  # of 40
        clock.now += 11
    with shares.take(2) as seconds:
        assert seconds == 20
        clock.now += 5  # it ended early
    with shares.take(1) as seconds:
        assert seconds == 26
        clock.now += 27
    with shares.take(0) as seconds:
        assert seconds == 0.5


def test_cells_that_run_at_once_have_the_time_of_their_own_lanes(monkeypatch):
    clock = Clock(monkeypatch)
    shares = lanes.Shares([1] * 4, count=2, total=22, overhead=1, least=0.5)
    for _ in range(2):
        with shares.take(1) as first, shares.take(1) as second:
            assert (first, second) == (10, 10)
            clock.now += 11


def test_a_heavy_cell_beside_light_ones_has_its_share_and_all_lanes_end_together(monkeypatch):
    clock = Clock(monkeypatch)
    shares = lanes.Shares([3, 1, 1, 1], count=2, total=36, overhead=0, least=0.5)
    with shares.take(3) as heavy:
        for _ in range(3):
            with shares.take(1) as light:
                assert light == pytest.approx(12)
                clock.now += light
    assert heavy == 36 and clock.now == pytest.approx(1036)


def test_cells_run_at_once_and_no_more_than_that():
    meeting, running, lock, most = threading.Barrier(3), [], threading.Lock(), []

    def work(cell):
        with lock:
            running.append(cell)
            most.append(len(running))
        meeting.wait(support.HANG_SECONDS)  # three at a time, or this breaks
        with lock:
            running.remove(cell)

    lanes.run_at_once(work, range(9), 3, children.Children())
    assert len(most) == 9 and max(most) == 3


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
def test_cell_that_raises_ends_the_others_and_no_more_begin(raised):
    begun, child_runs, all_of_them = [], threading.Event(), children.Children()

    def work(cell):
        begun.append(cell)
        if cell == 0:
            with all_of_them.start(["sleep", "600"]) as child:
                child_runs.set()
                child.wait()
        child_runs.wait(support.HANG_SECONDS)
        raise raised

    with pytest.raises(raised):
        lanes.run_at_once(work, range(100), 2, all_of_them)
    assert all_of_them.running == set()
    assert sorted(begun) == [0, 1]


@pytest.mark.parametrize("hears", [threading.main_thread, threading.current_thread])
def test_interrupted_cells_end(hears):
    """Also where the interrupt does not end the main thread's wait: it came an instant before, or to
    another thread."""
    all_of_them, began = children.Children(), []

    def work(cell):
        with all_of_them.start(["sleep", "600"]) as child:
            began.append(child)
            signal.pthread_kill(hears().ident, signal.SIGINT)
            child.wait()

    with pytest.raises(KeyboardInterrupt):
        lanes.run_at_once(work, range(3), 1, all_of_them)
    assert [child.returncode for child in began] == [-signal.SIGKILL]


# --- a cell ---------------------------------------------------------------------------------------


def watched(script, seconds=support.HANG_SECONDS):
    """What becomes of a shell's script, which has the path of its result as $1."""
    command = ["sh", "-c", script, "sh"]
    return cells.watch(lambda result: [*command, result], dict(os.environ), seconds, children.Children(), "cell-")


@pytest.mark.parametrize(
    "script, found, problem",
    [
        ("echo 5 > $1", 5, None),
        ("echo 5 > $1; echo why >&2; exit 3", 5, "exited with status 3\n    why"),
        ("echo said; kill -SEGV $$", None, "crashed with SIGSEGV\n    said"),
        ("true", None, "left no result"),
    ],
)
def test_what_became_of_a_cell_is_told(script, found, problem):
    assert watched(script) == (found, problem)


def test_cell_that_hangs_ends_with_what_it_started(tmp_path):
    pid = tmp_path / "pid"
    found, problem = watched(f"sleep 600 & echo $! > {pid}; echo waiting; wait", 1)
    assert (found, problem) == (None, "hung\n    waiting")
    until = time.monotonic() + support.HANG_SECONDS
    while is_running(pid.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid.read_text().strip())


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

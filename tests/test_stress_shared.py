"""What the harnesses below stress share: children that end, and results that are whole."""

import json
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

"""ci/verify: however it ends, it leaves nothing running and says how to repeat it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support

CI = support.ROOT / "ci"
REPEAT = "ci/verify: failed; to repeat: ci/verify"


def workloads_of(pid):
    """The workloads that a process has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = re.search(r"^PPid:\t(\d+)$", (process / "status").read_text(), re.M)[1]
            if int(parent) == pid and "workload.py" in (process / "cmdline").read_text():
                found.append(process)
        except OSError:
            continue  # gone meanwhile
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_interrupted_it_leaves_nothing(how):
    """Started as a job in the background, with SIGINT ignored."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen([CI / "verify"], stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, former)
    with child:
        while not (found := workloads_of(child.pid)) and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(how)
        complaint = child.stderr.read()
    assert found and child.returncode == 130, complaint
    assert complaint.splitlines()[-2:] == ["verify: interrupted", REPEAT]
    assert not any((process / "exe").exists() for process in found)


def test_what_fails_says_how_to_repeat_it():
    command = [sys.executable, CI / "verdict.py", "9.9t"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 1
    complaint, repeat = done.stderr.splitlines()[-2:]
    assert complaint.startswith("verify: ci/python: no interpreter is named '9.9t'; there are: ")
    assert repeat == REPEAT

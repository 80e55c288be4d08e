"""`ninja fuzz`: a short run for real, an interrupted one, a finding, and what it makes of each way to fail."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support

FUZZ = support.ROOT / "fuzz"
sys.path.insert(0, str(FUZZ))

from targets import BUILD, REASONS, TARGETS  # noqa: E402 - a folder of its own

run = support.module_of(FUZZ / "run.py")


def start(folder, *, seconds, targets=""):
    environment = {**os.environ, "FUZZ_SECONDS": str(seconds), "FUZZ_TARGETS": targets}
    command = [sys.executable, FUZZ / "run.py", "--json", folder / "fuzz.json"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def left_behind():
    """Processes whose program is one of the targets, or afl-fuzz on one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(BUILD) in command and "run.py" not in command and "pytest" not in command:
            found.append(command.replace("\0", " "))
    return found


@pytest.fixture(scope="module", autouse=True)
def binaries():
    support.ninja("fuzz-binaries")


def test_short_run(tmp_path):
    """A few seconds a target: everything is reached from the seeds, and each planted bug is found."""
    child = start(tmp_path, seconds=3)
    stdout, stderr = child.communicate(timeout=support.HANG_SECONDS)
    assert child.returncode == 0, stdout[-3000:] + stderr[-1000:]
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert found["reasons_unreached"] == [] and not found["interrupted"]
    assert set(found["targets"]) == set(found["controls"]) == set(TARGETS)
    for name, target in found["targets"].items():
        assert target["execs"] > 0 and target["execs_per_s"] > 0, name
        assert (target["stability"], target["crashes"], target["hangs"]) == (100.0, 0, 0), name
        assert found["controls"][name]["found"], name
        assert name in stdout
    assert left_behind() == []


def test_interrupted_run_keeps_what_it_had(tmp_path):
    child = start(tmp_path, seconds=600, targets="layout")
    # Inputs are there once both instances have read the seeds.
    for line in child.stdout:
        if " s, " in line and " 0 inputs" not in line:
            break
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=support.HANG_SECONDS)
    assert child.returncode == 130
    assert stdout.strip().splitlines()[-1] == "to repeat: FUZZ_SECONDS='600' FUZZ_TARGETS='layout' ninja fuzz"
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert found["interrupted"] and found["targets"]["layout"]["execs"] > 0
    assert found["targets"]["layout"]["corpus"] == len(list((BUILD / "layout" / "corpus").iterdir())) > 0
    assert left_behind() == []


@pytest.mark.parametrize(
    ("name", "value"), [("FUZZ_SECONDS", "soon"), ("FUZZ_SECONDS", "0"), ("FUZZ_TARGETS", "walk,walls")]
)
def test_bad_option(name, value):
    done = subprocess.run(
        [sys.executable, FUZZ / "run.py"], env={**os.environ, name: value}, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and name in done.stderr


# --- a finding ------------------------------------------------------------------------------------------------


class Planted:
    """A target whose every program has its planted bug: what is found in it is a finding."""

    def __init__(self, name, folder):
        self.name, self.mutator, self.regressions = name, None, folder / "regressions"

    def program(self, variant):
        kind = "planted-replay" if variant in ("replay", "plain") else "planted"
        path = BUILD / self.name / kind
        support.ninja(str(path.relative_to(support.ROOT)))
        return path


def a_crash_of(name, folder):
    """Finds the planted bug."""
    result = run.Result(TARGETS[name])
    run.run_control(result)
    assert result.control["found"]
    [crash, *_] = sorted((BUILD / name / "control" / "planted" / "crashes").glob("id*"))
    return crash


def test_finding_is_minimised_saved_and_repeats(tmp_path, monkeypatch):
    crash = a_crash_of("walk", tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    finding = run.save_finding(Planted("walk", tmp_path), crash, "crash")
    saved = tmp_path / finding["file"]
    assert saved.stat().st_size <= crash.stat().st_size
    assert finding["shows"].startswith("fuzz: walk: ")
    with_bug = subprocess.run([Planted("walk", tmp_path).program("replay"), saved], capture_output=True, text=True)
    assert with_bug.returncode == -signal.SIGABRT
    assert with_bug.stderr.strip().splitlines()[-1] == f"fuzz: walk: repeat with: fuzz/replay walk {saved}"
    support.ninja("build/fuzz/walk/replay")
    sound = subprocess.run([BUILD / "walk" / "replay", saved], capture_output=True, text=True)
    assert sound.returncode == 0, sound.stderr


# --- what counts as failed --------------------------------------------------------------------------------------


class Left:
    """An instance of afl-fuzz that has ended."""

    variant = "afl"

    def __init__(self, crashes=(), hangs=(), **stats):
        self.found = {"crashes": crashes, "hangs": hangs, "queue": ()}
        self.left = {"execs_done": "1000", "execs_per_sec": "500.0", "stability": "100.00%", **stats}

    def stats(self):
        return self.left

    def files(self, kind):
        return list(self.found[kind])


def judged(instance, reasons=TARGETS["walk"].reasons, found=True):
    result = run.Result(TARGETS["walk"], [instance], reasons=tuple(reasons))
    result.control = {"found": found, "seconds": 60, "bug": "something"}
    return " / ".join(run.judge(result))


def test_what_passes():
    assert judged(Left()) == ""


@pytest.mark.parametrize(
    ("instance", "told"),
    [
        (Left(crashes=["id:0"]), "1 crashes"),
        (Left(hangs=["id:0", "id:1"]), "2 hangs"),
        (Left(stability="99.67%"), "stability 99.67 %"),
        (Left(execs_done="0"), "nothing was executed"),
    ],
)
def test_what_fails(instance, told):
    assert told in judged(instance)


@pytest.mark.parametrize("reason", TARGETS["walk"].reasons)
def test_reason_that_was_not_reached_fails(reason):
    reached = [name for name in TARGETS["walk"].reasons if name != reason]
    assert judged(Left(), reached) == f"not reached: {reason}"


def test_planted_bug_that_was_not_found_fails():
    assert "planted bug was not found" in judged(Left(), found=False)


def test_every_reason_is_asked_of_a_target():
    assert {name for target in TARGETS.values() for name in target.reasons} == set(REASONS)

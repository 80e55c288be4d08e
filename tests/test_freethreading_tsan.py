"""ThreadSanitizer over the core: a short run of all parts, and what would make the run blind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import support

TSAN = support.ROOT / "stress" / "tsan"
sys.path.insert(0, str(TSAN))

import controls  # noqa: E402

import build  # noqa: E402 - a folder of its own, beside the package

RUN = TSAN / "run.py"
LITTLE = (20_000, 500, 1, 4)  # handler runs, looks, seed, threads


run = support.module_of(RUN)


def run_part(part, folder):
    """(status, result, output) of a short run of one part."""
    result = folder / f"{part}.json"
    done = subprocess.run(
        [RUN, "--short", "--only", part, "--result", result],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, json.loads(result.read_text()) if result.exists() else None, done.stdout


# --- the run ------------------------------------------------------------------------------------------------


def test_synthetic_interpreter_under_it(tmp_path):
    status, found, output = run_part("synthetic", tmp_path)
    assert status == 0, output
    assert found["reports"] == 0
    assert found["walks"] >= 100_000 and found["handler_runs"] >= 10_000 and found["drains"] > 0
    assert found["synthetic"]["impossible"] == 0


def test_storm_on_the_synthetic_interpreter(tmp_path):
    status, found, output = run_part("storm", tmp_path)
    assert status == 0, output
    assert found["storm"]["impossible"] == 0
    assert found["storm"]["reasons"]["captured"] > 0


def test_controls_are_reported(tmp_path):
    status, found, output = run_part("controls", tmp_path)
    assert status == 0, output
    assert found["controls_reported"] == len(controls.CONTROLS) >= 4


def test_cpython_under_it(tmp_path):
    status, found, output = run_part("cpython", tmp_path)
    assert status == 0, output
    assert found["reports"] == 0
    assert found["cpython"]["captured"] > 0 and found["cpython"]["gil"] is False


# --- what would make it blind ---------------------------------------------------------------------------------


def test_nothing_of_ours_is_suppressed():
    assert (TSAN / "suppressions.txt").read_bytes() == b""


def test_a_core_that_is_not_broken_is_no_control(tmp_path):
    amount = run.Amount(synthetic=LITTLE[:2], storm=(), cpython=())
    assert run.run_control(controls.Control("none", "", ()), amount, 1, tmp_path) is None


def test_a_control_that_patches_nothing_is_an_error(tmp_path):
    with pytest.raises(build.Failed, match="core/ring.c has 0 places like 'no such text', not 1"):
        build.copy_core(tmp_path, (("ring.c", "no such text", ""),))
    with pytest.raises(build.Failed, match="not 1"):
        build.copy_core(tmp_path / "again", (("ring.c", "ring->head", ""),))


LIES = {
    "without_the_root": (
        "ordinary/session.c",
        "        .depth = record->head.depth,\n",
        "        .depth = record->head.depth - (record->head.depth > 1),\n",
    ),
    "another_instruction": (
        "ordinary/session.c",
        "            .instruction = record->frames[i].instruction,\n",
        "            .instruction = record->frames[i].instruction + (i == 3),\n",
    ),
    "another_thread": (
        "ordinary/session.c",
        "        .thread = record->head.thread,\n",
        "        .thread = record->head.thread / 2,\n",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_the_oracle_sees_a_core_that_lies(lie, tmp_path):
    program = build.sanitized_interpreter(lie, (LIES[lie],))
    done = subprocess.run([program, *map(str, LITTLE)], capture_output=True, text=True)
    errors = tmp_path / "errors"
    errors.write_text(done.stderr)
    found, wrong = run.judge_synthetic(lie, done.returncode, done.stdout, errors, (0,))
    assert done.returncode == 1
    assert found["impossible"] > 0
    assert "impossible stacks" in wrong[0]


# --- all processors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processors, threads", [(1, 4), (2, 4), (12, 12), (64, 16)])
@pytest.mark.parametrize("part, last", [("synthetic", None), ("storm", None), ("cpython", -1)])
def test_threads_and_what_they_do_grow_with_the_processors(monkeypatch, tmp_path, part, last, processors, threads):
    monkeypatch.setenv("STRESS_PROCESSORS", str(processors))
    commands = []

    class Started(Exception):
        """What was to be run is known."""

    def run_child(what, command, environment, errors):
        commands.append(command)
        raise Started

    monkeypatch.setattr(run, "run_child", run_child)
    amount = run.Amount(synthetic=(400, 40), storm=(400, 40), cpython=(400, 40))
    with pytest.raises(Started):
        run.RUNS[part](amount, 7, tmp_path)
    assert commands[0][:last][-4:] == [100 * threads, 10 * threads, 7, threads]


def test_controls_run_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("STRESS_PROCESSORS", "8")
    meeting = threading.Barrier(2)

    def run_child(what, command, environment, errors, start):
        meeting.wait(support.HANG_SECONDS)
        Path(errors).write_text(REPORT.format("ring_push /somewhere/core/ring.c:24:5"))
        return run.REPORTED, ""

    monkeypatch.setattr(run, "run_child", run_child)
    found, wrong = run.run_controls(run.SHORT, 1, tmp_path)
    assert list(found) == [control.name for control in controls.CONTROLS] and wrong == []


REPORT = """==================
WARNING: ThreadSanitizer: data race (pid=1)
  Write of size 8 at 0x7b by thread T1:
    #0 {} (python3.14t+0x1)

SUMMARY: ThreadSanitizer: data race in somewhere
==================
"""


@pytest.mark.parametrize(
    "frame, ours",
    [
        ("ring_push /somewhere/core/ring.c:24:5", True),
        ("drain_slot /somewhere/core/ordinary/session.c:110:9", True),
        ("native_start /somewhere/core/python/native/module.c:123:24", True),
        ("stripped <null> (_native.cpython-314t-x86_64-linux-gnu.so+0x6c)", True),
        ("PyMutex_LockFlags /source/./Include/internal/pycore_lock.h:56:10", False),
    ],
)
def test_whose_report_it_is(frame, ours):
    found = run.read_reports("before\n" + REPORT.format(frame) + "between\n" + REPORT.format("main /source/main.c:1"))
    assert (len(found.ours), len(found.others)) == ((1, 1) if ours else (0, 2))


def test_too_little_is_a_failure():
    assert run.too_little({"walks": 100_000, "handler_runs": 10_000}, ("synthetic",)) == []
    assert len(run.too_little({"walks": 99_999, "handler_runs": 9_999}, ("synthetic", "cpython"))) == 2


def test_a_report_fails_the_run(tmp_path, monkeypatch):
    racy = build.sanitized_interpreter(controls.CONTROLS[0].name, controls.CONTROLS[0].patches)
    monkeypatch.setattr(run.build, "sanitized_interpreter", lambda name: racy)
    found, wrong = run.run_synthetic(run.Amount(synthetic=(1, 0), storm=(), cpython=()), 1, tmp_path)
    assert found["reports"] > 0
    assert "WARNING: ThreadSanitizer: data race" in wrong[0]


def runs_of(program):
    """The processes that run it."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.path.samefile(process / "exe", program):
                found.append(process)
        except OSError:
            continue  # gone meanwhile, or not ours
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_interrupting_it_leaves_nothing(how, tmp_path):
    interpreter = build.sanitized_interpreter("core")
    result = tmp_path / "result.json"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [RUN, "--only", "synthetic", "--result", result]
    program = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + support.HANG_SECONDS
    while not (found := runs_of(interpreter)) and program.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    program.send_signal(how)
    program.wait()
    assert found
    assert program.returncode == 130
    assert runs_of(interpreter) == []
    assert list(tmp_path.iterdir()) == []

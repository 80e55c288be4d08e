"""Sampling after every machine instruction: a short run, and the oracle that judges it."""

import ctypes
import json
import os
import platform
import subprocess
import sys

import pytest
import support

from stress.interpreters import FREE_THREADED

STEP = support.ROOT / "stress" / "step"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the trap flag is x86-64's")


def build(name):
    support.ninja("library")
    made = subprocess.run([STEP / "build.sh", name], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def runner():
    return support.module_of(STEP / "run.py")


# --- a short run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short_run(interpreter, tmp_path_factory):
    for name in FREE_THREADED:
        interpreter(name)
        build(name)
    return run_short(tmp_path_factory.mktemp("step") / "step.json", STRESS_PROCESSORS="2")["interpreters"]


def run_short(result, *flags, **environment):
    command = [sys.executable, STEP / "run.py", "--short", "--result", result, *flags]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(result.read_text())


@pytest.mark.parametrize("name", FREE_THREADED)
def test_stacks_are_continuous(short_run, name):
    found = short_run[name]
    print(f"{name}: {100 * found['captured'] / found['points']:.2f} % of {found['points']:,} points captured")
    assert found["points"] >= 20_000
    assert found["discontinuities"] == 0
    assert found["points"] == found["captured"] + sum(found["dropped"].values())
    assert found["frames_gained"] > 100 and found["frames_lost"] > 100
    assert found["threads"] == 1


def test_instantiation_through_the_trampoline_was_met(short_run):
    for name in {*FREE_THREADED} - {"3.13t"}:  # which does not specialise calls
        assert short_run[name]["trampolines"] > 0, name


def test_parts_of_the_workload_are_stepped_at_once(short_run, tmp_path):
    """And all of it is, once."""
    found = run_short(tmp_path / "step.json", "--only", "3.14t", STRESS_PROCESSORS="2")
    assert found["processors"] == 2
    whole, parts = short_run["3.14t"], found["interpreters"]["3.14t"]
    assert (whole["children"], parts["children"]) == (1, 2)
    assert parts["threads"] == whole["threads"]
    assert parts["trampolines"] == whole["trampolines"]
    assert abs(parts["frames_gained"] - whole["frames_gained"]) <= 10  # a child's own


@pytest.mark.parametrize(
    "processors, names, mode, parts",
    [
        (2, FREE_THREADED, "all", 1),
        (64, FREE_THREADED, "control", 1),
        (8, FREE_THREADED[:2], "all", 4),
        (3, ("3.14t",), "every", 3),
        (64, ("3.14t",), "short", 7),
    ],
)
def test_there_are_as_many_parts_as_processors_for_them(runner, monkeypatch, processors, names, mode, parts):
    monkeypatch.setenv("STRESS_PROCESSORS", str(processors))
    monkeypatch.setattr("stress.lanes.free_memory", lambda: 1 << 50)
    assert runner.parts_for(names, mode) == parts


def test_what_parts_have_found_is_added_up(runner):
    drops = [{"detached": {"birth": {"f": 1, "g": 2}}}, {"detached": {"birth": {"g": 3}, "end": {"h": 4}}}]
    one, other = ({**GOOD, "dropped": each, "version": "3.14", "broken": [each]} for each in drops)
    found = runner.merged([one, {**other, "free_threaded": False}])
    assert found["points"] == 200 and found["captured"] == 194 and found["version"] == "3.14"
    assert found["dropped"] == {"detached": {"birth": {"f": 1, "g": 5}, "end": {"h": 4}}}
    assert found["broken"] == drops and found["free_threaded"] is False and found["children"] == 2


# --- what fails a run --------------------------------------------------------------------------------


GOOD = {
    "free_threaded": True,
    "points": 100,
    "captured": 97,
    "discontinuities": 0,
    "lost": 0,
    "truncated": 0,
    "frames_gained": 4,
    "frames_lost": 4,
    "threads": 1,
    "dropped": {"no_thread_state": {"birth": {"clone3": 3}}},
}


def test_a_good_run_has_no_complaint(runner):
    assert runner.complaints(GOOD, 100) == []


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"discontinuities": 1}, "discontinuities"),
        ({"captured": 98}, "are not"),
        ({"points": 99, "captured": 96}, "of 100"),
        ({"lost": 1}, "recorded"),
        ({"truncated": 1}, "too deep"),
        ({"frames_gained": 0}, "no frame"),
        ({"free_threaded": False}, "free-threaded"),
        ({"dropped": {"no_thread_state": {"between": {"clone3": 3}}}}, "not explained"),
        ({"dropped": {"code_range": {"between": {"_PyFrame_Push": 3}}}}, "_PyFrame_Push: not explained"),
        ({"dropped": {"bounds": {"between": {"_PyEval_EvalFrameDefault": 3}}}}, "bounds"),
    ],
)
def test_complaints(runner, change, complaint):
    (line,) = runner.complaints(GOOD | change, 100)
    assert complaint in line


def test_a_control_that_is_not_found_is_told(runner):
    assert runner.control_complaint({"discontinuities": 0})
    assert runner.control_complaint({"discontinuities": 1}) is None


def test_a_bad_number_of_points_names_the_command(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "STEP_POINTS": "many"}
    command = [sys.executable, STEP / "run.py", "--result", tmp_path / "step.json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert not (tmp_path / "step.json").exists()
    assert run.stderr.splitlines()[-1] == "to repeat: STEP_POINTS=many stress/step/run.py"


# --- the oracle ------------------------------------------------------------------------------------------

SAME, GAINED, LOST, BROKEN = range(4)


class Frame(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint64), ("instruction", ctypes.c_uint32), ("first_line", ctypes.c_int32)]


class Stack(ctypes.Structure):
    _fields_ = [("depth", ctypes.c_uint32), ("frames", ctypes.POINTER(Frame))]


def stack(text):
    """Innermost first: "b5 a3" is function b at instruction 5, called by a at instruction 3."""
    frames = [Frame(ord(word[0]), int(word[1:]), 1) for word in text.split()]
    return Stack(len(frames), (Frame * len(frames))(*frames))


@pytest.fixture(scope="module")
def compare(interpreter):
    interpreter("3.14t")
    build("3.14t")
    function = ctypes.CDLL(str(support.BUILD / "stress" / "3.14t" / "continuity.so")).continuity_compare
    function.argtypes = [ctypes.POINTER(Stack), ctypes.POINTER(Stack)]
    return lambda before, after: function(stack(before), stack(after))


@pytest.mark.parametrize(
    "before, after, change",
    [
        ("", "", SAME),
        ("c1 b2 a3", "c1 b2 a3", SAME),
        ("c1 b2 a3", "c9 b2 a3", SAME),
        ("", "a1", GAINED),
        ("b2 a3", "c1 b2 a3", GAINED),
        ("b2 a3", "b1 b2 a3", GAINED),
        ("a1", "", LOST),
        ("c1 b2 a3", "b2 a3", LOST),
        ("c1 b2 a3", "b7 a3", LOST),
    ],
)
def test_one_step(compare, before, after, change):
    assert compare(before, after) == change


@pytest.mark.parametrize(
    "before, after",
    [
        ("a3", "c1 b2 a3"),  # two gained
        ("c1 b2 a3", "a3"),  # two lost
        ("", "b1 a1"),
        ("b1 a1", ""),
        ("c1 b2 a3", "d1 b2 a3"),  # another function in the same place
        ("c1 b2 a3", "c1 x2 a3"),  # in the middle
        ("c1 b2 a3", "c1 b2 x3"),  # at the root
        ("c1 b2 a3", "c1 b9 a3"),  # a caller that moved while it was calling
        ("b2 a3", "c1 x2 a3"),  # gained one, and another changed
        ("b2 a3", "c1 b2 a9"),
        ("c1 b2 a3", "x2 a3"),  # lost one, and another changed
        ("c1 b2 a3", "b2 a9"),
        ("c1 b2 a3", "c1 a3"),  # one missing from the middle
        ("c1 b2 a3", "c1 b2"),  # the root cut off
        ("b2 a3", "b2 a3 r1"),  # a root gained
    ],
)
def test_a_discontinuity(compare, before, after):
    assert compare(before, after) == BROKEN

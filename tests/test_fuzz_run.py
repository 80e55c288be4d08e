"""`ninja fuzz`: a short run for real, an interrupted one, a finding, and what it makes of each way to fail."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support

FUZZ = support.ROOT / "fuzz"
sys.path.insert(0, str(FUZZ))

import atheris_engine  # noqa: E402 - a folder of its own
import engines  # noqa: E402
import python_driver  # noqa: E402
from targets import BUILD, REASONS, TARGETS  # noqa: E402

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
        assert [control["bug"] for control in found["controls"][name]] == [
            bug.why for bug in TARGETS[name].controls.values()
        ]
        assert all(control["found"] for control in found["controls"][name]), name
        assert name in stdout
    assert left_behind() == []


@pytest.mark.parametrize("target", ["layout", "output"])
def test_interrupted_run_keeps_what_it_had(tmp_path, target):
    child = start(tmp_path, seconds=600, targets=target)
    # Inputs are there once both instances have read the seeds.
    for line in child.stdout:
        if " s, " in line and " 0 inputs" not in line:
            break
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=support.HANG_SECONDS)
    assert child.returncode == 130
    assert stdout.strip().splitlines()[-1] == f"to repeat: FUZZ_SECONDS='600' FUZZ_TARGETS='{target}' ninja fuzz"
    found = json.loads((tmp_path / "fuzz.json").read_text())
    assert found["interrupted"] and found["targets"][target]["execs"] > 0
    assert found["targets"][target]["corpus"] == len(list((BUILD / target / "corpus").iterdir())) > 0
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
        self.language = TARGETS[name].language

    def program(self, variant):
        kind = "planted-replay" if variant in ("replay", "plain") else "planted"
        path = BUILD / self.name / kind
        support.ninja(str(path.relative_to(support.ROOT)))
        return path


def a_crash_of(name, folder):
    """Finds the planted bug."""
    result = run.Result(TARGETS[name])
    run.run_controls(result)
    assert result.controls[0]["found"]
    planted = engines.of(TARGETS[name]).planted_instance(TARGETS[name], "planted", BUILD / name / "control-planted")
    return planted.files("crashes")[0]


@pytest.mark.parametrize(("name", "status"), [("walk", -signal.SIGABRT), ("output", 1)])
def test_finding_is_minimised_saved_and_repeats(tmp_path, monkeypatch, name, status):
    crash = a_crash_of(name, tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    finding = run.save_finding(Planted(name, tmp_path), crash, "crash")
    saved = tmp_path / finding["file"]
    assert saved.stat().st_size <= crash.stat().st_size
    assert finding["shows"].startswith(f"fuzz: {name}: ")
    with_bug = subprocess.run([Planted(name, tmp_path).program("replay"), saved], capture_output=True, text=True)
    assert with_bug.returncode == status
    assert with_bug.stderr.strip().splitlines()[-1] == f"fuzz: {name}: repeat with: fuzz/replay {name} {saved}"
    support.ninja(f"build/fuzz/{name}/replay")
    sound = subprocess.run([BUILD / name / "replay", saved], capture_output=True, text=True)
    assert sound.returncode == 0, sound.stderr


def seeds_do_not_show(name, variant):
    program = TARGETS[name].program(f"{variant}-replay")
    support.ninja(str(program.relative_to(support.ROOT)))
    done = subprocess.run([program, TARGETS[name].corpus], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_seeds_do_not_have_the_owners_planted_bug():
    """A signal that somebody else than its owner gets is found by fuzzing, not by a seed."""
    seeds_do_not_show("session", "planted-2")


# --- a target in Python -----------------------------------------------------------------------------------------


def test_seeds_do_not_have_the_planted_bug():
    """Or else it were no control of what the fuzzer finds."""
    seeds_do_not_show("output", "planted")


def test_writer_that_raises_is_reported(tmp_path):
    """A package whose writer fails: one line that says where, and the command that repeats it."""
    packages = tmp_path / "packages"
    shutil.copytree(support.ROOT / "core" / "python" / "spprof", packages / "spprof")
    writer = packages / "spprof" / "formats" / "collapsed.py"
    sound = writer.read_text()
    failing = 'raise RuntimeError("no\\nmore")\n    roots = '
    writer.write_text(sound.replace("roots = ", failing))
    assert writer.read_text() != sound
    seed = TARGETS["output"].corpus / "captured"
    driver = [sys.executable, FUZZ / "python_driver.py", "replay", "output", packages, "launcher", seed]
    done = subprocess.run(driver, capture_output=True, text=True)
    assert done.returncode == 1
    complaint, repeat = done.stderr.splitlines()[-2:]
    assert complaint.startswith("fuzz: output: RuntimeError: no more (collapsed.py:")
    assert repeat == f"fuzz: output: repeat with: fuzz/replay output {seed}"


def test_coverage_has_a_row_for_each_module():
    """A folder of modules has one for its own file too; what is run on import alone counts."""
    seed = TARGETS["output"].corpus / "captured"
    packages = support.ROOT / "core" / "python"
    driver = [sys.executable, FUZZ / "python_driver.py", "coverage", "output", packages]
    done = subprocess.run([*driver, "launcher", seed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^(spprof/\S+\.py) +(\d+) of ", done.stdout, re.MULTILINE))
    files = (packages / "spprof" / "formats").glob("*.py")
    watched = {str(file.relative_to(packages)) for file in files}
    assert "spprof/formats/__init__.py" in watched <= rows.keys()
    assert "0" not in rows.values()


def test_without_atheris(tmp_path):
    """Whatever interpreter: what is missing is named with what provides it, and nothing passes."""
    (tmp_path / "atheris.py").write_text("raise ImportError\n")
    driver = [sys.executable, FUZZ / "python_driver.py", "fuzz", "output", support.ROOT / "core" / "python", "launcher"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(driver, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "provide it with: ci/setup" in done.stderr


@pytest.mark.parametrize(("arguments", "told"), [([], "nothing to try"), (["--stable"], "no option --stable")])
def test_bad_arguments_of_a_replay(arguments, told):
    done = subprocess.run([BUILD / "output" / "replay", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and told in done.stderr


class Fickle:
    """A target that does something else each time for some inputs."""

    def __init__(self):
        self.count = 0

    def try_one(self, data):
        self.count += 1
        return ("captured",), (b"the same", str(self.count if data == b"fickle" else data))


@pytest.mark.parametrize(("data", "percent"), [(b"fickle", "66.67"), (b"steady", "100.00")])
def test_input_that_does_something_else_again_is_noticed(capsys, data, percent):
    inputs = [("a", b"a"), ("b", b"b"), ("c", data)]
    python_driver.measure_stability(TARGETS["output"], Fickle(), inputs, [])
    assert capsys.readouterr().out == f"fuzz: output: 3 of 3 files, {percent} % do the same again\n"


def test_what_libfuzzer_says_is_understood(tmp_path):
    one = atheris_engine.AtherisInstance(TARGETS["output"], "fuzz", tmp_path, "main", began=time.time() - 10)
    assert one.stats() == {}
    one.log.write_text(
        "fuzz: output: 385 edges\n#2\tINITED cov: 3 ft: 3\n#512\tpulse  cov: 147 ft: 421 corp: 40/3351b exec/s: 1\n"
    )
    assert {name: one.stats()[name] for name in ("execs_done", "edges_found", "total_edges")} == {
        "execs_done": 512, "edges_found": 147, "total_edges": 385,
    }  # fmt: skip
    assert 40 < one.stats()["execs_per_sec"] < 60
    with open(one.log, "a") as log:
        log.write("stat::number_of_executed_units: 700\n")
    assert one.stats()["execs_done"] == 700
    one.output.mkdir()
    for name in ("crash-1", "timeout-1", "oom-1", "slow-unit-1"):
        (one.output / name).touch()
    assert [path.name for path in one.files("crashes")] == ["crash-1", "oom-1"]
    assert [path.name for path in one.files("hangs")] == ["timeout-1"]


# --- what counts as failed --------------------------------------------------------------------------------------


class Left:
    """An instance of a fuzzer that has ended."""

    sanitized = False

    def __init__(self, crashes=(), hangs=(), **stats):
        self.found = {"crashes": crashes, "hangs": hangs, "queue": ()}
        self.left = {"execs_done": "1000", "execs_per_sec": "500.0", "stability": "100.00%", **stats}

    def stats(self):
        return self.left

    def files(self, kind):
        return list(self.found[kind])


def judged(instance, reasons=TARGETS["walk"].reasons, found=True):
    result = run.Result(TARGETS["walk"], [instance], reasons=tuple(reasons))
    result.stability = engines.of(result.target).stability(result.instances, None)
    control = {"found": True, "seconds": 1, "cpu_seconds": 1, "bug": "the first"}
    result.controls = [control, {"found": found, "seconds": 90, "cpu_seconds": 60, "bug": "something"}]
    return " / ".join(run.judge(result))


def test_what_passes():
    assert judged(Left()) == ""


def test_hangs_fail():
    result = run.Result(TARGETS["walk"], [Left()], reasons=TARGETS["walk"].reasons, stability=100.0)
    result.hangs = {Path("id:0"): "takes longer", Path("id:1"): "waits"}
    assert run.judge(result) == ["2 hangs"]


@pytest.mark.parametrize(
    ("instance", "told"),
    [
        (Left(crashes=["id:0"]), "1 crashes"),
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
    assert "planted bug was not found in 60 s of CPU time: something" in judged(Left(), found=False)


class Clock:
    """Time that passes when it is asked for."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1
        return self.now

    def sleep(self, _):
        pass


class Slow:
    """A fuzzer that is given a share of a processor, and finds a crash after so much CPU time."""

    target, name, sanitized = TARGETS["walk"], "planted", False

    def __init__(self, clock, share, finds_after):
        self.clock, self.share, self.finds_after = clock, share, finds_after

    def start(self, seeds, seconds, until_crash):
        self.most = seconds

    def running(self):
        return self.clock.now < self.most

    def cpu_seconds(self):
        return self.share * self.clock.now

    def files(self, kind):
        return ["id:0"] if kind == "crashes" and self.cpu_seconds() > self.finds_after else []

    def stats(self):
        return {}

    def ask_to_end(self):
        pass

    wait_for_end = ask_to_end


@pytest.mark.parametrize(
    ("share", "finds_after", "found"), [(1, 50, True), (0.2, 50, True), (1, 70, False), (0.01, 50, False)]
)
def test_planted_bug_is_given_so_much_cpu_time(monkeypatch, share, finds_after, found):
    """However little of it a busy machine gives at a time; but not for ever."""
    clock = Clock()
    monkeypatch.setattr(run.instance, "time", clock)
    monkeypatch.setattr(engines.of(TARGETS["walk"]), "planted_instance", lambda *_: Slow(clock, share, finds_after))
    result = run.Result(TARGETS["walk"])
    run.run_control(result, "planted")
    assert [control["found"] for control in result.controls] == [found]
    assert clock.now < run.CONTROL_PATIENCE * run.CONTROL_SECONDS + 100


def test_cpu_time_is_that_of_all_that_was_started():
    """Of a session of its own too, in which AFL++ has its fork server."""
    inner = "import os; os.setsid(); print(os.getpid(), flush=True)\nwhile True: pass"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    until = time.monotonic() + support.HANG_SECONDS
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        busy = int(child.stdout.readline())
        while run.instance.cpu_seconds_below(child.pid) < 1 and time.monotonic() < until:
            time.sleep(0.01)
        whole, alone = run.instance.cpu_seconds_below(child.pid), run.instance.cpu_seconds_below(busy)
        os.kill(busy, signal.SIGKILL)
    assert whole >= 1 and alone > 0.5


def test_every_reason_is_asked_of_a_target():
    assert {name for target in TARGETS.values() for name in target.reasons} == set(REASONS) - {"no_memory"}

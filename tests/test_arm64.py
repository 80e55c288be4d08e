"""The ARM64 build, emulated: the short form of `ninja arm64`, and builds broken on purpose that must fail by name."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import support

ADDRESSES = "tests/test_walk.py::test_addresses_of_48_and_52_bits"
FAULTS = "tests/test_load.py::test_page_that_is_not_there"
RUN = support.ROOT / "stress" / "arm64" / "run.py"
run = support.module_of(RUN)
KEPT = ("core", "ci", "tests", "stress", "build.ninja", "ruff.toml", "pyproject.toml")

pytestmark = pytest.mark.skipif(bool(support.EMULATOR), reason="this is what starts the emulator")


def ask(*command, **environment):
    """With one interpreter, where `ninja arm64` has all: others are told apart by their layouts, which x86-64 shows."""
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "ARM64_INTERPRETERS": "3.14t", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=support.HANG_SECONDS,
    )


@pytest.fixture(scope="module", autouse=True)
def tools():
    """What the emulation takes; where something is missing, the line that names the command."""
    for command in (["ci/arm64-tools", "--compiler"], ["ci/python", "--existing", "3.14t-arm64"]):
        found = ask(support.ROOT / command[0], *command[1:])
        if found.returncode != 0:
            pytest.fail(found.stderr.strip().splitlines()[-1], pytrace=False)


class Answer:
    """Of a command that succeeded."""

    returncode = 0


def emulated(*tests, root=support.ROOT):
    """Runs tests in an emulated interpreter; returns (exit status, passed, failed, output)."""
    done = ask(root / "ci" / "arm64", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", *tests)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed)", done.stdout)}
    return done.returncode, counts.get("passed", 0), counts.get("failed", 0), done.stdout + done.stderr


# --- the short form -------------------------------------------------------------------------------------


def test_loads_and_walks():
    status, passed, failed, output = emulated(
        "tests/test_load.py", "tests/test_ring.py", ADDRESSES, "tests/test_walk.py::test_whole_stack",
        "tests/test_walk.py::test_signature_below_the_limit_is_a_fault", "tests/test_handler_side.py",
        "-k", "not against_a_model",
    )  # fmt: skip
    assert (status, failed) == (0, 0), output
    assert passed > 150


def test_real_interpreter_is_captured():
    """3.14t in cpu and in wall mode: the law, and 99 of 100 ticks at least."""
    done = ask(support.ROOT / "ci" / "arm64", "python3", "stress/arm64/shares.py", "3.14t")
    assert done.returncode == 0, done.stderr
    for mode, count in json.loads(done.stdout).items():
        assert count["ticks"] == count["captured"] + sum(count["dropped"].values()), mode
        assert count["captured"] >= 0.99 * count["ticks"] > 1000, (mode, count)


# --- builds broken on purpose -------------------------------------------------------------------------------


def broken(folder, file, old, new):
    """A copy of the project in which one text is another."""
    for name in KEPT:
        source = support.ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    text = (folder / file).read_text()
    assert text.count(old) == 1, f"{file} has no longer what this test breaks"
    (folder / file).write_text(text.replace(old, new))
    return folder


def test_broken_recovery_fails_by_name(tmp_path):
    """The fault handler looks for the instruction in another register, on ARM64 alone: no fault is a load's any more."""
    counter = "#define PROGRAM_COUNTER(context) ((context)->uc_mcontext.pc)"
    root = broken(tmp_path, "core/load.c", counter, counter.replace("pc)", "regs[30])"))
    status, passed, _, output = emulated(FAULTS, root=root)
    assert passed == 0 and "Fatal Python error: Segmentation fault" in output, (status, output)


def test_limit_of_47_bits_fails_by_name(tmp_path):
    root = broken(
        tmp_path, "core/load.h", "#define ADDRESS_HIGH (UINT64_C(1) << 52)", "#define ADDRESS_HIGH (UINT64_C(1) << 47)"
    )
    status, passed, failed, output = emulated(ADDRESSES, root=root)
    assert status == 1 and passed > 0, output
    assert failed == 12, "48 and 52 bits, for each layout: " + output


# test_disassembly.py has the third, the build without acquire: no emulator on x86-64 can tell.

# --- what is missing, and wrong settings ------------------------------------------------------------------------


def test_missing_compiler_names_the_command(tmp_path):
    for program in ("bash", "dirname", "env", "cat"):
        (tmp_path / program).symlink_to(shutil.which(program))
    done = ask(support.ROOT / "ci" / "arm64-tools", "--compiler", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "ci/arm64-tools: there is no aarch64-linux-gnu-gcc; provide it with: ci/setup --arm64\n"


def test_emulator_that_does_not_run_is_named():
    done = ask(support.ROOT / "ci" / "arm64-tools", "--qemu", SPPROF_QEMU="/nonexistent/qemu")
    assert done.returncode == 1
    assert done.stderr.startswith("ci/arm64-tools: $SPPROF_QEMU is '/nonexistent/qemu', which does not run")


def test_row_that_does_not_exist():
    done = ask(sys.executable, RUN, ARM64_ONLY="nothing")
    assert done.returncode == 1
    assert "no row's name contains 'nothing', which ARM64_ONLY says; there are: " in done.stderr


def test_failed_row_is_told_and_repeated(tmp_path):
    """One that ran no test is no evidence."""
    done = ask(sys.executable, RUN, "--json", tmp_path / "arm64.json", ARM64_ONLY="models", HYPOTHESIS_PROFILE="none")
    assert done.returncode == 1, done.stderr
    assert "FAILED models: nothing was run" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "to repeat: HYPOTHESIS_PROFILE=none ci/arm64 pytest tests/test_model_"
    )
    left = json.loads((tmp_path / "arm64.json").read_text())
    assert left["failed"] == 1 and left["passed"] == 0 and left["captured_share"] is None


def test_truth_that_captured_nothing_fails():
    row = next(row for row in run.rows() if row.name == "truth")
    found = run.Found()
    run.Runner.judge(row, found, "truth: no cell's name contains 'that'\n", 1)
    assert found.failed == 1 and found.problems == [
        *("said nothing of what it captured", "ended with status 1: truth: no cell's name contains 'that'"),
        "nothing was run",
    ]


def loads_a_library(name):
    """Whether these tests do so in pytest's own process, themselves or by what they take from others."""
    text = (support.ROOT / "tests" / f"{name}.py").read_text()
    others = re.findall(r"^from (test_\w+) import", text, re.MULTILINE)
    return bool(re.search(r"^import ctypes$", text, re.MULTILINE)) or any(map(loads_a_library, others))


def test_tests_that_load_the_core_have_a_row_or_a_reason():
    """Or else those that are written later are never emulated, and nobody says so."""
    loading = {path.stem for path in (support.ROOT / "tests").glob("test_*.py") if loads_a_library(path.stem)}
    emulated = {Path(part).stem for row in run.rows() for part in row.command if part.startswith("tests/test_")}
    assert {"test_walk", "test_session_due"} <= loading
    assert loading - emulated - run.LEFT_OUT.keys() == set()


def test_row_asks_for_the_interpreters_that_it_needs(monkeypatch):
    """And no other row is refused for want of them."""
    monkeypatch.delenv("ARM64_INTERPRETERS", raising=False)
    needed = {row.name: row.interpreters for row in run.rows()}
    for row in ("truth", "freethreading-3.13t", "shares-3.13t"):
        assert needed.pop(row) == run.INTERPRETERS
    assert {"freethreading-3.14t", "shares-3.14t"} <= needed.keys()
    assert set(needed.values()) == {("3.14t",)}
    asked = []
    monkeypatch.setattr(run.subprocess, "run", lambda command, **_: asked.append(command[-1]) or Answer())
    run.check_tools([row for row in run.rows() if row.name in ("truth", "unit")])
    run.check_tools([row for row in run.rows() if row.name == "unit"])
    both, one = ["3.13t-arm64", "3.14t-arm64", "--compiler"], ["3.14t-arm64", "--compiler"]
    assert asked == both + one


def test_package_imports_where_there_is_no_native_module():
    """As on a machine that spprof does not run on: only starting a session is refused."""
    program = """
import platform
platform.machine = lambda: "armv7l"
import sys
sys.modules["spprof._native"] = None
import spprof
assert not spprof.is_active()
try:
    spprof.start()
except RuntimeError as error:
    print(error)
"""
    done = ask(sys.executable, "-c", program, PYTHONPATH=str(support.ROOT / "core" / "python"))
    assert done.returncode == 0, done.stderr
    assert "on Linux on x86-64 or ARM64; this is Linux on armv7l" in done.stdout

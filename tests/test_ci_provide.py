"""What runs ask for is provided for them; where a machine has more, asking fails all the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import provision
import pytest
import support

CI = support.ROOT / "ci"
MORE = "3.13t-arm64"  # an interpreter that ci/test does not provide


def rows():
    """(command, runs) of each line of ci/provided."""
    lines = (CI / "provided").read_text().splitlines()
    parts = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return [(command, runs.split()) for command, _, runs in parts]


RUNS = sorted({run for _, runs in rows() for run in runs})


def commands_of(run):
    return [command for command, runs in rows() if run in runs]


def ask(*command, **environment):
    settings = {**os.environ, **environment}
    return subprocess.run(command, env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True)


# --- a test that asks for more -------------------------------------------------------------------


@pytest.fixture
def suite(tmp_path):
    """Runs a file of tests as the tests are run here; returns (exit status, output)."""

    def run(body, plugin="", **environment):
        (tmp_path / "test_one.py").write_text(body)
        (tmp_path / "plugin.py").write_text(plugin)
        settings = {**os.environ, "PYTHONPATH": f"{support.ROOT}/tests:{tmp_path}"}
        settings["PATH"] = os.pathsep.join(
            folder for folder in settings["PATH"].split(os.pathsep) if Path(folder).name != provision.HIDING
        )
        for name in (provision.RUN, provision.REFUSED):
            settings.pop(name, None)
        options = ("-q", "--tb=short", "-pplugin", "-pconftest", "-pno:cacheprovider")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, tmp_path],
            cwd=tmp_path,
            env={**settings, **environment},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture
def another(tmp_path):
    """An environment in which that interpreter is found."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 0\n")  # ci/python asks it whether it fits
    program.chmod(0o755)
    return {"SPPROF_PYTHON_3_13T_ARM64": str(program)}


def test_interpreter_that_is_here_and_not_provided_is_refused(suite, another):
    found = ask(CI / "python", "--existing", MORE, SPPROF_RUN="arm64", **another)
    assert found.returncode == 0, found.stderr
    body = f"import support\n\ndef test():\n    support.interpreter('{MORE}')\n"
    status, output = suite(body, **another)
    assert status == 1
    assert f"'python {MORE}' is not provided for 'test'; add it to ci/provided" in output


def test_program_that_asks_and_goes_on_without_fails_its_test(suite, another):
    """As a runner does that leaves out what is not there."""
    body = f"""
import subprocess

def test_that_asks():
    subprocess.run(["sh", "-c", "{CI}/python --existing {MORE} || true"], capture_output=True)

def test_that_does_not():
    pass
"""
    status, output = suite(body, **another)
    assert status == 1
    assert "2 passed, 1 error" in output, output
    assert re.search(rf"at teardown of test_that_asks _+\n'python {MORE}' is not provided", output)


@pytest.mark.parametrize("command", ["arm64-tools --compiler", "model-tools --existing herd7", "setup --venv"])
def test_tools_are_refused_too(suite, command):
    body = f"import os\n\ndef test():\n    os.system('{CI}/{command}')\n"
    status, output = suite(body, SPPROF_RUN="nothing")
    assert status == 1
    assert re.search(r"at teardown of test _+\n'[a-z0-9 -]+' is not provided for 'nothing'", output)


def test_program_of_a_package_that_is_not_provided_is_refused(suite):
    """Here one that every machine has is taken for such a one."""
    body = "import os\n\ndef test():\n    os.system('xz --version')\n"
    assert suite(body)[0] == 0
    hide = "import provision\nprovision.unprovided_programs = lambda: {'xz'}\n"
    status, output = suite(body, plugin=hide)
    assert status == 1
    assert re.search(r"at teardown of test _+\n'xz' is of a package that ci/setup does not", output)


def test_tests_that_a_test_starts_are_refused_it_as_well(suite, tmp_path):
    inner = tmp_path / "inner.py"  # by which name the outer tests do not collect it
    inner.write_text("import os\n\ndef test():\n    os.system('xz --version')\n")
    body = f"""
import subprocess, sys

def test():
    command = [sys.executable, "-m", "pytest", "-q", "-pconftest", "{inner}"]
    print(subprocess.run(command, capture_output=True, text=True).stdout)
    raise AssertionError("to show what it printed")
"""
    _, output = suite(body, plugin="import provision\nprovision.unprovided_programs = lambda: {'xz'}\n")
    assert "ERROR inner.py::test - Failed: 'xz' is of a package" in output
    assert re.search(r"^1 failed in", output, re.M)  # the outer test is not to blame


def test_what_is_provided_passes(suite):
    status, output = suite(
        "import subprocess\n\ndef test():\n"
        f"    subprocess.check_call(['{CI}/setup', '--venv'])\n"
        f"    subprocess.check_call(['{CI}/python', '--existing', '3.14t'])\n"
        "    subprocess.check_call(['gcc', '--version'])\n"
    )
    assert status == 0, output


# --- packages ------------------------------------------------------------------------------------


def test_what_comes_with_a_package_is_told():
    packages = provision.Packages(
        [
            "base\tinstalled\tyes\t, libc6 (>= 2.36)\t",
            "libc6\tinstalled\tno\t\t",
            "apt\tinstalled\tno\t, base\t",
            "tool\tinstalled\tno\tlibc6:any, awk | other, absent | chosen | second\t",
            "mawk\tinstalled\tno\t\tawk (= 1)",
            "other\tinstalled\tno\t\t",
            "chosen\tinstalled\tno\t\t",
            "second\tinstalled\tno\t\t",
            "left\tconfig-files\tno\t\t",
            "more\tinstalled\tno\t\t",
        ]
    )
    kept = packages.with_what_they_need({*packages.essential, "tool", "left"})
    assert kept == {"apt", "base", "libc6", "tool", "mawk", "chosen"}


def test_programs_of_other_packages_are_told(tmp_path):
    """By dpkg's lists, in a system of its own; what is of no package is not hidden."""
    system, lists, other = (tmp_path / name for name in ("bin", "lists", "other"))
    for folder in (system, lists, other):
        folder.mkdir()
    for path in (system / "kept", system / "more", system / "own", other / "chosen"):
        path.touch()
    (system / "alternative").symlink_to(other / "chosen")
    (lists / "one.list").write_text(f"/.\n{system}\n{system}/kept\n")
    (lists / "two:amd64.list").write_text(f"{system}/more\n{system}/more/below\n{other}/chosen\n")
    owned = provision.owners(lists, (str(system), str(other)))
    assert owned[f"{system}/more"] == {"two"}
    folders = (str(system),)
    assert provision.programs_of_others({"one"}, owned, folders) == {"more", "alternative"}
    assert provision.programs_of_others({"one", "two"}, owned, folders) == set()


def test_what_the_tests_themselves_start_is_kept():
    started = {"sh", "bash", "gcc", "clang", "ninja", "git", "afl-fuzz", "spin", "awk", "python3"}
    assert provision.unprovided_programs().isdisjoint(started)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/a:/usr/bin:/bin", "/a:/h:/usr/bin:/bin"),
        ("/usr/local/bin:/bin", "/usr/local/bin:/h:/bin"),
        ("/a", "/a:/h"),
    ],
)
def test_hidden_programs_stand_before_the_systems_own(path, found):
    assert provision.path_with("/h", path) == found


# --- the list ------------------------------------------------------------------------------------


def test_every_line_names_what_there_is():
    table = (CI / "interpreters").read_text()
    for command, runs in rows():
        program, *arguments = command.split()
        assert (CI / program).is_file() and runs, command
        if program == "python":
            assert re.search(rf"^{re.escape(arguments[0])} ", table, re.M), command


def provide(folder, run, **programs):
    """What ci/provide does for a run, where a note stands for each thing that is provided."""
    folder.mkdir()
    for name in ("provide", "provided"):
        (folder / name).write_bytes((CI / name).read_bytes())
    for name in {command.split()[0] for command, _ in rows()}:
        note = f'echo "{name}${{1:+ $1}}" >>{folder}/notes'
        (folder / name).write_text(f"#!/bin/sh\n{note}\n{programs.get(name, '')}\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    done = ask(folder / "provide", run)
    return done, (folder / "notes").read_text().splitlines()


@pytest.mark.parametrize("run", RUNS)
def test_all_that_a_run_may_ask_for_is_provided(tmp_path, run):
    done, did = provide(tmp_path / "ci", run)
    assert done.returncode == 0, done.stderr
    assert did == commands_of(run)


def test_what_cannot_be_had_is_named_and_the_rest_provided(tmp_path):
    absent = {"model-tools": "[ $1 != herd7 ] || exit 3"}
    done, did = provide(tmp_path / "ci", "test", **absent)
    assert done.returncode == 0
    assert done.stderr == "ci/provide: going on without: ci/model-tools herd7\n"
    assert did == commands_of("test")


def test_what_fails_ends_it(tmp_path):
    done, did = provide(tmp_path / "ci", "test", python="exit 1")
    assert done.returncode == 1 and did[-1] == "python 3.13"


def test_unknown_run_lists_the_known_ones():
    done = ask(CI / "provide", "everything")
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: ci/provide RUN    RUN is one of: {' '.join(RUNS)}\n")


@pytest.mark.parametrize("run", ["test", "verify"])
def test_scripts_provide_what_they_are_confined_to(run):
    assert f"\nci/provide {run}\n" in (CI / run).read_text()


# --- ninja and the workflow ----------------------------------------------------------------------


ASKS_FOR_NOTHING = {"install"}


def ninja(*arguments):
    return subprocess.check_output(["ninja", "-C", support.ROOT, *arguments], text=True)


@pytest.mark.parametrize("target", sorted({*RUNS} - {"verify"}))
def test_target_is_confined_to_its_list_and_builds_with_it(target):
    """What is built before the run asks too; ninja tells what that is."""
    *builds, run = ninja("-t", "commands", target).splitlines()
    assert run.startswith(f"SPPROF_RUN=${{SPPROF_RUN:-{target}}} ")
    name = re.compile(r"^\S+/\S+ (3\.\d+t?(?:-\w+)?) ")  # as in: ci/extension 3.14t OUT ...
    named = {f"python {found[1]}" for line in builds if (found := name.match(line))}
    assert named <= {*commands_of(target)}


def test_every_target_that_is_run_has_a_list():
    targets = re.findall(r"^([\w-]+): run$", ninja("-t", "targets", "all"), re.M)
    assert {*targets} - ASKS_FOR_NOTHING == {*RUNS} - {"verify"}


def test_run_of_ninja_is_refused_what_is_not_on_its_list(tmp_path, another):
    """A build file with the project's rule, and a target that asks for more."""
    rule = re.search(r"^rule run\n(?: .*\n)+", (support.ROOT / "build.ninja").read_text(), re.M)[0]
    asks = f"build soak: run\n  program = {CI}/python --existing {MORE}\n"
    (tmp_path / "build.ninja").write_text(rule + asks)
    settings = {name: os.environ[name] for name in os.environ if not name.startswith("SPPROF_")}
    done = subprocess.run(["ninja", "-C", tmp_path, "soak"], env=settings | another, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"'python {MORE}' is not provided for 'soak'" in done.stdout + done.stderr


def jobs():
    """(name, its steps' commands, the runs of its matrix) of each job of the workflow."""
    text = (support.ROOT / ".github" / "workflows" / "ci.yml").read_text()
    text = text.partition("\njobs:\n")[2]
    for name, body in re.findall(r"^  ([\w-]+):\n((?:(?:    .*)?\n)+)", text, re.M):
        yield name, re.findall(r"^      - run: (.*)$", body, re.M), re.findall(r"\brun: (\w+),", body)


def test_jobs_provide_what_they_run():
    """By the list, so that a job has no less and no more than its run is confined to."""
    provide_it_themselves = {"bash .ci/run", "./ci/verify"}
    names = set()
    for name, commands, runs in jobs():
        names.add(name)
        if commands[-1] not in provide_it_themselves:
            provides, command = commands
            assert provides == "ci/provide ${{ matrix.run }}", name
            assert command == "${{ matrix.length }} ninja ${{ matrix.run }}", name
            assert runs and {*runs} <= {*RUNS}, name
    assert {"test", "interpreter", "harness", "nightly"} == names

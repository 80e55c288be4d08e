"""Runs scenarios in child processes of the interpreters under test, and builds what that takes.

Knows nothing of pytest, so that other programs (ci/verdict.py) can run scenarios too.
"""

import contextlib
import ctypes
import fcntl
import functools
import importlib.util
import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SCENARIOS = ROOT / "tests" / "scenarios"

sys.path.append(str(ROOT))  # wherever this is imported from

from stress.children import end_group, kill_group, undisturbed  # noqa: E402

# What starts a program that was built here, where that is for another machine (ci/arm64); else nothing.
EMULATOR = tuple(shlex.split(os.environ.get("SPPROF_EMULATOR", "")))


def amount(usual):
    """How much work a program under test is given: in an emulator, which takes ten times as long for it, a tenth."""
    return max(1, usual // 10) if EMULATOR else usual


# Long enough for any machine: it ends a child that hangs and decides nothing else.
HANG_SECONDS = 600


class Missing(Exception):
    """Something that has to be provided first; the message is one line that names the command."""


class ScenarioFailed(AssertionError):
    """A scenario that crashed, hung, exited with an error or left no result."""


# --- what has to be there --------------------------------------------------------------------------


def ninja(*targets):
    """Brings the targets up to date. One ninja at a time: two would write the same files."""
    BUILD.mkdir(exist_ok=True)
    command = ["ninja", "-C", str(ROOT), *targets]
    with open(BUILD / ".tests.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Missing("ninja is not installed; provide it with: ci/setup") from None
    if run.returncode != 0:
        tail = "\n".join((run.stdout + run.stderr).strip().splitlines()[-15:])
        raise Missing(f"{tail}\nthe build above fails; repeat it with: ninja {' '.join(targets)}")


@functools.cache
def interpreter(name):
    """The interpreter called NAME (3.14t, ...), with the package built for it."""
    found = subprocess.run([ROOT / "ci" / "python", "--existing", name], capture_output=True, text=True)
    if found.returncode != 0:
        raise Missing(found.stderr.strip().splitlines()[-1])
    ninja(f"python-{name}")
    return Interpreter(name, found.stdout.strip())


@functools.cache
def harness():
    """The core with every function exported, loaded into this process."""
    ninja("build/libspprof-harness.so")
    return ctypes.CDLL(str(BUILD / "libspprof-harness.so"))


# --- signals -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def hearing(*numbers):
    """What is started within has the default action of these signals, though the tests were started with them ignored
    and go on ignoring them. Main thread only."""
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda number, frame: None)  # a handler is not inherited
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


# --- running a scenario ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a child process left behind. Unpacks as (json, returncode, stdout, stderr)."""

    json: dict | None
    returncode: int
    stdout: str
    stderr: str
    hung: bool = False

    def __iter__(self):
        return iter((self.json, self.returncode, self.stdout, self.stderr))

    @property
    def signal(self):
        """Name of the signal that ended the child, or None."""
        if self.returncode >= 0:
            return None
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.returncode).name
        return f"signal {-self.returncode}"  # real-time signals have no name

    @property
    def complaint(self):
        """What is wrong with the outcome, or None."""
        if self.hung:
            return f"hung for {HANG_SECONDS} s"
        if self.signal:
            return f"crashed with {self.signal}"
        if self.returncode:
            return f"exited with status {self.returncode}"
        if self.json is None:
            return "left no result: it must call scenario.result(...)"
        return None


@dataclass(frozen=True)
class Interpreter:
    name: str
    path: str

    @property
    def free_threaded(self):
        return self.name.endswith("t")

    @property
    def packages(self):
        return BUILD / "python" / self.name

    def run(self, scenario, *args, env=None, timeout=HANG_SECONDS, faulthandler=True, check=True):
        """Runs a scenario in a child process and returns its Outcome.

        `scenario` is the name of a file in tests/scenarios (with or without .py), the path of any other, source text,
        or a function, which is run from its source and so sees nothing around it. `args` become sys.argv[1:]. `env` is
        added to the environment; None as a value takes a variable away. With `check`, anything but a clean exit with a
        result raises ScenarioFailed.
        """
        with tempfile.TemporaryDirectory(prefix="spprof-") as folder:
            program = _program(scenario, Path(folder))
            result = Path(folder) / "result.json"
            command = [self.path, *(["-X", "faulthandler"] if faulthandler else []), str(program), *map(str, args)]
            returncode, stdout, stderr, hung = _run(command, self._environment(env, result), timeout)
            left = json.loads(result.read_text()) if result.exists() else None
        outcome = Outcome(left, returncode, stdout, stderr, hung)
        if check and outcome.complaint:
            raise ScenarioFailed(_report(self, program, args, outcome))
        return outcome

    def _environment(self, changes, result):
        environment = dict(os.environ)
        # PYTHON_GIL would hide an extension that turns the GIL on; the others change what is being tested.
        for name in ("PYTHON_GIL", "PYTHONDONTWRITEBYTECODE", "PYTHONFAULTHANDLER", "PYTHONHOME", "PYTHONSTARTUP"):
            environment.pop(name, None)
        environment["PYTHONPATH"] = os.pathsep.join([str(self.packages), str(SCENARIOS)])
        environment["SPPROF_RESULT"] = str(result)
        for name, value in (changes or {}).items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = str(value)
        return environment


def _program(scenario, folder):
    if callable(scenario):
        source = textwrap.dedent(inspect.getsource(scenario)) + f"\n\n{scenario.__name__}()\n"
        return _written(folder / f"{scenario.__name__}.py", source)
    if isinstance(scenario, str) and "\n" in scenario:
        return _written(folder / "scenario_text.py", textwrap.dedent(scenario))
    path = SCENARIOS / scenario
    if not path.exists():
        path = path.with_name(path.name + ".py")
    if not path.exists():
        raise Missing(f"there is no scenario {scenario}: it would be tests/scenarios/{path.name}")
    return path


def _written(path, text):
    path.write_text(text)
    return path


def _run(command, environment, timeout):
    """Runs to the end. A child that hangs is aborted first, so that faulthandler shows where it was."""
    with _started(command, environment) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout)
            return child.returncode, stdout, stderr, False
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=10)
            kill_group(child)
            stdout, stderr = child.communicate()
            return child.returncode, stdout, stderr, True


@contextlib.contextmanager
def _started(command, environment):
    """A child in a session of its own, which no interrupt leaves behind, at whatever moment it comes."""
    with contextlib.ExitStack() as ends:
        with undisturbed():
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            ends.enter_context(child)
            ends.push(lambda error, *_: end_group(child) if error else None)
        yield child


def _report(interpreter, program, args, outcome):
    command = shlex.join([program.name, *map(str, args)])
    tail = textwrap.indent("\n".join(outcome.stderr.strip().splitlines()[-40:]), "    ") or "    (nothing)"
    return f"{command} on {interpreter.name} {outcome.complaint}\nthe end of its standard error:\n{tail}{_again(interpreter, program, args)}"


def _again(interpreter, program, args):
    """The line that repeats a scenario that is a file by hand; others live in their test alone."""
    if program.parent != SCENARIOS:
        return ""
    command = shlex.join(["-X", "faulthandler", str(program.relative_to(ROOT)), *map(str, args)])
    name = interpreter.name
    return f"\nto repeat: PYTHONPATH=build/python/{name}:tests/scenarios $(ci/python {name}) {command}"


def module_of(path):
    """A program of the harnesses as a module. Several are called run.py, so none may be imported by that name."""
    name = "_".join(path.relative_to(ROOT).with_suffix("").parts)
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module

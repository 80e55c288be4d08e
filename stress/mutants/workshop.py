"""A copy of the tree in which one fault at a time is put into the core, built and met by its killer."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from stress.children import kill_group  # noqa: E402 - wherever this is run from

COPIED = ("core", "tests", "model", "fuzz", "ci", "stress", "build.ninja")
HARNESS = "build/libspprof-harness.so"
# Quick to compile, and silent: a fault may leave a variable unused.
CFLAGS = "-O0 -w"
HANG_SECONDS = 90  # ends a killer that hangs; no sound one takes a fifth of it

FAILS, CRASHES, HANGS, PASSES, ERRS, UNBUILT = "fails", "crashes", "hangs", "passes", "errs", "unbuilt"
SIGNS_OF_DEATH = (FAILS, CRASHES, HANGS)


@dataclass(frozen=True)
class Mutant:
    id: str
    file: str
    old: str
    new: str
    killer: str  # what pytest is to run
    sign: str = FAILS
    at: int | None = None  # where `old` stands in the file; None: it stands there once

    def applied_to(self, text):
        if self.at is not None:
            return text[: self.at] + self.new + text[self.at + len(self.old) :]
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    sign: str
    output: str


def run(children, command, folder, environment, seconds):
    """(exit status or None where it took longer, output)"""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with children.start(command, cwd=folder, env=environment, text=True, errors="replace", **streams) as child:
        try:
            output = child.communicate(timeout=seconds)[0]
            return child.returncode, output
        except subprocess.TimeoutExpired:
            kill_group(child)
            return None, child.communicate()[0]


def judge(status, output):
    """What a pytest run came to. A test that could not be set up is no failure."""
    if status is None:
        return HANGS
    if status < 0:
        return CRASHES
    summary = output.strip().rpartition("\n")[2]
    if status == 1 and re.search(r"\d+ failed", summary) and not re.search(r"\d+ errors?\b", summary):
        return FAILS
    return PASSES if status == 0 and re.search(r"\d+ passed", summary) else ERRS


class Workshop:
    """Owns a folder. One thread at a time uses it."""

    def __init__(self, folder, children, flags=CFLAGS, compiler=None):
        self.folder, self.children = Path(folder), children
        temporary = self.folder.with_name(f"{self.folder.name}-temporary")  # where what is killed leaves its files
        temporary.mkdir(parents=True)
        self.environment = {**os.environ, "CFLAGS": flags, "TMPDIR": str(temporary)}
        if compiler:
            self.environment["CC"] = compiler
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def fill(self):
        """With the tree as it is now, nothing built."""
        self.folder.mkdir(parents=True)
        for name in COPIED:
            source, target = ROOT / name, self.folder / name
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, target)

    def fill_from(self, other):
        """With another's tree, what was built there included."""
        shutil.copytree(other.folder, self.folder, symlinks=True)

    def build(self, *targets):
        """None, or what the compiler said."""
        status, output = run(self.children, ["ninja", "-j2", *targets], self.folder, self.environment, 600)
        return None if status == 0 else output

    def pytest(self, arguments, seconds=HANG_SECONDS):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *arguments]
        return run(self.children, command, self.folder, self.environment, seconds)

    @contextlib.contextmanager
    def changed(self, mutant):
        path = self.folder / mutant.file
        text = path.read_text()
        path.write_text(mutant.applied_to(text))
        try:
            yield
        finally:
            path.write_text(text)

    def meet(self, mutant):
        """The mutant's Outcome."""
        with self.changed(mutant):
            complaint = self.build(HARNESS)
            if complaint is not None:
                return Outcome(UNBUILT, complaint)
            status, output = self.pytest(["-x", *mutant.killer.split()])
            return Outcome(judge(status, output), output)

"""Runs afl-fuzz: one instance or several on one target, and what they left behind."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from targets import BUILD, FUZZ

# How long an instance may take to end after it was asked to, seconds.
PATIENCE = 15

ENVIRONMENT = {
    "AFL_NO_UI": "1",
    "AFL_NO_COLOR": "1",
    "AFL_QUIET": "1",
    "AFL_NO_AFFINITY": "1",
    "AFL_SKIP_CPUFREQ": "1",
    "AFL_SKIP_CRASHES": "1",  # of seeds: those are told apart by replaying them first
    "AFL_NO_CRASH_README": "1",
    "AFL_IMPORT_FIRST": "1",
    "AFL_ALLOW_TMP": "1",  # afl-cmin refuses to work below /tmp, where a checkout may well be
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
}


def environment(target, **more):
    left = {name: value for name, value in os.environ.items() if not name.startswith(("AFL_", "ASAN_", "UBSAN_"))}
    if target.mutator:
        more["AFL_CUSTOM_MUTATOR_LIBRARY"] = str(target.program("mutator.so"))
    return {**left, **ENVIRONMENT, **more}


@dataclass
class Instance:
    """One afl-fuzz."""

    target: object
    variant: str
    folder: Path  # shared by the instances of one run
    role: str  # "-M" or "-S"
    name: str
    child: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def output(self):
        return self.folder / self.name

    def start(self, seeds, seconds, **more):
        self.folder.mkdir(parents=True, exist_ok=True)
        extras = ["-x", str(FUZZ / self.target.dictionary)] if self.target.dictionary else []
        command = [
            "afl-fuzz", "-i", seeds, "-o", self.folder, self.role, self.name, "-t", "2000", "-V", f"{seconds:.0f}",
            *extras, "--", self.target.program(self.variant),
        ]  # fmt: skip
        with open(self.folder / f"{self.name}.log", "w") as log:
            try:
                # In a session of its own: an interrupt from the terminal reaches this program, which then ends it in turn.
                self.child = subprocess.Popen(
                    [str(part) for part in command],
                    env=environment(self.target, **more),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise SystemExit("fuzz: there is no afl-fuzz; provide it with: ci/setup") from None

    def running(self):
        return self.child is not None and self.child.poll() is None

    def ask_to_end(self):
        if self.running():
            self.child.send_signal(signal.SIGINT)

    def wait_for_end(self):
        """AFL++ ends its own children when it is interrupted; where it does not answer, the group goes."""
        if self.child is None:
            return
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    # --- what it left ---

    def log_end(self):
        text = (self.folder / f"{self.name}.log").read_text(errors="replace")
        return "\n".join(f"    {line}" for line in text.strip().splitlines()[-8:])

    def stats(self):
        path = self.output / "fuzzer_stats"
        lines = path.read_text().splitlines() if path.exists() else []
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def files(self, kind):
        """Files of `kind`: queue, crashes or hangs."""
        folder = self.output / kind
        return sorted(path for path in folder.glob("id*") if path.is_file()) if folder.exists() else []


def run(instances, seconds, watch, until=lambda: False):
    """Waits for all, calling watch(elapsed) about once a second. Interrupted or not, none is left when it returns."""
    began = time.monotonic()
    try:
        while any(instance.running() for instance in instances) and not until():
            watch(time.monotonic() - began)
            # afl-fuzz keeps the time itself; one that does not is ended.
            if time.monotonic() - began > seconds + 60:
                break
            time.sleep(0.25)
    finally:
        for instance in instances:
            instance.ask_to_end()
        for instance in instances:
            instance.wait_for_end()
    return time.monotonic() - began


def folder_of(target, what):
    return BUILD / target.name / what

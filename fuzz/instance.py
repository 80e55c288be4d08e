"""One running fuzzer, whichever it is: afl.py and atheris_engine.py say what is particular."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stress.children import end_group

# How long an instance may take to end after it was asked to, seconds.
PATIENCE = 15


def cpu_seconds_below(pid):
    """CPU time of a process and its descendants, those included that one of them has waited for."""
    used, children = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            words = path.read_text().rpartition(")")[2].split()  # from the third field on, proc(5)
            number = int(path.parent.name)
            used[number] = sum(map(int, words[11:15]))
            children.setdefault(int(words[1]), []).append(number)
    found, waiting = 0, [pid]
    while waiting:
        number = waiting.pop()
        found += used.get(number, 0)
        waiting += children.get(number, ())
    return found / os.sysconf("SC_CLK_TCK")


@dataclass
class Instance:
    """Subclasses have command(), stats() with the names of AFL++'s fuzzer_stats, files(), and what else they need."""

    target: object
    variant: str
    folder: Path  # shared by the instances of one run
    name: str
    child: subprocess.Popen | None = field(default=None, repr=False)

    end_signal = signal.SIGINT  # by which it ends after it has written what it found
    sanitized = False

    @property
    def log(self):
        return self.folder / f"{self.name}.log"

    def environment(self, until_crash):
        return dict(os.environ)

    def start(self, seeds, seconds, until_crash=False):
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(part) for part in self.command(seeds, seconds)]
        with open(self.log, "w") as log:
            try:
                # In a session of its own: an interrupt from the terminal reaches this program, which then ends it.
                self.child = subprocess.Popen(
                    command,
                    env=self.environment(until_crash),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise SystemExit(f"fuzz: there is no {command[0]}; provide it with: ci/setup") from None

    def running(self):
        return self.child is not None and self.child.poll() is None

    def ask_to_end(self):
        if self.running():
            self.child.send_signal(self.end_signal)

    def wait_for_end(self):
        """A fuzzer ends its own children when it is asked to; where it does not answer, the group goes."""
        if self.child is None:
            return
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            end_group(self.child)

    def cpu_seconds(self):
        """What it and all that it has started have used so far; 0 once it has ended."""
        return cpu_seconds_below(self.child.pid) if self.running() else 0.0

    # --- what it left ---

    def ended_well(self):
        return self.child is None or self.child.returncode in (0, None)

    def log_end(self):
        text = self.log.read_text(errors="replace")
        return "\n".join(f"    {line}" for line in text.strip().splitlines()[-8:])


def run(instances, seconds, watch, until=lambda: False):
    """Waits for all, calling watch(elapsed) about once a second. Interrupted or not, none is left when it returns."""
    began = time.monotonic()
    try:
        while any(instance.running() for instance in instances) and not until():
            watch(time.monotonic() - began)
            # A fuzzer keeps the time itself; one that does not is ended.
            if time.monotonic() - began > seconds + 60:
                break
            time.sleep(0.25)
    finally:
        for instance in instances:
            instance.ask_to_end()
        for instance in instances:
            instance.wait_for_end()
    return time.monotonic() - began

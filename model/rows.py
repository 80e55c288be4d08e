"""One row of what was judged, and how programs are run for it."""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from stress.children import Children, kill_group

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "model"

# Exit statuses of everything here.
OK, WRONG, USAGE, MISSING, UNREADABLE, NOTHING = 0, 1, 2, 3, 4, 5


@dataclass
class Row:
    """A claim at one level, or a twin of it: what must come out and what did."""

    claim: str
    level: str  # c11, aarch64, x86_64, proof or lifecycle
    tool: str
    expected: str
    observed: str = ""
    twin: str = ""  # what was broken on purpose; empty for the claim itself
    seconds: float = 0.0
    repeat: str = ""
    unreadable: bool = False  # the tool could not read its input: no verdict
    detail: str = field(default="", repr=False)

    @property
    def holds(self):
        return not self.unreadable and self.observed == self.expected

    def line(self):
        """One line of a report."""
        what = f" with {self.twin}" if self.twin else ""
        verdict = "as stated" if self.holds else "WRONG"
        line = f"{self.claim} ({self.level}){what}: {self.observed}, expected {self.expected}: {verdict}, {self.seconds:.1f} s"
        return line + ("\n" + "\n".join(self.detail.strip().splitlines()[-5:]) if self.unreadable else "")

    def as_json(self):
        return {
            "claim": self.claim,
            "level": self.level,
            "tool": self.tool,
            "twin": self.twin,
            "expected": self.expected,
            "observed": self.observed,
            "seconds": round(self.seconds, 2),
            "repeat": self.repeat,
        }


class Missing(Exception):
    """A tool that is not there; the message names the command that provides it."""


_children = Children()


def end_children():
    """Ends what is still running, and lets nothing start; for an interrupted run."""
    _children.stop()


def run(command, timeout=600, cwd=None, text=""):
    """(exit status, output of both streams, seconds). A child that hangs is ended and has the status None."""
    began = time.monotonic()
    with _children.start(
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            output, _ = child.communicate(text, timeout=timeout)
            status = child.returncode
        except subprocess.TimeoutExpired:
            kill_group(child)
            output, status = child.communicate()[0], None
        except BaseException:
            kill_group(child)
            raise
    return status, output, time.monotonic() - began


def tool(name, fetch=True):
    """The program that runs herd7 or cbmc."""
    command = [ROOT / "ci" / "model-tools", *([] if fetch else ["--existing"]), name]
    found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if found.returncode != 0:
        raise Missing((found.stderr.strip().splitlines() or [f"{name} is not there"])[-1])
    return found.stdout.strip()


def status_of(judged):
    """The exit status that rows come to."""
    if not judged:
        return NOTHING
    if any(row.unreadable for row in judged):
        return UNREADABLE
    return OK if all(row.holds for row in judged) else WRONG


def conclude(judged):
    """Prints how many are as stated and, where one is not, the command that repeats it; the exit status."""
    wrong = [row for row in judged if not row.holds]
    print(f"{len(judged) - len(wrong)} of {len(judged)} as stated")
    if wrong:
        print(f"to repeat: {wrong[0].repeat}")
    return status_of(judged)

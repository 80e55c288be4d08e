"""Tries inputs alone and by CPU time, which other work on the machine does not lengthen.

A fuzzer measures by the clock what an input takes, and on a busy machine any may take too long. What
it took for a hang is one only if it takes too long again here.
"""

import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stress.children import begun

# By the clock, as a multiple of the limit: ends a program that waits for ever and takes no CPU time.
PATIENCE = 30


@dataclass(frozen=True)
class Tried:
    """What a program came to."""

    status: int
    output: str  # standard output, then standard error
    seconds: float  # of CPU time
    complaint: str | None = None  # what it took too long for; it was ended


def _taken():
    """CPU time of the children that this process has waited for, seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def try_alone(command, limit):
    """Runs a program that may take `limit` whole seconds of CPU time. Meanwhile no other child may be
    waited for."""

    def confine():
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    before, complaint = _taken(), None
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with begun(command, preexec_fn=confine, text=True, errors="replace", **streams) as child:
        try:
            output, errors = child.communicate(timeout=PATIENCE * limit)
        except subprocess.TimeoutExpired:
            complaint = f"waits for longer than {PATIENCE * limit} s"
            child.kill()
            output, errors = child.communicate()
    seconds = _taken() - before
    if complaint is None and (child.returncode == -signal.SIGXCPU or seconds >= limit):
        complaint = f"takes longer than {limit} s of CPU time"
    return Tried(child.returncode, output + errors, seconds, complaint)

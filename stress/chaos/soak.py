"""Soak: mixed chaos with sessions that start and stop, for long, on each free-threaded interpreter at
once. Each has its part of the processors, and acts with so many more threads.

Prints a line a minute for each: samples, ticks dropped by reason, the handler's longest run, resident memory, open
timers. At the end a table, and the handler's times as a histogram. What it had is kept when it is interrupted.

Environment:
  SOAK_MINUTES=n        how long (default 60)
  STRESS_SEED=n         of every random choice (default: another each time, printed first)
  STRESS_PROCESSORS=n   how many processors to count on (default: those that it may use)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for folder in (HERE, ROOT):
    sys.path.insert(0, str(folder))

import run as chaos  # noqa: E402 - a sibling, wherever this is run from

from stress.children import catch_signals, describe, end_group, undisturbed  # noqa: E402
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.lanes import chosen, processors  # noqa: E402
from stress.results import bound, write_whole  # noqa: E402
from stress.truth.run import find_python  # noqa: E402

RESULT = ROOT / "build" / "results" / "soak.json"
# What resident memory may grow by after the first minutes, bytes. It is read after each act, where it goes up and down by
# several MiB with what that act has left behind for a while; what never goes away is in the least of some minutes.
# So much for each thread that an antagonist has: what they leave is scattered over as many heaps.
WARM_MINUTES = 5
FLOOR_MINUTES = 5
GROWTH_MOST = 1 << 20
# What the interpreter's allocator frees goes back to the kernel at once, and the C library has one heap for all threads,
# not one for each of the first few, each of which would come to hold a little.
ALLOCATOR = {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_ABANDONED_PAGE_PURGE": "1", "MALLOC_ARENA_MAX": "1"}
STALLED_SECONDS = 120  # an act takes seconds


class Runner:
    """One interpreter's process, and what it said of itself, minute by minute."""

    def __init__(self, interpreter, seed, processors, folder, log):
        self.interpreter, self.log = interpreter, log
        self.result, self.errors = folder / f"{interpreter}.json", folder / f"{interpreter}.errors"
        self.latest, self.minutes, self.problem = None, [], None
        self.resident = []  # (seconds, bytes) after each act
        self.read_at = time.monotonic()
        environment = {**chaos.environment_of(interpreter), **ALLOCATOR}
        environment["LD_PRELOAD"] = str(ROOT / "build" / "stress" / "chaos" / "stopwatch.so")
        with open(self.errors, "w") as log:
            self.child = subprocess.Popen(
                [find_python(interpreter), HERE / "marathon.py", f"{seed}/{interpreter}", str(processors), self.result],
                **{"env": environment, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log},
                start_new_session=True,
            )

    def read(self):
        """Takes what the process has written since."""
        latest = json.loads(self.result.read_text()) if self.result.exists() else None
        if latest and (self.latest is None or latest["acts"] != self.latest["acts"]):
            self.latest, self.read_at = latest, time.monotonic()
            self.resident.append((latest["seconds"], latest["process"]))

    def look(self):
        """Reads, and notes whether the process crashed or hangs."""
        self.read()
        status = self.child.poll()
        if status is not None and self.problem is None:
            self.problem = (describe(status) or "ended by itself") + self.last_words()
        elif status is None and time.monotonic() - self.read_at > STALLED_SECONDS:
            self.problem = "hung" + self.last_words()

    def last_words(self):
        """The act that it was in and what it said there; all of it is kept in a file."""
        words = self.errors.read_text(errors="replace").splitlines()
        acts = [number for number, line in enumerate(words) if line.startswith("act ")]
        words = words[acts[-1] :] if acts else words
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("\n".join([*words, ""]))
        return "".join(f"\n    {line}" for line in [*words[:4], "...", f"log: {self.log}"])

    def growth(self):
        """Bytes since the first minutes; None where it ran too short to tell."""
        return growth(self.resident)

    def complaints(self, complete=True):
        if self.problem:
            yield self.problem
        if not self.latest:
            if complete:
                yield "no act was finished: nothing was tested"
            return
        yield from self.latest["wrong"]
        if self.latest["impossible"]:
            yield f"{self.latest['impossible']} impossible stacks: {'; '.join(self.latest['examples'])}"
        for name, count in self.latest["left"].items():
            yield f"{count} {name} were left"
        if (self.growth() or 0) > GROWTH_MOST * self.latest["players"]:
            yield f"resident memory grew by {self.growth() / 2**20:.1f} MiB after the first {WARM_MINUTES} minutes"

    def line(self):
        found = self.latest
        if found is None:
            return f"{self.interpreter:6} no act finished yet"
        lost = ", ".join(f"{name} {count:,}" for name, count in found["dropped"].items() if count) or "none"
        return (
            f"{self.interpreter:6} {found['seconds'] / 60:6.1f} min {found['acts']:6,} acts {found['captured']:12,} captured of"
            f" {found['ticks']:12,}; worst handler {found['worst_handler_ns'] / 1000:,.0f} us; {found['process'] / 2**20:.1f} MiB"
            f" (C heap {found['heap'] / 2**20:.2f}); {found['timers']} timers; dropped: {lost}"
        )


def growth(resident):
    """From the least resident memory of the minutes after the first ones to the least of the last ones: what each act
    leaves for good is in both. None where the two are not apart. `resident`: (seconds, bytes), by time."""
    warm, floor = WARM_MINUTES * 60, FLOOR_MINUTES * 60
    end = resident[-1][0] if resident else 0
    if end < warm + 2 * floor:
        return None
    first = min(held for seconds, held in resident if warm <= seconds < warm + floor)
    return min(held for seconds, held in resident if seconds > end - floor) - first


def histogram(found):
    total = sum(found["handler_ns"])
    for bucket, count in enumerate(found["handler_ns"]):
        if count:
            bar = "#" * max(1, round(50 * count / total))
            yield f"  {2**bucket / 1000:>11,.1f} us {count:>12,} {bar}"


def soak(runners, seconds):
    """False: interrupted, or all have ended."""
    began = last = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            time.sleep(0.5)
            for runner in runners:
                runner.look()
            if any(runner.problem for runner in runners):
                return True
            if time.monotonic() - last >= 60:
                last += 60
                for runner in runners:
                    print(runner.line(), flush=True)
                    runner.minutes += [runner.latest] if runner.latest else []
    except KeyboardInterrupt:
        return False
    return True


def conclude(runners, seed, complete, path):
    print("\nfinal")
    for runner in runners:
        print(runner.line())
        if runner.latest:
            found, grown = runner.latest, runner.growth()
            grown = "too short to tell" if grown is None else f"{grown / 2**20:.2f} MiB"
            print(f"  growth of resident memory after the first {WARM_MINUTES} minutes: {grown}")
            print(
                f"  {found['judged']:,} stacks judged, {found['impossible']} impossible ({bound(found['judged'], found['impossible'])} at 95 %)"
            )
            print(f"  {found['sessions']:,} sessions; the handler's CPU time, from each power of two on:")
            print("\n".join(histogram(found)))
    wrong = [f"{runner.interpreter}: {text}" for runner in runners for text in runner.complaints(complete)]
    write_whole(
        path,
        {
            "seed": seed,
            "processors": processors(),
            "interrupted": not complete,
            "complaints": wrong,
            **{
                runner.interpreter: {
                    "final": runner.latest,
                    "minutes": runner.minutes,
                    "resident": runner.resident,
                    "growth": runner.growth(),
                }
                for runner in runners
            },
        },
    )
    for text in wrong:
        print(f"FAILED {text}")
    if wrong or not complete:
        minutes = os.environ.get("SOAK_MINUTES")
        length = [f"SOAK_MINUTES={minutes}"] if minutes else []
        print("to repeat:", " ".join([f"STRESS_SEED={seed}", *length, *chosen(), "ninja soak"]), flush=True)
    return 1 if wrong else 0 if complete else 130


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE")
    return parser.parse_args()


def main():
    catch_signals()
    options = parse()
    seconds = chaos.number_from("SOAK_MINUTES", 60) * 60
    seed = chaos.seed_from_environment()
    each = max(1, processors() // len(FREE_THREADED))
    print(f"soak: seed {seed}", flush=True)
    print(f"{len(FREE_THREADED)} interpreters at once, on {processors()} processors", flush=True)
    runners = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            for name in FREE_THREADED:
                with undisturbed():
                    log = options.json.with_name(f"soak-{name}.log")
                    runners.append(Runner(name, seed, each, Path(folder), log))
            complete = soak(runners, seconds)
        finally:
            for runner in runners:
                end_group(runner.child)
                runner.read()
        return conclude(runners, seed, complete, options.json)


if __name__ == "__main__":
    sys.exit(main())

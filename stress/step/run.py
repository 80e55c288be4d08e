#!/usr/bin/env python3
"""Samples after every machine instruction, on each interpreter, and says whether the stacks hang together.

usage: stress/step/run.py [--only NAME] [--short] [--result FILE]

STEP_POINTS is how many points to take on each interpreter, at least; 300000 unless set. The workload is always done to
the end once, and with 10,000,000 points or more nothing of it is passed over. Where there are enough
processors, parts of the workload are stepped at once; STRESS_PROCESSORS=n says how many to count on.
Needs what `ninja library` builds. Writes build/results/step.json, or FILE, whole or not at all. Ends
with status 1, and with the command that repeats the run as its last line, where a stack does not
follow from the one before, a dropped point has no explanation, points are missing or a child crashes.
"""

import argparse
import collections
import contextlib
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from stress.children import (  # noqa: E402 - wherever this is run from
    catch_signals,
    describe,
    end_group,
    existing_python,
    run_to_its_end,
    undisturbed,
)
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.lanes import at_once, chosen, processors  # noqa: E402
from stress.results import write_whole  # noqa: E402

RESULT = ROOT / "build" / "results" / "step.json"
POINTS = 300_000
POINTS_OF_A_LONG_RUN = 10_000_000
PARTS_MOST = 7  # of an interpreter's workload: each has a piece at least, also where it is short
SILENCE = 300  # seconds without a piece of work done: a child that hangs

# Why a point may be dropped: (reason, phase in the thread's life, functions that it may happen in, explanation). A file
# in brackets stands for its functions where it has no symbols. Anything else fails the run.
INTERPRETER = "[*python*]"
EXPLAINED = (
    (
        "no_thread_state",
        "birth",
        ("*",),
        "a new thread, in libc and up to bind_tstate (Python/pystate.c), before its id stands in a thread state",
    ),
    (
        "detached",
        "birth",
        ("*",),
        "bind_tstate has stored the thread's id and not yet the bound bit: it makes the allocator's heaps in between",
    ),
    (
        "detached",
        "end",
        ("*",),
        "unbind_tstate has run: the thread state is being freed, or is, while the thread runs on to its end in libc",
    ),
    (
        "code_range",
        "between",
        ("_PyEval_EvalFrameDefault", "_TAIL_CALL_RESUME*", INTERPRETER),
        "from 3.14t on, RESUME in a generator that another thread began (_LOAD_BYTECODE, Python/bytecodes.c): tlbc_index is"
        " this thread's already, instr_ptr points into the other thread's copy of the bytecode still",
    ),
)


class Failed(Exception):
    """What ends the run; one line."""


# --- the children --------------------------------------------------------------------------------------


class Child:
    """One interpreter that steps the workload, or the part of it with that number, of so many."""

    def __init__(self, name, points, mode, folder, part=0, parts=1):
        self.name, self.mode, self.points = name, mode, 0
        self.result = folder / f"{name}-{mode}-{part}.json"
        self.errors = folder / f"{name}-{mode}-{part}.errors"
        self.heard = time.monotonic()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(ROOT / "build" / "stress" / name)
        command = [
            interpreter(name),
            "-X",
            "faulthandler",
            HERE / "session.py",
            str(points),
            mode,
            f"{part}/{parts}",
            self.result,
        ]
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.points = int(line.split()[1])
            self.heard = time.monotonic()

    @property
    def running(self):
        if self.process.poll() is not None:
            self.reader.join()
            return False
        if time.monotonic() - self.heard > SILENCE:
            raise Failed(f"{self.name}: nothing was heard for {SILENCE} s")
        return True

    @property
    def findings(self):
        code = self.process.returncode
        if code == 0 and self.result.exists():
            return json.loads(self.result.read_text())
        print("\n".join(self.errors.read_text().splitlines()[-30:]), file=sys.stderr)
        raise Failed(f"{self.name}: stepping {describe(code) or 'left no result'} after {self.points:,} points")


def interpreter(name):
    found = existing_python(name)
    if found.returncode != 0:
        raise Failed(found.stderr.strip().splitlines()[-1])
    return found.stdout.strip()


def build(name):
    made = run_to_its_end([HERE / "build.sh", name])
    if made.returncode != 0:
        print(made.stderr, file=sys.stderr)
        raise Failed(f"{name}: step_driver could not be built")


def show_progress(children, started, last):
    """A line a second on a terminal, one every ten seconds elsewhere. Returns when the last one was shown."""
    now, terminal = time.monotonic(), sys.stderr.isatty()
    if now - last < (1 if terminal else 10):
        return last
    points = collections.Counter()
    for child in children:
        points[child.name] += child.points
    counts = ", ".join(f"{name} {count:,}" for name, count in points.items())
    text = f"step: {now - started:.0f} s, points: {counts}"
    print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
    return now


def parts_for(names, mode):
    """In how many parts each interpreter steps the workload. The control is one piece."""
    if mode == "control":
        return 1
    return max(1, min(at_once() // len(names), PARTS_MOST))


def merged(parts):
    """The findings of one interpreter's children as one, and how many they were."""
    return {**functools.reduce(added, parts), "children": len(parts)}


def added(one, other):
    """The sum of what two children say: of numbers, of lists, and key by key of dictionaries."""
    if isinstance(one, dict):
        return one | other | {key: added(one[key], other[key]) for key in one.keys() & other.keys()}
    if isinstance(one, bool):
        return one and other
    return one if isinstance(one, str) else one + other


def run_children(names, points, mode):
    """{name: findings}. No child outlives the call."""
    parts = parts_for(names, mode)
    print(f"step: {len(names) * parts} children at once, on {processors()} processors", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="spprof-step-") as folder, contextlib.ExitStack() as ending:
        started = last = time.monotonic()
        children = []
        for name, part in [(name, part) for name in names for part in range(parts)]:
            with undisturbed():
                children.append(Child(name, -(-points // parts), mode, Path(folder), part, parts))
                ending.callback(end_group, children[-1].process)
        while any([child.running for child in children]):
            last = show_progress(children, started, last)
            time.sleep(0.1)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        found = {name: [child.findings for child in children if child.name == name] for name in names}
        return {name: merged(each) for name, each in found.items()}


# --- the verdict ---------------------------------------------------------------------------------------


def explanation(reason, phase, function):
    for known_reason, known_phase, functions, why in EXPLAINED:
        if (reason, phase) == (known_reason, known_phase) and any(fnmatchcase(function, known) for known in functions):
            return why
    return None


def drops_of(found):
    """(reason, phase, function, points), the most frequent first."""
    drops = [
        (reason, phase, function, count)
        for reason, phases in found["dropped"].items()
        for phase, functions in phases.items()
        for function, count in functions.items()
    ]
    return sorted(drops, key=lambda drop: -drop[3])


def complaints(found, points):
    """What is wrong with one interpreter's run, line by line."""
    wrong = []
    if not found["free_threaded"]:
        wrong.append("the interpreter was not free-threaded while it was stepped")
    if found["points"] < points:
        wrong.append(f"{found['points']:,} points were taken, of {points:,}")
    if found["discontinuities"]:
        wrong.append(f"{found['discontinuities']:,} discontinuities")
    if found["lost"]:
        wrong.append(f"{found['lost']:,} drops or threads could not be recorded: there is not room enough in driver.c")
    if found["truncated"]:
        wrong.append(f"{found['truncated']:,} stacks were too deep to be compared whole")
    dropped = sum(drop[3] for drop in drops_of(found))
    if found["points"] != found["captured"] + dropped:
        wrong.append(f"{found['points']:,} points are not {found['captured']:,} captured and {dropped:,} dropped")
    if not (found["frames_gained"] and found["frames_lost"] and found["threads"]):
        wrong.append("the workload gained and lost no frame, or started no thread")
    for reason, phase, function, count in drops_of(found):
        if explanation(reason, phase, function) is None:
            wrong.append(f"{count:,} points dropped as {reason} ({phase}) in {function}: not explained")
    return wrong


def control_complaint(found):
    """A stack was falsified on purpose; the run that does not see it proves nothing."""
    return None if found["discontinuities"] else "the control, one falsified stack, was not found"


# --- what is shown ---------------------------------------------------------------------------------------


COLUMNS = ("interpreter", "points", "captured", "captured %", "dropped", "gained", "lost", "trampolines", "threads", "discontinuities")  # fmt: skip


def row_of(name, found):
    dropped = found["points"] - found["captured"]
    ended = f"{found['threads']} ({found['thread_ends']} to the end)"
    share = f"{100 * found['captured'] / max(found['points'], 1):.3f}"
    numbers = (found["points"], found["captured"], share, dropped, found["frames_gained"], found["frames_lost"])
    return (name, *numbers, found["trampolines"], ended, found["discontinuities"])


def show_table(results):
    rows = [COLUMNS, *(row_of(name, found) for name, found in results.items())]
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def show_drops(name, found):
    by_reason = {}
    for reason, phase, function, count in drops_of(found):
        by_reason.setdefault((reason, phase), []).append((function, count))
    for (reason, phase), functions in by_reason.items():
        total = sum(count for _, count in functions)
        some = ", ".join(f"{function} {count:,}" for function, count in functions[:6])
        more = f" and {len(functions) - 6} more functions" if len(functions) > 6 else ""
        print(f"{name}: {total:,} dropped as {reason} ({phase}): {some}{more}")
        print(f"    {explanation(reason, phase, functions[0][0]) or 'not explained'}")


def show_broken(name, found):
    for broken in found["broken"]:
        print(f"{name}: discontinuity in {broken['function']}, {broken['drops_between']} drops in between")
        for which in ("before", "after"):
            print(f"    {which}, innermost first:")
            for frame in broken[which][:12]:
                print(f"        {frame}")
            if len(broken[which]) > 12:
                print(f"        and {len(broken[which]) - 12} more")


def show(results):
    show_table(results)
    for name, found in results.items():
        show_drops(name, found)
        if found["passed_over"]:
            print(f"{name}: {found['passed_over']} calls of the allocator's cleaning loop were passed over")
        show_broken(name, found)


def write_results(results, verdict, path):
    interpreters = {}
    for name, found in results.items():
        dropped = {
            reason: sum(sum(functions.values()) for functions in phases.values())
            for reason, phases in found["dropped"].items()
        }
        interpreters[name] = found | {"dropped": dropped, "dropped_at": found["dropped"]}
    write_whole(path, {"interpreters": interpreters, "processors": processors(), "complaints": verdict})


# --- the run ---------------------------------------------------------------------------------------------


def judge(names, points, mode, path):
    """The lines that say what is wrong; none where all is well."""
    for name in names:
        build(name)
    wrong = []
    for name, found in run_children(names, 0, "control").items():
        complaint = control_complaint(found)
        wrong += [f"{name}: {complaint}"] if complaint else []
    results = run_children(names, points, mode)
    for name, found in results.items():
        wrong += [f"{name}: {complaint}" for complaint in complaints(found, points)]
    show(results)
    write_results(results, wrong, path)
    return wrong


def again(options):
    words = ["stress/step/run.py"]
    if options.only:
        words += ["--only", options.only]
    if options.short:
        words.append("--short")
    points = os.environ.get("STEP_POINTS")
    settings = ([f"STEP_POINTS={shlex.quote(points)}"] if points else []) + chosen()
    return " ".join([*settings, shlex.join(words)])


def points_wanted():
    text = os.environ.get("STEP_POINTS") or str(POINTS)
    if not text.isascii() or not text.replace("_", "").isdigit():
        raise Failed(f"STEP_POINTS is {text!r}; it must be a number of points, for instance {POINTS}")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description="Samples after every machine instruction.")
    parser.add_argument("--only", choices=FREE_THREADED, help="this interpreter alone")
    parser.add_argument("--short", action="store_true", help="one quick round, for the tests")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the JSON goes")
    options = parser.parse_args()
    catch_signals()
    options.result.unlink(missing_ok=True)
    try:
        points = points_wanted()
        mode = "short" if options.short else "every" if points >= POINTS_OF_A_LONG_RUN else "all"
        least = min(points, 20_000) if options.short else points
        wrong = judge((options.only,) if options.only else FREE_THREADED, least, mode, options.result)
    except Failed as failure:
        wrong = [str(failure)]
    except KeyboardInterrupt:
        print(f"\nstep: interrupted\nto repeat: {again(options)}", file=sys.stderr)
        return 130
    sys.stdout.flush()
    for line in wrong:
        print(f"step: {line}", file=sys.stderr)
    if wrong:
        print(f"to repeat: {again(options)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

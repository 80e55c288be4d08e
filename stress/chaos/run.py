"""Chaos: antagonists beside a program whose possible stacks are known, sampled at the fastest interval.

Every antagonist runs alone, and some drawn at random run together, on each free-threaded interpreter,
in cpu and wall mode, each cell in a process of its own. A crowd of a thousand threads or more has a
cell of its own too. Cells run at once, and have more threads, as there are processors for. Afterwards:
every tick captured or counted, no impossible stack, nothing left behind, and all programs' results
right.

Environment:
  STRESS_SECONDS=n      all cells together (default 240; with --short 40)
  STRESS_SEED=n         of every random choice (default: another each time, printed first)
  STRESS_ONLY=text      only cells whose name (antagonist/interpreter/mode) contains it
  STRESS_PROCESSORS=n   how many processors to count on (default: those that it may use)
"""

import argparse
import os
import random
import shlex
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for folder in (HERE, ROOT):
    sys.path.insert(0, str(folder))

from antagonists import ANTAGONISTS  # noqa: E402 - a sibling, wherever this is run from

from stress.cells import watch  # noqa: E402
from stress.children import Children, catch_signals  # noqa: E402
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.lanes import Shares, at_once, chosen, processors, run_at_once  # noqa: E402
from stress.results import bound, write_whole  # noqa: E402
from stress.truth.run import find_python  # noqa: E402

MODES = ("cpu", "wall")
MIXED = 3  # of each interpreter and mode
SHORT = ("mixed", "starts")
# Where each read of an observer is a system call that waits for whoever maps memory: an impossible stack is likeliest there.
SLOW_READS = "fault_library+maps+threads"
# A cell is a witness of two or three threads, and an antagonist or some. Two run at once on a small
# machine all the same: each is then taken from its processor in the midst of anything.
PROCESSORS_A_CELL = 4
LEAST_AT_ONCE = 2
# What the start of a cell, its judgement and its end take besides the acts, seconds.
OVERHEAD = 2.0
LEAST_SECONDS = 0.5
# The crowd: what must be captured of all ticks, and what a thread that waits may cost, bytes.
CAPTURED_LEAST = 0.99
IDLE_MOST = 64 << 10


class Cell:
    """One child process: what it runs, and what became of it."""

    def __init__(self, act, interpreter, mode, number=None):
        self.act, self.interpreter, self.mode, self.number = act, interpreter, mode, number
        self.found, self.problem = None, None

    @property
    def name(self):
        return f"{self.act}{'' if self.number is None else f'-{self.number}'}/{self.interpreter}/{self.mode}"

    @property
    def ran(self):
        return self.found is not None or self.problem is not None

    def command(self, python, seconds, seed, room, result):
        """`room`: the processors that are there for this cell. The crowd, most of which waits, has all."""
        if self.act == "crowd":
            return [python, HERE / "crowd.py", self.mode, f"{seconds:.2f}", str(processors()), result]
        name = f"{seed}/{self.name}"
        return [python, HERE / "child.py", self.act, self.mode, f"{seconds:.2f}", name, str(room), result]


def all_cells(short):
    acts = SHORT if short else [*ANTAGONISTS, SLOW_READS, "mixed", "crowd"]
    for act in acts:
        for interpreter in FREE_THREADED:
            for mode in MODES:
                for number in range(1 if short else MIXED) if act == "mixed" else (None,):
                    yield Cell(act, interpreter, mode, number)


def choose_cells(short):
    only = os.environ.get("STRESS_ONLY", "")
    cells = [cell for cell in all_cells(short) if only in cell.name]
    if not cells:
        raise SystemExit(f"chaos: no cell's name contains '{only}'; a name is antagonist/interpreter/mode")
    return cells


def environment_of(interpreter):
    package, helper = ROOT / "build" / "python" / interpreter, ROOT / "build" / "stress" / "chaos" / "fault_owner.so"
    if not (package / "built").exists() or not helper.exists():
        raise SystemExit(
            f"chaos: the package for {interpreter} or its neighbours are not built; run: ninja stress-built"
        )
    environment = dict(os.environ)
    for name in ("PYTHON_GIL", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONFAULTHANDLER", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    return {**environment, "PYTHONPATH": str(package), "SPPROF_FAULT_OWNER": str(helper)}


# --- cells that run ----------------------------------------------------------------------------------------


def cells_at_once(cells):
    return min(len(cells), at_once(PROCESSORS_A_CELL, LEAST_AT_ONCE))


def run_cell(cell, python, seconds, options, room, children):
    cell.found, cell.problem = watch(
        lambda result: cell.command(python, seconds, options.seed, room, result),
        environment_of(cell.interpreter),
        seconds + options.patience,
        children,
        "chaos-",
    )


def run_all(cells, pythons, options):
    """False: interrupted."""
    children, count = Children(), cells_at_once(cells)
    room = max(1, processors() // count)
    shares = Shares([1] * len(cells), count, options.seconds, OVERHEAD, LEAST_SECONDS)
    print(f"{count} cells at once, on {processors()} processors")
    print(HEAD, flush=True)

    def work(cell):
        with shares.take(1) as seconds:
            run_cell(cell, pythons[cell.interpreter], seconds, options, room, children)
        print("\n".join([row(cell), *details(cell), ""]), end="", flush=True)  # in one piece: cells end at once

    try:
        run_at_once(work, cells, count, children)
    except KeyboardInterrupt:
        return False
    return True


# --- what is wrong with it ---------------------------------------------------------------------------------


def complaints(cell):
    if cell.problem is not None:
        return [cell.problem]
    found = cell.found
    wrong = [*found["wrong"], *found["leaks"]]
    if not found["law"] and not found["wrong"]:
        wrong.append("ticks are not captured + dropped")
    if found["captured"] == 0:
        wrong.append("nothing was captured: nothing was tested")
    return [*wrong, *(crowd_complaints(found) if cell.act == "crowd" else act_complaints(found))]


def act_complaints(found):
    if found["impossible"]:
        yield f"{found['impossible']} impossible stacks of {found['judged']}"
    for name in found["names"]:
        if not found["rounds"].get(name):
            yield f"{name} had no round: nothing was tested"


def crowd_complaints(found):
    rate = found["captured"] / max(1, found["ticks"])
    if rate < CAPTURED_LEAST:
        yield f"{100 * rate:.2f} % of the ticks were captured, of {100 * CAPTURED_LEAST:.0f} %"
    if found["bytes_per_idle_thread"] > IDLE_MOST:
        yield f"an idle thread costs {found['bytes_per_idle_thread'] / 1024:.1f} KiB, of {IDLE_MOST / 1024:.0f}"
    if min(found["alive"], found["threads"]) < found["crowd"]:
        yield f"{found['threads']} threads sampled and {found['alive']} alive, of {found['crowd']}"


def summary(cells, options, seconds, complete):
    ran = [cell for cell in cells if cell.ran]
    found = [cell.found for cell in ran if cell.found]
    return {
        "seed": options.seed,
        "runs": len(ran),
        "crashes": sum((cell.problem or "").startswith(("crashed", "exited", "left")) for cell in ran),
        "hangs": sum((cell.problem or "").startswith("hung") for cell in ran),
        "leaks": sum(len(each["leaks"]) for each in found),
        "impossible": sum(each.get("impossible", 0) for each in found),
        "wrong": sum(len(each["wrong"]) for each in found),
        **{key: sum(each.get(key, 0) for each in found) for key in ("ticks", "captured", "judged", "sessions")},
        "seconds": round(seconds, 1),
        "processors": processors(),
        "interrupted": not complete,
        "complaints": [f"{cell.name}: {text}" for cell in ran for text in complaints(cell)],
        "cells": [{"name": cell.name, "problem": cell.problem, **(cell.found or {})} for cell in ran],
    }


# --- tables ------------------------------------------------------------------------------------------------

HEAD = f"{'cell':30} {'rounds':>7} {'sessions':>8} {'ticks':>10} {'captured':>10} {'judged':>9} {'impossible':>10} {'heap':>9} {'process':>9}"


def row(cell):
    if cell.found is None:
        return f"{cell.name:30} {cell.problem}"
    found = cell.found
    if cell.act == "crowd":
        return (
            f"{cell.name:30} {found['alive']:,} threads: {found['captured']:,} of {found['ticks']:,} ticks captured"
            f" ({100 * found['captured'] / max(1, found['ticks']):.2f} %), idle {found['bytes_per_idle_thread'] / 1024:.1f} KiB a"
            f" thread, {found['bytes_per_idle_thread_alone'] / 1024:.1f} without a session"
        )
    heap, process = (f"{(found['after'][key] - found['before'][key]) / 2**20:.1f} MiB" for key in ("heap", "process"))
    return (
        f"{cell.name:30} {sum(found['rounds'].values()):>7,} {found['sessions']:>8,} {found['ticks']:>10,}"
        f" {found['captured']:>10,} {found['judged']:>9,} {found['impossible']:>10,} {heap:>9} {process:>9}"
    )


def details(cell):
    if cell.found is None:
        return []
    lost = ", ".join(f"{name} {count:,}" for name, count in cell.found["dropped"].items() if count)
    lines = [f"    {', '.join(cell.found['names'])}"] if cell.act == "mixed" else []
    lines += [f"    dropped: {lost}"] if lost else []
    return lines + [f"    impossible: {example}" for example in cell.found.get("examples", ())]


def repeat_command(options, wrong):
    names = [f"STRESS_SEED={options.seed}", *chosen()]
    only = wrong[0][0].name if wrong else os.environ.get("STRESS_ONLY", "")
    if only:
        names.append(f"STRESS_ONLY={shlex.quote(only)}")
    if os.environ.get("STRESS_SECONDS"):
        names.append(f"STRESS_SECONDS={os.environ['STRESS_SECONDS']}")
    short = " --short" if options.short else ""
    return f"{' '.join(names)} python3 stress/chaos/run.py{short}"


def conclude(cells, options, result, complete):
    print(
        f"\nchaos: {result['runs']} runs, {result['crashes']} crashes, {result['hangs']} hangs, {result['leaks']} leaks,"
        f" {result['wrong']} wrong results; {result['captured']:,} captured of {result['ticks']:,} ticks,"
        f" {result['judged']:,} stacks judged, {result['impossible']} impossible"
        f" ({bound(result['judged'], result['impossible'])} at 95 %)"
    )
    wrong = [(cell, text) for cell in cells if cell.ran for text in complaints(cell)]
    for cell, text in wrong:
        print(f"FAILED {cell.name}: {text}")
    if not complete:
        missing = sum(not cell.ran for cell in cells)
        print(f"interrupted: {missing} of {len(cells)} cells were not run; what the others found was kept")
    if wrong or not complete:
        print(f"to repeat: {repeat_command(options, wrong)}", flush=True)
    return 1 if wrong else 0 if complete else 130


# --- the run -----------------------------------------------------------------------------------------------


def number_from(variable, usual, least=0, most=1e6, kind=float):
    text = os.environ.get(variable) or str(usual)
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not least < number < most:
        raise SystemExit(f"{variable} is '{text}'; set it to a number above {least} and below {most:.0f}")
    return number


def seed_from_environment():
    drawn = random.SystemRandom().randrange(1, 1 << 31)
    return number_from("STRESS_SEED", drawn, most=1 << 62, kind=int)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few cells, tens of seconds")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "results" / "chaos.json", metavar="FILE")
    parser.add_argument(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="past its time a cell is said to hang (default 60)",
    )
    options = parser.parse_args(arguments)
    options.seconds = number_from("STRESS_SECONDS", 40 if options.short else 240)
    options.seed = seed_from_environment()
    return options


def main():
    catch_signals()
    options = parse(sys.argv[1:])
    print(f"chaos: seed {options.seed}", flush=True)
    cells = choose_cells(options.short)
    for name in FREE_THREADED:
        environment_of(name)
    pythons = {name: find_python(name) for name in FREE_THREADED}
    began = time.monotonic()
    complete = run_all(cells, pythons, options)
    result = summary(cells, options, time.monotonic() - began, complete)
    write_whole(options.json, result)
    return conclude(cells, options, result, complete)


if __name__ == "__main__":
    sys.exit(main())

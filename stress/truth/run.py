"""Ground truth: looks at programs whose possible stacks are known, and counts the impossible ones it is shown.

Every workload runs under each free-threaded interpreter and is looked at in wall mode and in cpu mode (the session, as fast
as it goes) and by the handler alone (driven by a storm of ticks), each in a process of its own, as many at once as there are
processors for. Of some workloads the shares of time that they are shown with are compared with those by their own clock.
Beside them run walkers that are known to lie: they must be caught, or the workloads are too weak and the run fails.

Environment:
  TRUTH_SECONDS=n       all cells together (default 360; with --short 25)
  TRUTH_ONLY=text       only cells whose name (workload/interpreter/mode) contains it
  WALKER=path.so        judges that walker (stress/walker.h) instead of the core's own; wall mode only
  STRESS_PROCESSORS=n   how many processors to count on (default: those that it may use)
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "stress"
for folder in (HERE, ROOT):
    sys.path.insert(0, str(folder))

from sums import add_up, digest_of  # noqa: E402 - siblings, wherever this is run from
from workloads import WEIGHTS, WORKLOADS  # noqa: E402

from stress.cells import watch  # noqa: E402
from stress.children import Children, catch_signals, existing_python  # noqa: E402
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.lanes import Shares, at_once, chosen, processors, run_at_once  # noqa: E402
from stress.results import bound, write_whole  # noqa: E402

MODES = ("storm", "cpu", "wall")
SEED = BUILD / "seed_walker.so"
SHORT = ("families_20", "generators", "births", "mixture")

# Frames of the stack at which walks are timed.
COST_DEPTH = 20
# What the start of a cell, its judgement and its end take besides the looking, seconds.
OVERHEAD = 0.4
LEAST_SECONDS = 0.5
# A cell's own two or three busy threads, and who looks at them.
PROCESSORS_A_CELL = 3
# Workloads that are there for their shares of time, which a storm has none of.
OF_TIME = "shares_"
# How far a family's share may be from its true one, and the ticks without which that says nothing.
SHARES_MOST = 0.01
TICKS_LEAST = 10_000
# What may be held more at a cell's end than at its first third's, bytes: of the C library's heap, where the core's own
# memory is, and of the process, where a workload that compiles may grow for minutes by itself.
HEAP_MOST = 1 << 20
PROCESS_MOST = 32 << 20
# Ways in which a walk can fail: each is met by real races where they can be had, and by a synthetic image in a test.
PATHS = ("bounds", "alignment", "type", "owner", "progress", "cycle", "fault", "code_range", "torn", "incomplete")
INJECTED = {
    "bounds": "tests/test_walk.py::test_current_frame_out_of_bounds",
    "alignment": "tests/test_walk.py::test_frame_misaligned",
    "type": "tests/test_walk.py::test_executable_that_is_no_code",
    "owner": "tests/test_walk.py::test_owner_of_no_running_frame",
    "progress": "tests/test_walk.py::test_overlapping_frames",
    "cycle": "tests/test_walk.py::test_generators_in_a_circle",
    "fault": "tests/test_walk.py::test_fault_at_every_read",
    "code_range": "tests/test_walk.py::test_instruction_outside_its_code",
    "torn": "tests/test_observe.py::test_suspended_frame_that_changed",
    "incomplete": "tests/test_walk.py::test_chain_that_ends_before_an_entry_frame",
}


class Cell:
    """One child process: what it runs, and what became of it."""

    def __init__(self, workload, interpreter, mode, walker="", kind="ours", weight=1.0):
        self.workload, self.interpreter, self.mode = workload, interpreter, mode
        self.walker, self.kind, self.weight = walker, kind, weight
        self.found, self.problem = None, None

    @property
    def name(self):
        return f"{self.workload}/{self.interpreter}/{self.mode}"

    def command(self, python, seconds, result):
        if self.mode == "cost":
            return [python, HERE / "cost.py", str(COST_DEPTH), SEED, result]
        if self.mode == "remote":
            return [python, HERE / "remote.py", self.workload, f"{seconds:.2f}", result]
        return [python, HERE / "child.py", self.workload, self.mode, f"{seconds:.2f}", self.walker, result]


# --- which cells ---------------------------------------------------------------------------------------


def our_cells(workloads, interpreters, walker):
    modes = ("wall",) if walker else MODES
    return [
        Cell(w, i, m, walker, weight=WEIGHTS.get(w, 1.0))
        for w in workloads
        for i in interpreters
        for m in modes
        if m != "storm" or not w.startswith(OF_TIME)
    ]


def control_cells():
    # Twice the time: on a busy machine threads seldom change just while they are looked at.
    seed = [Cell("generators", name, "wall", str(SEED), f"control:seed-{name}", 2.0) for name in FREE_THREADED]
    return [
        *seed,
        Cell("families_20", "3.14t", "remote", kind="control:RemoteUnwinder-3.14t"),
        Cell("families_20", "3.15t", "remote", kind="peer:RemoteUnwinder-3.15t"),
    ]


def cost_cells():
    return [Cell("look", name, "cost", kind="cost", weight=0) for name in FREE_THREADED]


def choose_cells(options):
    walker = os.environ.get("WALKER", "")
    if walker and not Path(walker).is_file():
        raise SystemExit(f"truth: WALKER is '{walker}', which is no file; build it first (stress/walker.h)")
    workloads, path = SHORT if options.short else WORKLOADS, str(Path(walker).resolve()) if walker else ""
    cells = our_cells(workloads, options.interpreter or FREE_THREADED, path)
    if not options.no_controls:
        cells += control_cells() + cost_cells()
    only = os.environ.get("TRUTH_ONLY", "")
    cells = [cell for cell in cells if only in cell.name or only in cell.kind]
    # A long one that begins late would leave processors idle at the end.
    cells.sort(key=lambda cell: -cell.weight)
    if not cells:
        raise SystemExit(f"truth: no cell's name contains '{only}'; a name is workload/interpreter/mode")
    return cells


def find_python(name):
    done = existing_python(name)
    if done.returncode != 0:
        raise SystemExit(f"truth: there is no {name}; provide it with: ci/python {name}")
    return done.stdout.strip()


def check_built(cells):
    for name in {cell.interpreter for cell in cells if cell.mode != "remote"}:
        if not list((BUILD / name / "truth").glob("truth_driver*.so")):
            raise SystemExit(f"truth: the driver for {name} is not built; build it with: ninja truth-drivers")


# --- one cell --------------------------------------------------------------------------------------------


def environment_of(cell):
    environment = dict(os.environ)
    for name in ("PYTHON_GIL", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONFAULTHANDLER", "PYTHONDONTWRITEBYTECODE"):
        environment.pop(name, None)
    environment["PYTHONPATH"] = str(BUILD / cell.interpreter / "truth")
    return environment


def run_cell(cell, python, seconds, patience, children):
    cell.found, cell.problem = watch(
        lambda result: cell.command(python, seconds, result),
        environment_of(cell),
        seconds + patience,
        children,
        "truth-",
    )


# --- what is wrong with it --------------------------------------------------------------------------------


def growth(found):
    for name, grown, most in (("heap", "heap_grown", HEAP_MOST), ("memory", "grown", PROCESS_MOST)):
        bytes_more = found[grown] - found["held"]
        if bytes_more > most:
            yield f"the {name} grew by {bytes_more / 2**20:.1f} MiB"


def complaints(cell):
    if cell.problem is not None:
        return [cell.problem]
    found = cell.found
    if cell.kind == "cost":
        return ["a look costs more than the seed walk"] if found["ours_ns"] > found["seed_ns"] else []
    wrong = []
    if not found["law"]:
        wrong.append("walks are not captured + dropped")
    if found["captured"] == 0:
        wrong.append("nothing was captured")
    if cell.kind == "ours":
        wrong += growth(found)
    if cell.kind == "ours" and found["impossible"]:
        wrong.append(f"{found['impossible']} impossible stacks")
    if cell.kind.startswith("control") and not found["impossible"]:
        wrong.append("a walker that lies was not caught: the workload is too weak")
    if cell.kind == "ours":
        wrong += leaning(cell)
    return wrong


def shares(cell):
    """[(family, its share, its true one)]: only where a thread's time is all that decides when it is looked at."""
    found = cell.found
    total = sum(found.get("families", {}).values())
    if cell.mode == "storm" or not total or not found["truth"]:
        return []
    return [(name, found["families"].get(name, 0) / total, true) for name, true in sorted(found["truth"].items())]


def leaning(cell):
    """What is wrong with the shares of a workload that is there for them."""
    if not cell.workload.startswith(OF_TIME):
        return []
    if sum(cell.found["families"].values()) < TICKS_LEAST:
        return [f"fewer than {TICKS_LEAST:,} ticks: give it more time (TRUTH_SECONDS)"]
    return [
        f"{name} is shown with {share:.3f} of the time instead of {true:.3f}"
        for name, share, true in shares(cell)
        if abs(share - true) > SHARES_MOST
    ]


# --- tables ----------------------------------------------------------------------------------------------------

HEAD = f"{'cell':34} {'walks':>11} {'captured':>11} {'moved':>10} {'kept':>7} {'impossible':>10} {'at 95 %':>10} {'heap':>9} {'process':>9}"


def cost(found):
    ours, seed = found["ours_ns"], found["seed_ns"]
    return f"a look at {COST_DEPTH} frames {ours:.0f} ns, the seed walk {seed:.0f} ns: {ours / seed:.2f} to 1"


def row(cell):
    label = cell.name if cell.kind in ("ours", "cost") else cell.kind.partition(":")[2] + " " + cell.workload
    if cell.found is None:
        return f"{label:34} {(cell.problem or 'not run').splitlines()[0]}"
    found = cell.found
    if cell.kind == "cost":
        return f"{cell.name:34} {cost(found)}"
    heap, grown = (
        f"{(found[key] - found['held']) / 2**20:.1f} MiB" if key in found else "-" for key in ("heap_grown", "grown")
    )
    moved = f"{found['moved']:,}" if "moved" in found else "-"
    kept = f"{100 * found.get('kept', found['captured']) / found['walks']:.2f}%" if found["walks"] else "-"
    return (
        f"{label:34} {found['walks']:>11,} {found['captured']:>11,} {moved:>10} {kept:>7} {found['impossible']:>10,}"
        f" {bound(found['captured'], found['impossible']):>10} {heap:>9} {grown:>9}"
    )


def details(cell):
    if cell.found is None or cell.kind == "cost":
        return []
    lost = ", ".join(f"{name} {count:,}" for name, count in cell.found["dropped"].items() if count)
    lines = [f"    dropped: {lost}"] if lost else []
    if shares(cell):
        told = " ".join(f"{name} {share:.3f} (true {true:.3f})" for name, share, true in shares(cell))
        lines.append(f"    shares: {told}")
    if cell.found["impossible"]:
        for example in cell.found["examples"][: 3 if cell.kind == "ours" else 1]:
            shown = " ".join(example["stack"][-12:]) or "(no frame)"
            lines.append(f"    impossible, {example['count']:,} times on {example['thread']}: {shown}")
    return lines


LEGEND = """
waiting:  captured of the thread that only waits
moved:    captured stacks that were not the one seen before on their thread
walks:    ticks, of which one look may stand for several where it comes late; captured: looks
kept:     ticks captured of all
at 95 %:  the rate of impossible stacks, or the most that it can be where none was seen
heap, process: what the C library's heap, where the core's memory is, and the whole process grew by in the last two thirds
          of the cell, without what the tally itself holds; compiled code makes free-threaded CPython grow by itself
shares:   of the ticks, beside the time by the program's own clock"""


def matrix(cells):
    """Which reason was met where by a real race, and how often: in any attempt, also where a later one captured."""
    ours = [cell for cell in cells if cell.kind == "ours" and cell.found]
    lines = ["", f"{'path':12} {'met':>10}  where"]
    for path in PATHS:
        met = [(cell.found["met"].get(path, 0), cell.name) for cell in ours]
        met = sorted((pair for pair in met if pair[0]), reverse=True)
        where = ", ".join(f"{name} {count:,}" for count, name in met[:4])
        more = f" and {len(met) - 4} more" if len(met) > 4 else ""
        lines.append(
            f"{path:12} {sum(count for count, _ in met):>10,}  {where or f'not in this run; injected by {INJECTED[path]}'}{more}"
        )
    return lines


def sums(cells):
    found = [cell.found for cell in cells if cell.found]
    return {key: sum(each.get(key, 0) for each in found) for key in ("walks", "captured", "impossible", "waiting")}


def summary(cells, seconds, interrupted):
    named = {"controls": {}, "peers": {}}
    for cell in cells:
        kind, _, name = cell.kind.partition(":")
        if name and cell.found:
            named[kind + "s"][name] = {key: cell.found[key] for key in ("walks", "captured", "impossible", "dropped")}
    ours = [cell for cell in cells if cell.kind == "ours"]
    paths = {
        path: {cell.name: count for cell in ours if cell.found and (count := cell.found["met"].get(path, 0))}
        for path in PATHS
    }
    return {
        "judged": {"core": digest_of(ROOT / "core"), "walker": os.environ.get("WALKER", "")},
        "totals": sums(ours),
        **named,
        "cost": {cell.interpreter: cell.found for cell in cells if cell.kind == "cost" and cell.found},
        "paths": paths,
        "seconds": seconds,
        "processors": processors(),
        "interrupted": interrupted,
        "cells": [
            {
                "workload": cell.workload,
                "interpreter": cell.interpreter,
                "mode": cell.mode,
                "kind": cell.kind,
                "complaints": complaints(cell) if cell.found or cell.problem else ["not run"],
                **(cell.found or {}),
            }
            for cell in cells
        ],
    }


# --- the run -----------------------------------------------------------------------------------------------------


def run_all(cells, pythons, total, patience):
    """False: it was interrupted."""
    children, count = Children(), min(len(cells), at_once(PROCESSORS_A_CELL))
    shares = Shares([cell.weight for cell in cells], count, total, OVERHEAD, LEAST_SECONDS)
    print(f"{count} cells at once, on {processors()} processors")
    print(HEAD, flush=True)

    def work(cell):
        with shares.take(cell.weight) as seconds:
            run_cell(cell, pythons[cell.interpreter], seconds, patience, children)
        print("\n".join([row(cell), *details(cell), ""]), end="", flush=True)  # in one piece: cells end at once

    try:
        run_at_once(work, cells, count, children)
    except KeyboardInterrupt:
        return False
    return True


def repeat_command(options):
    names = ("TRUTH_SECONDS", "TRUTH_ONLY", "WALKER")
    settings = [f"{name}={shlex.quote(os.environ[name])}" for name in names if os.environ.get(name)] + chosen()
    flags = [f"--{flag.replace('_', '-')}" for flag in ("short", "no_controls") if getattr(options, flag)]
    flags += [f"--interpreter {name}" for name in options.interpreter or ()]
    if not flags:
        return " ".join([*settings, "ninja truth"])
    return " ".join([*settings, "python3 stress/truth/run.py", *flags])


def conclude(cells, options, complete):
    print(LEGEND)
    print("\n".join(matrix(cells)))
    ours = sums([cell for cell in cells if cell.kind == "ours"])
    print(
        f"\n{os.environ.get('WALKER') or 'ours'}: {ours['captured']:,} captured of {ours['walks']:,}, {ours['impossible']:,} impossible"
        f" ({bound(ours['captured'], ours['impossible'])} at 95 %), {ours['waiting']:,} waiting"
    )
    wrong = [(cell, text) for cell in cells if cell.found or cell.problem for text in complaints(cell)]
    for cell, text in wrong:
        print(f"FAILED {cell.name} ({cell.kind}): {text}")
    if not complete:
        missing = sum(1 for cell in cells if not cell.found and not cell.problem)
        print(f"interrupted: {missing} of {len(cells)} cells were not run; what the others found was kept")
    if wrong or not complete:
        print(f"to repeat: {repeat_command(options)}", flush=True)
    return 1 if wrong else 0 if complete else 130


def read_seconds(usual):
    text = os.environ.get("TRUTH_SECONDS") or str(usual)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise SystemExit(f"truth: TRUTH_SECONDS is '{text}'; set it to a number of seconds")
    return seconds


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few workloads, tens of seconds")
    parser.add_argument("--no-controls", action="store_true", help="only what is judged, no walkers that lie")
    parser.add_argument(
        "--interpreter",
        action="append",
        choices=FREE_THREADED,
        help="what is judged runs under this one, and others that are named so, alone",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=60,
        metavar="SECONDS",
        help="past its time a cell is said to hang (default 60)",
    )
    parser.add_argument(
        "--sum",
        nargs="+",
        metavar="FILE",
        help="runs nothing: adds up what runs of the same sources have left, and prints it",
    )
    parser.add_argument("--any-core", action="store_true", help="with --sum: also of other sources")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "results" / "truth.json", metavar="FILE")
    return parser.parse_args(arguments)


def main():
    catch_signals()
    options = parse(sys.argv[1:])
    if options.sum:
        return add_up(options.sum, options.any_core)
    total = read_seconds(25 if options.short else 360)
    cells = choose_cells(options)
    check_built(cells)
    pythons = {name: find_python(name) for name in {cell.interpreter for cell in cells}}
    began = time.monotonic()
    complete = run_all(cells, pythons, total, options.patience)
    write_whole(options.json, summary(cells, time.monotonic() - began, not complete))
    return conclude(cells, options, complete)


if __name__ == "__main__":
    sys.exit(main())

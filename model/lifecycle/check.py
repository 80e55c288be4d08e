#!/usr/bin/env python3
"""Checks each model of this folder in every interleaving, and that each of its mutants fails.

usage: model/lifecycle/check.py [NAME...]

NAME is threads, abandon, fork, owners or asking, for a model itself, or a mutant of one: they are
listed in lifecycle.pml, and in owners.pml and asking.pml, whose mutants' names begin with the
model's here (owners-NO_WAIT).

Exit status: 0 all as stated; 1 a verdict differs; 2 a wrong argument; 3 spin is missing; 4 spin or the compiler could not
read the model, or a part of it was never reached; 5 nothing was run.
"""

import argparse
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from model import rows
from model.rows import Row

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One run of spin: the file, the claim that it is of, what it defines."""

    file: str
    claim: str
    defines: tuple = ()
    complete: tuple = ()  # the processes of which every step must be reached where it holds
    twin: str = ""  # the mutant's name


MODELS = {
    "threads": Run("lifecycle", "lifecycle", complete=("handler", "threads", "watch")),
    "abandon": Run("lifecycle", "lifecycle_abandon", ("ABANDON",), complete=("handler", "threads", "watch")),
    "fork": Run("lifecycle", "lifecycle_fork", ("FORK",), complete=("child",)),
    "owners": Run("owners", "owners", complete=("session", "neighbour", "signal")),
    "asking": Run("asking", "asking", complete=("session", "handler")),
}
MUTANTS = {
    **{name: Run("lifecycle", "lifecycle", (name,), twin=name) for name in (
        "NO_CHECK", "NO_LEASE", "NO_WAIT", "CHECK_BEFORE_RAISE", "FREE_BEFORE_QUIESCE", "NO_RETIRE", "NEVER_LEAVE",
        "NO_QUIET", "DEATHS_LAST", "GENERATION_FIRST",
    )},
    **{name: Run("lifecycle", "lifecycle_abandon", ("ABANDON", name), twin=name) for name in (
        "FREE_ABANDONED", "LET_ABANDONED", "KEEP_ABANDONED",
    )},
    "NO_FORK_RESET": Run("lifecycle", "lifecycle_fork", ("FORK", "NO_FORK_RESET"), twin="NO_FORK_RESET"),
    **{f"owners-{name}": Run("owners", "owners", (name,), twin=name) for name in (
        "NO_COMPARE", "NO_WAIT", "HANDED_ON", "NO_COME_AGAIN", "REUSED", "NO_DYNAMIC", "NOT_TOLD", "TOLD_LATE",
        "GIVE_BACK_BLIND",
    )},
    **{f"asking-{name}": Run("asking", "asking", (name,), twin=name) for name in (
        "NOT_TAKEN", "TAKE_FIRST", "NO_LOOK", "TWO_STEPS", "KEEP_ASKED", "KEEP_DUE", "NO_WAIT",
    )},
}  # fmt: skip
DEPTH = 1_000_000


def unreached(output, process):
    """The steps of a process that no run took, but for the end of one that has none."""
    found = re.search(rf"unreached in proctype {process}\n(.*?)\n(?:unreached|\n|$)", output, re.S)
    return [
        line.strip() for line in (found[1] if found else "").splitlines() if ", state " in line and "-end-" not in line
    ]


def check(name):
    """One row: the model, or a mutant of it."""
    run = MODELS.get(name) or MUTANTS[name]
    row = Row(run.claim, "lifecycle", "spin", "refuted" if run.twin else "holds", "unreadable", run.twin,
              repeat=f"model/lifecycle/check.py {name}")  # fmt: skip
    folder = rows.WORK / "lifecycle" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = (
        ["spin", *(f"-D{word}" for word in run.defines), "-a", HERE / f"{run.file}.pml"],
        ["cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
        ["./pan", f"-m{DEPTH}"],
    )
    for step in steps:
        status, output, seconds = rows.run(step, 300, cwd=folder)
        row.seconds += seconds
        row.detail = output
        if status != 0:
            row.unreadable = True
            return row
    errors = re.search(r"errors: (\d+)", output)
    if errors is None or "max search depth too small" in output:
        row.unreadable = True
        return row
    row.observed = "refuted" if int(errors[1]) else "holds"
    never = [line for process in run.complete for line in unreached(output, process)]
    if row.observed == "holds" and never:
        row.observed = f"never reached: {never[0]}"
    return row


def jobs(names=()):
    """A function for each row that is to be judged."""
    if shutil.which("spin") is None:
        raise rows.Missing("spin is not there; provide it with: ci/setup")
    for name in names:
        if name not in MODELS and name not in MUTANTS:
            raise ValueError(f"there is no model {name}; the names are: {' '.join([*MODELS, *MUTANTS])}")
    return [lambda name=name: check(name) for name in names or [*MODELS, *MUTANTS]]


def main():
    parser = argparse.ArgumentParser(prog="model/lifecycle/check.py", usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("names", nargs="*")
    try:
        todo = jobs(parser.parse_args().names)
    except rows.Missing as missing:
        print(f"model/lifecycle/check.py: {missing}", file=sys.stderr)
        return rows.MISSING
    except ValueError as problem:
        print(f"model/lifecycle/check.py: {problem}", file=sys.stderr)
        return rows.USAGE
    with ThreadPoolExecutor(2) as pool:
        judged = list(pool.map(lambda job: job(), todo))
    for row in judged:
        print(row.line())
    return rows.conclude(judged)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks the model of a session's life in every interleaving, and that each of its mutants fails.

usage: model/lifecycle/check.py [NAME...]

NAME is threads, abandon or fork, for the model itself, or one of its mutants (NO_CHECK, ...; they are listed in lifecycle.pml).

Exit status: 0 all as stated; 1 a verdict differs; 2 a wrong argument; 3 spin is missing; 4 spin or the compiler could not
read the model, or a part of it was never reached; 5 nothing was run.
"""

import argparse
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from model import rows
from model.rows import Row

HERE = Path(__file__).resolve().parent

MODEL = HERE / "lifecycle.pml"
# What each run defines, and the processes of which every step must be reached where it holds.
MODELS = {
    "threads": ((), ("handler", "threads", "watch")),
    "abandon": (("ABANDON",), ("handler", "threads", "watch")),
    "fork": (("FORK",), ("child",)),
}
MUTANTS = {
    **{name: (name,) for name in (
        "NO_CHECK", "NO_LEASE", "NO_WAIT", "CHECK_BEFORE_RAISE", "FREE_BEFORE_QUIESCE", "NO_RETIRE", "NEVER_LEAVE",
    )},
    **{name: ("ABANDON", name) for name in ("FREE_ABANDONED", "LET_ABANDONED", "KEEP_ABANDONED")},
    "NO_FORK_RESET": ("FORK", "NO_FORK_RESET"),
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
    defines, complete = MODELS.get(name) or (MUTANTS[name], ())
    mutant = name in MUTANTS
    claim = "_".join(["lifecycle", *(word.lower() for word in ("ABANDON", "FORK") if word in defines)])
    row = Row(claim, "lifecycle", "spin",
              "refuted" if mutant else "holds", "unreadable", name if mutant else "",
              repeat=f"model/lifecycle/check.py {name}")  # fmt: skip
    folder = rows.WORK / "lifecycle" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = (
        ["spin", *(f"-D{word}" for word in defines), "-a", MODEL],
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
    never = [line for process in complete for line in unreached(output, process)]
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

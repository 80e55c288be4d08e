#!/usr/bin/env python3
"""Makes every call of the core fail, each use of it in turn, once and from then on, and looks at what is left.

Four forms of a session with a made-up interpreter (driver.c says what must hold), then starts and stops of the Python
package on real interpreters (package.py). Prints how many cases each call had, and writes build/results/faults.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stress.children import Children, catch_signals  # noqa: E402 - wherever this is run from
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.lanes import at_once, processors, run_at_once  # noqa: E402
from stress.results import write_whole  # noqa: E402

DRIVER = ROOT / "build" / "stress" / "faults" / "driver"
RESULT = ROOT / "build" / "results" / "faults.json"
FORMS = ("cpu-sink", "cpu-drain", "wall-sink", "wall-drain")


class Broken(Exception):
    """A case that does not hold; the message ends with the command that repeats it."""


def read_counts(name, lines):
    """{call: cases} of one program's lines: `form call cases`, and a sum that must agree."""
    counts = {}
    for line in lines:
        _, call, cases = line.split()
        counts[call] = int(cases)
    total = counts.pop("cases", None)
    if not total or total != sum(counts.values()):
        raise Broken(f"{name} tried nothing")
    return counts


def run(name, command, children):
    """Runs one program to its end; its lines are shown as they come."""
    lines = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with children.start(command, cwd=ROOT, **pipes) as child, child:
        for line in child.stdout:
            lines.append(line)
            print(line, end="", flush=True)
        complaint = child.stderr.read()
    if child.returncode != 0:
        raise Broken(complaint.rstrip() or f"{name} ended with status {child.returncode}")
    return read_counts(name, lines)


def commands(short):
    more = ["short"] if short else []
    for form in FORMS:
        yield form, [str(DRIVER), form, *more]
    for name in FREE_THREADED:
        yield f"package-{name}", [sys.executable, "stress/faults/package.py", name, *more]


def run_all(short):
    """{program: {call: cases}}, as many programs at once as there are processors for."""
    children, counts = Children(), {}
    programs = dict(commands(short))
    count = min(len(programs), at_once())
    print(f"{count} programs at once, on {processors()} processors", flush=True)

    def work(name):
        counts[name] = run(name, programs[name], children)

    run_at_once(work, programs, count, children)
    return {name: counts[name] for name in programs}


def table(counts):
    names = list(counts)
    calls = sorted({call for found in counts.values() for call in found})
    yield f"{'call':20}" + "".join(f"{name:>15}" for name in names)
    for call in calls:
        yield f"{call:20}" + "".join(f"{counts[name].get(call, 0):15}" for name in names)
    yield f"{'cases':20}" + "".join(f"{sum(counts[name].values()):15}" for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="one error for each call, not every one")
    arguments = parser.parse_args()
    catch_signals()
    try:
        counts = run_all(arguments.short)
    except Broken as broken:
        sys.exit(f"stress/faults: {broken}")
    except KeyboardInterrupt:
        again = "stress/faults/run.py --short" if arguments.short else "stress/faults/run.py"
        print(f"stress/faults: interrupted; nothing is left running\nto repeat: {again}", file=sys.stderr)
        return 130
    write_whole(RESULT, {"cases": sum(sum(calls.values()) for calls in counts.values()), "forms": counts})
    print("\n".join(table(counts)))
    print(f"every fault left things as they should be: {sum(sum(calls.values()) for calls in counts.values())} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())

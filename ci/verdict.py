"""Profiles ci/workload.py on each interpreter and says whether the profiles hold. Run by ci/verify.

A check is a function from a run to a complaint (None where all is well); to add one, write it below under @check.
"""

import itertools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import support  # noqa: E402 (needs the path above)

from stress.children import catch_signals  # noqa: E402

CHECKS = []
MODES = ("cpu", "wall")
COLUMNS = ("interpreter", "mode", "ticks", "captured", "captured %", "lost, by reason", "threads", "checks passed")


def check(name):
    def register(function):
        CHECKS.append((name, function))
        return function

    return register


class Run:
    """One profiled run of the workload."""

    def __init__(self, name, mode):
        self.outcome = support.interpreter(name).run(ROOT / "ci" / "workload.py", mode, check=False)
        self.name, self.mode = name, mode
        self.found = self.outcome.json or {}
        self.stats = self.found.get("stats", {})

    @property
    def ticks(self):
        return self.stats.get("ticks", 0)

    @property
    def captured(self):
        return self.stats.get("captured", 0)

    @property
    def losses(self):
        return {reason: count for reason, count in self.stats.get("dropped", {}).items() if count}

    @property
    def share(self):
        return self.captured / self.ticks if self.ticks else 0.0


# --- the checks ------------------------------------------------------------------------------------


@check("exit clean")
def exit_clean(run):
    if run.outcome.complaint:
        return run.outcome.complaint
    return "it wrote to standard error" if run.outcome.stderr.strip() else None


@check("GIL off")
def gil_off(run):
    return None if run.found.get("gil_off") else "the GIL is on, or the run did not get as far as to say"


@check("captured something")
def captured_something(run):
    return None if run.captured > 0 else "no sample"


@check("ticks = captured + losses")
def law(run):
    total = run.captured + sum(run.losses.values())
    return None if run.ticks == total > 0 else f"{run.ticks} ticks, {total} accounted for"


@check("nothing lost but for a reason")
def no_other_loss(run):
    unknown = set(run.losses) - reasons()
    if unknown:
        return f"no reason is called {', '.join(sorted(unknown))}"
    weight = run.found.get("weight")
    return None if weight == run.captured else f"{run.captured} ticks captured, {weight} in the profile"


@check("captured >= 99 % (wall: 95 %)")
def captured_nearly_all(run):
    return None if run.share >= (0.99 if run.mode == "cpu" else 0.95) else f"captured {percent(run)}"


@check("every thread present")
def every_thread(run):
    seen, expected = run.found.get("workers"), run.found.get("expected_workers")
    return None if seen == expected and expected else f"{threads(run)} threads"


@check("hot functions named")
def hot_functions(run):
    absent = set(run.found.get("hot", ["all of them"])) - set(run.found.get("names", []))
    return f"absent: {', '.join(sorted(absent))}" if absent else None


def reasons():
    """The names of the reasons, as the public header has them."""
    text = (ROOT / "core" / "include" / "spprof.h").read_text()
    body = text.split("enum spprof_reason {", 1)[1].split("};", 1)[0]
    return {name.lower() for name in re.findall(r"^\s*SPPROF_(\w+)", body, re.MULTILINE)} - {"captured", "reasons"}


# --- the verdict -----------------------------------------------------------------------------------


def percent(run):
    return f"{100 * run.share:.2f} %"


def threads(run):
    return f"{run.found.get('workers', 0)}/{run.found.get('expected_workers', '?')}"


def complaints(run):
    return [(name, complaint) for name, function in CHECKS if (complaint := function(run))]


def row(run, failed):
    losses = ", ".join(f"{reason} {count}" for reason, count in sorted(run.losses.items())) or "none"
    passed = f"{len(CHECKS) - len(failed)}/{len(CHECKS)}"
    return (run.name, run.mode, str(run.ticks), str(run.captured), percent(run), losses, threads(run), passed)


def show(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def main(names):
    catch_signals()
    rows, failures = [COLUMNS], []
    for name, mode in itertools.product(names, MODES):
        print(f"verify: profiling the workload on {name}, {mode} mode", file=sys.stderr, flush=True)
        run = Run(name, mode)
        failed = complaints(run)
        rows.append(row(run, failed))
        failures += [f"{name}, {mode} mode: {check_name}: {complaint}" for check_name, complaint in failed]
        if run.outcome.stderr.strip():
            print(f"{name} wrote to standard error:\n{run.outcome.stderr.strip()[-16000:]}")
    show(rows)
    print(f"the checks: {'; '.join(name for name, _ in CHECKS)}")
    for failure in failures:
        print(f"failed: {failure}")
    ran = len(rows) > 1
    print("FAIL" if failures or not ran else "PASS")
    return 1 if failures or not ran else 0


def concluded(names):
    """The exit status; what fails is said with the command that repeats it."""
    try:
        status = main(names)
    except support.Missing as missing:
        print(f"verify: {missing}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print("verify: interrupted", file=sys.stderr)
        status = 130
    if status:
        sys.stdout.flush()
        print("ci/verify: failed; to repeat: ci/verify", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(concluded(sys.argv[1:]))

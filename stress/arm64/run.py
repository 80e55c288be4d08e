#!/usr/bin/env python3
"""ARM64: everything that an emulator can show of the core for aarch64, in one table.

Each row is a command of the project, run by ci/arm64 with the cross compiler and emulated interpreters. Two run at a time.
The exit status is 0 where every row ran something and nothing failed.

Environment:
  ARM64_ONLY=text          only rows whose name contains it
  ARM64_INTERPRETERS=names  those that have a row freethreading (default: all that there are)
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from stress.children import catch_signals, end_group  # noqa: E402 - wherever this is run from
from stress.interpreters import FREE_THREADED  # noqa: E402
from stress.results import write_whole  # noqa: E402

RESULT = ROOT / "build" / "results" / "arm64.json"
LOGS = ROOT / "build" / "arm64" / "logs"
TABLE = (ROOT / "ci" / "interpreters").read_text()
INTERPRETERS = tuple(name for name in FREE_THREADED if f"\n{name}-arm64 " in TABLE)
RUNS_THE_TESTS = "3.14t"  # ci/arm64 cannot do without

# Past it a row is said to hang, seconds.
PATIENCE = 1200
LEAST_SHARE = 0.99
TRUTH_SECONDS = 24
MUTANTS, SEED = 4000, 7

# What loads the core into pytest's own process, which is emulated then.
UNIT = (
    "beat", "codes", "counters", "handler_side", "layout", "lives", "load", "location", "monitor", "observe", "profile",
    "recording", "recording_file", "refused", "ring", "stack", "states", "timers", "walk",
)  # fmt: skip
# What has whole sessions there.
OF_SESSIONS = (
    "calls", "descriptors", "held", "learning", "model_session", "session_due", "session_pause", "session_signals",
    "session_stack", "session_threads", "stuck", "versions",
)  # fmt: skip
NO_ROOM = "needs room between the threads' stacks and the initial one, where the emulator has none to give"
# Left out of the rows below, with the reason that is printed.
LEFT_OUT = {
    "test_whole_standard_library_modules": "line tables of a standard library: the same on every architecture",
    "test_freethreading_step": "the trap flag is x86-64's",
    "test_freethreading_truth": "tests of the harness itself; row `truth` runs it",
    "test_freethreading_chaos": "half of the neighbours take the fault signals: as for `session` below",
    "test_freethreading_soak": "the same neighbours",
    "test_freethreading_tsan": "ThreadSanitizer's runtime does not start in the emulator; row `storm` runs the same programs without",
    "test_faults": "a hundred processes, each with a limit of its own that an emulator is too slow for",
    "with_a_gil": "no ARM64 build with a GIL",
    "test_model_formal": "provers that run on the host and say the same of every architecture",
    "ends_after_65536": "a hundred thousand reads through a function of emulated Python; x86-64 shows the limit",
    "test_cost": "counts instructions by the trap flag, which is x86-64's",
    "test_fuzz_replay": "tests of the harness itself; rows `replay` run it",
    **{f"test_{name}": NO_ROOM for name in OF_SESSIONS},
}
FUZZ_LEFT_OUT = {
    "session": "neighbours take the fault signals there, and QEMU's user mode has no process_vm_readv to read through",
    "output": "Python under an engine of the host; it reads back what the ordinary side has written",
}


@dataclass
class Found:
    """What a row came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    impossible: int = 0
    reasons: dict = field(default_factory=dict)  # why skipped: how often
    details: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ran(self):
        return self.passed + self.failed


@dataclass(frozen=True)
class Row:
    name: str
    command: tuple  # of ci/arm64
    read: callable  # (Found, output, folder) of a command that has ended
    environment: tuple = ()
    interpreters: tuple = (RUNS_THE_TESTS,)  # that it cannot do without

    def shell(self):
        setting = [f"{name}={shlex.quote(value)}" for name, value in self.environment]
        return " ".join([*setting, "ci/arm64", shlex.join(self.command)])


# --- rows --------------------------------------------------------------------------------------------------


def deselected():
    return " and ".join(f"not {name}" for name in LEFT_OUT)


def pytest_row(name, runner, files, also="", interpreters=(RUNS_THE_TESTS,), **environment):
    report = LOGS / f"{name}.xml"
    chosen = deselected() + (f" and {also}" if also else "")
    command = (
        runner,
        *files,
        "-q",
        "--tb=short",
        "--durations=12",
        "-p",
        "no:cacheprovider",
        "-k",
        chosen,
        f"--junitxml={report}",
    )
    environment["HYPOTHESIS_PROFILE"] = os.environ.get("HYPOTHESIS_PROFILE", "emulated")
    return Row(name, command, read_junit, tuple(environment.items()), interpreters)


def with_the_one_that_runs_the_tests(name):
    return tuple(sorted({name, RUNS_THE_TESTS}))


def freethreading_row(name):
    """The tests of the free-threaded interpreters, without those of the others."""
    chosen = " and ".join(["freethreading", *(f"not {other}" for other in FREE_THREADED if other != name)])
    needed = with_the_one_that_runs_the_tests(name)
    return pytest_row(
        f"freethreading-{name}", "host-pytest", ["tests/"], chosen, needed, ARM64_INTERPRETERS=" ".join(needed)
    )


def shares_row(name):
    command = ("python3", "stress/arm64/shares.py", name)
    return Row(f"shares-{name}", command, read_shares, (), with_the_one_that_runs_the_tests(name))


def truth_command():
    drivers = " ".join(f"build/stress/{name}/truth/built" for name in INTERPRETERS)
    judged = " ".join(f"--interpreter {name}" for name in INTERPRETERS)
    return f"ninja {drivers} && python3 stress/truth/run.py --short --no-controls {judged}"


def rows():
    models = sorted(f"tests/{path.name}" for path in (ROOT / "tests").glob("test_model_*.py"))
    unit = [f"tests/test_{name}.py" for name in UNIT]
    made = [
        *map(freethreading_row, os.environ.get("ARM64_INTERPRETERS", " ".join(INTERPRETERS)).split()),
        pytest_row("unit", "pytest", unit),
        pytest_row("owners", "host-pytest", ["tests/test_owners.py"]),
        Row(
            "truth",
            ("sh", "-c", truth_command()),
            read_truth,
            (("TRUTH_SECONDS", str(TRUTH_SECONDS)), ("ARM64_INTERPRETERS", " ".join(INTERPRETERS))),
            INTERPRETERS,
        ),
        *map(shares_row, INTERPRETERS),
        # The synthetic interpreter under real signals; two threads start and stop its sessions at once.
        Row("storm", ("python3", "stress/tsan/run.py", "--short", "--only", "storm", "--seed", str(SEED)), read_storm),
    ]
    if models:
        made.append(pytest_row("models", "pytest", models))
    for folder in sorted((ROOT / "fuzz" / "corpus").glob("*/")):
        if folder.name not in FUZZ_LEFT_OUT:
            made += fuzz_rows(folder.name)
    return made


def fuzz_rows(target):
    program = f"build/fuzz/{target}/plain"
    build = f"python3 fuzz/build.py plain {target} {program}"
    kept = " ".join(
        f"fuzz/{kind}/{target}" for kind in ("corpus", "regressions") if (ROOT / "fuzz" / kind / target).is_dir()
    )
    mutants = f"build/fuzz/{target}/mutants"
    mutate = f"rm -rf {mutants} && python3 stress/arm64/mutate.py fuzz/corpus/{target} {mutants} {MUTANTS} {SEED}"
    return [
        Row(f"replay-{target}", ("sh", "-ec", f"{build}\n$SPPROF_EMULATOR {program} {kept}"), read_replay),
        Row(
            f"mutate-{target}",
            ("sh", "-ec", f"{build}.m\n{mutate}\n$SPPROF_EMULATOR {program}.m {mutants}"),
            read_replay,
        ),
    ]


# --- what a row's command has said --------------------------------------------------------------------------------


def read_junit(found, output, name):
    report = LOGS / f"{name}.xml"
    if not report.exists():
        found.problems.append("left no report")
        return
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kind = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if kind is None:
            found.passed += 1
        elif kind.tag == "skipped":
            found.skipped += 1
            reason = kind.get("message", "?")
            found.reasons[reason] = found.reasons.get(reason, 0) + 1
        else:
            found.failed += 1
            found.problems.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
    if left_out := re.search(r"(\d+) deselected", output):
        found.details["deselected"] = int(left_out[1])


def read_truth(found, output, _):
    last = re.search(r"^\S+: ([\d,]+) captured of ([\d,]+), ([\d,]+) impossible", output, re.MULTILINE)
    if last is None:
        found.problems.append("said nothing of what it captured")
        return
    captured, walks, found.impossible = (int(text.replace(",", "")) for text in last.groups())
    found.details = {"captured": captured, "walks": walks}
    failed = re.findall(r"^FAILED (.*)$", output, re.MULTILINE)
    cells = len(re.findall(rf"^\w+/(?:{'|'.join(map(re.escape, INTERPRETERS))})/(?:cpu|wall) ", output, re.MULTILINE))
    found.failed = len({line.split()[0] for line in failed})
    found.passed = cells - found.failed
    found.problems += failed


def read_shares(found, output, _):
    for mode, count in json.loads(output.strip().splitlines()[-1]).items():
        share = count["captured"] / count["ticks"]
        found.details[mode] = {**count, "share": share}
        if share >= LEAST_SHARE:
            found.passed += 1
        else:
            found.failed += 1
            found.problems.append(f"{mode}: {count['captured']} captured of {count['ticks']} ticks: {count['dropped']}")


def read_storm(found, output, _):
    ran = re.search(r"^storm +([\d,]+) +([\d,]+) +([\d,]+)", output, re.MULTILINE)
    judged = re.search(r"^storm: ([\d,]+) stacks judged, ([\d,]+) impossible", output, re.MULTILINE)
    if ran is None or judged is None:
        found.problems.append("said nothing of what it judged")
        return
    numbers = [int(text.replace(",", "")) for text in (*ran.groups(), *judged.groups())]
    found.details = dict(zip(("handler_runs", "looks", "drains", "judged"), numbers, strict=False))
    found.impossible = numbers[-1]
    found.passed = found.impossible == 0
    found.failed = 1 - found.passed


def read_replay(found, output, _):
    files = re.search(r"^fuzz: \w+: (\d+) files", output, re.MULTILINE)
    found.passed = int(files[1]) if files else 0


# --- running ---------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


class Runner:
    """Runs rows, two at a time, each in a process group of its own."""

    def __init__(self):
        self.children = {}
        self.lock = threading.Lock()
        self.stopping = False

    def run(self, row):
        found, began = Found(), time.monotonic()
        log = LOGS / f"{row.name}.log"
        (LOGS / f"{row.name}.xml").unlink(missing_ok=True)
        with open(log, "w") as output, self.lock:
            if self.stopping:
                raise Interrupted
            child = subprocess.Popen(
                [ROOT / "ci" / "arm64", *row.command],
                cwd=ROOT,
                env={**os.environ, **dict(row.environment)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.children[row.name] = child
        try:
            status = child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
            found.problems.append(f"hung for {PATIENCE} s")
        finally:
            ask_to_end(child)
            with self.lock:
                del self.children[row.name]
        if self.stopping:
            raise Interrupted
        self.judge(row, found, log.read_text(errors="replace"), status)
        found.seconds = time.monotonic() - began
        return found

    @staticmethod
    def judge(row, found, output, status):
        try:
            row.read(found, output, row.name)
        except (ValueError, IndexError, KeyError) as error:
            found.problems.append(f"what it said cannot be read: {error!r}")
        if status:
            what = signal.Signals(-status).name if status < 0 else f"status {status}"
            found.problems.append(
                f"ended with {what}: {output.strip().splitlines()[-1] if output.strip() else 'in silence'}"
            )
        if found.ran == 0:
            found.problems.append("nothing was run")
        if found.problems and not found.failed:
            found.failed = 1

    def stop(self):
        with self.lock:
            self.stopping = True
            for child in self.children.values():
                ask_to_end(child)


def ask_to_end(child):
    """What it has started may be in groups of their own, which it ends itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(10)
    end_group(child)


HEAD = f"{'row':16} {'passed':>7} {'failed':>7} {'skipped':>8} {'impossible':>10} {'seconds':>8}"


def line(name, found):
    return f"{name:16} {found.passed:>7,} {found.failed:>7,} {found.skipped:>8,} {found.impossible:>10,} {found.seconds:>8.0f}"


def run_all(chosen):
    runner, results = Runner(), {}
    print(HEAD, flush=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = {pool.submit(runner.run, row): row for row in chosen}
        began, left = time.monotonic(), set(waiting)
        try:
            while left:
                done, left = concurrent.futures.wait(left, 1 if sys.stderr.isatty() else 30, "FIRST_COMPLETED")
                for future in done:
                    row = waiting[future]
                    results[row.name] = future.result()
                    print("\r\033[K" * sys.stderr.isatty() + line(row.name, results[row.name]), flush=True)
                if left:
                    progress(sorted(runner.children), len(left), time.monotonic() - began)
        except KeyboardInterrupt:
            runner.stop()
            for future in left:
                future.cancel()
    return results, len(results) == len(chosen)


def progress(names, left, seconds):
    text = f"arm64: {seconds:.0f} s, {left} rows left, running {' and '.join(names)}"
    print(
        f"\r\033[K{text}" if sys.stderr.isatty() else text,
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


# --- conclusion ------------------------------------------------------------------------------------------------------


def summary(results, chosen, complete):
    shares = [found.details for name, found in results.items() if name.startswith("shares-")]
    return {
        **{
            key: sum(getattr(found, key) for found in results.values())
            for key in ("passed", "failed", "skipped", "impossible")
        },
        "captured_share": min((mode["share"] for each in shares for mode in each.values()), default=None),
        "complete": complete,
        "left_out": LEFT_OUT | FUZZ_LEFT_OUT,
        "rows": {
            row.name: {**vars(results[row.name]), "command": row.shell()} for row in chosen if row.name in results
        },
    }


def conclude(chosen, results, total):
    for name, reason in (LEFT_OUT | FUZZ_LEFT_OUT).items():
        print(f"left out: {name}: {reason}")
    for name, found in results.items():
        for reason, count in found.reasons.items():
            print(f"skipped {count} in {name}: {reason}")
    truth, share = results.get("truth"), total["captured_share"]
    if truth and truth.details:
        captured = truth.details["captured"]
        print(
            f"truth: {captured:,} captured, {truth.impossible} impossible (0 in N: at most {3 / max(captured, 1):.1e} at 95 %)"
        )
    if share is not None:
        print(f"captured share of the ticks: {100 * share:.2f} % (the worst of all interpreters and modes)")
    print(
        f"{total['passed']:,} passed, {total['failed']:,} failed, {total['skipped']:,} skipped, {total['impossible']:,} impossible"
    )
    if not total["complete"]:
        print("interrupted: what had ended by then was kept")
    bad = [row for row in chosen if row.name in results and results[row.name].failed]
    for row in bad:
        for problem in results[row.name].problems:
            print(f"FAILED {row.name}: {problem}")
        print(f"log: {(LOGS / row.name).relative_to(ROOT)}.log")
    if bad:
        print(f"to repeat: {bad[0].shell()}", flush=True)
    return 1 if bad else 0 if total["complete"] else 130


def check_tools(chosen):
    names = sorted({name for row in chosen for name in row.interpreters})
    steps = [[ROOT / "ci" / "python", "--existing", f"{name}-arm64"] for name in names]
    for step in [*steps, [ROOT / "ci" / "arm64-tools", "--compiler"]]:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"arm64: {done.stderr.strip().splitlines()[-1]}")


def choose():
    only = os.environ.get("ARM64_ONLY", "")
    every = rows()
    chosen = [row for row in every if only in row.name]
    if not chosen:
        names = " ".join(row.name for row in every)
        raise SystemExit(f"arm64: no row's name contains '{only}', which ARM64_ONLY says; there are: {names}")
    return chosen


def main():
    catch_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULT, metavar="FILE")
    options = parser.parse_args()
    chosen = choose()
    check_tools(chosen)
    LOGS.mkdir(parents=True, exist_ok=True)
    results, complete = run_all(chosen)
    total = summary(results, chosen, complete)
    write_whole(options.json, total)
    return conclude(chosen, results, total)


if __name__ == "__main__":
    sys.exit(main())

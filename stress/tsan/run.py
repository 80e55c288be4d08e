#!/usr/bin/env python3
"""ThreadSanitizer over the core: a synthetic interpreter, broken copies of the core that it must report, and CPython
itself. Besides, the synthetic interpreter without it, under the kernel's own signals.

usage: stress/tsan/run.py [--short] [--seed N] [--only PART] [--interpreter NAME] [--result FILE]

PART is one of synthetic, storm, controls, cpython. A program has more threads, and more to do, as
there are processors for, and controls run at once; STRESS_PROCESSORS=n says how many to count on. NAME
is 3.14t-tsan unless given, or 3.15t-tsan.
Writes build/results/tsan.json, or FILE, whole or not at all. Ends with status 1, and with the command
that repeats the run as its last line, where ThreadSanitizer reports a race that touches the core or
the extension, a control is not reported, a stack is impossible, a law is broken, or too little ran to
mean anything.
"""

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
for folder in (HERE, ROOT):
    sys.path.insert(0, str(folder))

from controls import CONTROLS  # noqa: E402

import build  # noqa: E402 - a sibling, wherever this is run from
from build import Failed  # noqa: E402
from stress.children import Children, begun, catch_signals, describe  # noqa: E402
from stress.lanes import at_once, chosen, processors, run_at_once  # noqa: E402
from stress.results import write_whole  # noqa: E402

RESULT = ROOT / "build" / "results" / "tsan.json"
PARTS = ("synthetic", "storm", "controls", "cpython")
HANG = 300  # seconds that a child may take
REPORTED = 66  # exit status of a process that ThreadSanitizer has reported something in

# What has to take place under ThreadSanitizer, or the run has tested nothing.
WALKS_LEAST, HANDLER_RUNS_LEAST = 100_000, 10_000


@dataclass(frozen=True)
class Amount:
    """How often handlers run, and how often the observer looks, in each part."""

    synthetic: tuple
    storm: tuple
    cpython: tuple


FULL = Amount(synthetic=(300_000, 20_000), storm=(60_000, 50_000), cpython=(30_000, 80_000))
SHORT = Amount(synthetic=(100_000, 4_000), storm=(5_000, 2_000), cpython=(3_000, 10_000))
# Fewer would hardly meet each other; with more the session's one thread, which looks at all of them,
# would make a run longer and longer.
THREADS_LEAST, THREADS_MOST = 4, 16


def threads():
    """How many threads a program under ThreadSanitizer has."""
    return max(THREADS_LEAST, min(processors(), THREADS_MOST))


def for_all(amount):
    """What is asked of so many threads: each has as much to do, and a run as many sessions."""
    return [number * threads() // THREADS_LEAST for number in amount]


# --- children --------------------------------------------------------------------------------------------------


def show_progress(what, started, terminal=None):
    terminal = sys.stderr.isatty() if terminal is None else terminal
    text = f"tsan: {what}, {time.monotonic() - started:.0f} s"
    print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)


def run_child(what, command, environment, errors, start=begun):
    """Runs to the end, begun by `start`, with a sign of life meanwhile: each second on a terminal,
    each ten elsewhere. (status, stdout)"""
    started = shown = time.monotonic()
    every = 1 if sys.stderr.isatty() else 10
    command = list(map(str, command))
    with tempfile.TemporaryFile("w+") as output, open(errors, "w") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": log}
        try:
            with start(command, env=environment, **streams) as child:
                while child.poll() is None:
                    if time.monotonic() - started > HANG:
                        raise Failed(f"{what} hung for {HANG} s")
                    if time.monotonic() - shown >= every:
                        shown = time.monotonic()
                        show_progress(what, started)
                    time.sleep(0.05)
        finally:
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
        output.seek(0)
        return child.returncode, output.read()


def sanitizer_environment(folder, name, **options):
    """The program's own list of suppressions (empty, and meant to stay so), after the interpreter's where there is one."""
    suppressions = folder / f"{name}.suppressions"
    lists = [*([options.pop("interpreter_list")] if "interpreter_list" in options else []), HERE / "suppressions.txt"]
    suppressions.write_text("".join(path.read_text() for path in lists))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TSAN_"))}
    options |= {"suppressions": suppressions, "exitcode": REPORTED}
    environment["TSAN_OPTIONS"] = " ".join(f"{key}={value}" for key, value in options.items())
    return environment


# --- reports ------------------------------------------------------------------------------------------------------

OURS = re.compile(r"/core/(?:ordinary/|python/native/)?\w+\.[ch]:\d+|_native\.[\w.-]+\.so")


@dataclass
class Reports:
    ours: list = field(default_factory=list)  # those in which a frame of the core or of the extension stands
    others: list = field(default_factory=list)


def read_reports(text):
    found = Reports()
    for report in re.findall(r"^WARNING: ThreadSanitizer:.*?(?:^SUMMARY:[^\n]*|\Z)", text, re.M | re.S):
        (found.ours if OURS.search(report) else found.others).append(report)
    return found


# --- the parts -----------------------------------------------------------------------------------------------------


def judge_synthetic(name, status, output, errors, allowed):
    """What the synthetic interpreter printed, or a complaint."""
    wrong = []
    try:
        found = json.loads(output)
    except ValueError:
        return {}, [f"{name} {describe(status) or 'ended without a result'}: {last_lines(errors)}"]
    if found["impossible"]:
        wrong.append(f"{name}: {found['impossible']} impossible stacks, the first: {found['example']}")
    if found["law_broken"]:
        wrong.append(f"{name}: ticks were not the sum of the reasons, {found['law_broken']} times")
    if found["refusals_wrong"]:
        wrong.append(f"{name}: {found['refusals_wrong']} starts or stops were answered wrongly")
    if status not in allowed and not wrong:
        wrong.append(f"{name} {describe(status) or 'ended without a result'}: {last_lines(errors)}")
    for wanted in ("judged", "births", "foreign_signals"):
        if not found[wanted]:
            wrong.append(f"{name}: {wanted} is 0, so nothing was tested")
    return found, wrong


def last_lines(path, count=6):
    return "\n".join(Path(path).read_text(errors="replace").strip().splitlines()[-count:])


def run_synthetic(amount, seed, folder):
    program = build.sanitized_interpreter("core")
    errors = folder / "synthetic.errors"
    command = [program, *for_all(amount.synthetic), seed, threads()]
    status, output = run_child("synthetic interpreter", command, sanitizer_environment(folder, "synthetic"), errors)
    found, wrong = judge_synthetic("synthetic", status, output, errors, (0, REPORTED))
    reports = read_reports(errors.read_text(errors="replace"))
    every = reports.ours + reports.others  # all of the program is ours
    wrong += [f"synthetic: {report}" for report in every[:3]]
    if status == REPORTED and not every:
        wrong.append(f"synthetic: ThreadSanitizer ended it: {last_lines(errors)}")
    return {**found, "reports": len(every)}, wrong


def run_storm(amount, seed, folder):
    program = build.plain_interpreter()
    errors = folder / "storm.errors"
    emulator = shlex.split(os.environ.get("SPPROF_EMULATOR", ""))  # of a program for another machine (ci/arm64)
    command = [*emulator, program, *for_all(amount.storm), seed, threads()]
    status, output = run_child("storm", command, dict(os.environ), errors)
    return judge_synthetic("storm", status, output, errors, (0,))


def run_control(control, amount, seed, folder, start=begun):
    program = build.sanitized_interpreter(control.name, control.patches)
    errors = folder / f"{control.name}.errors"
    environment = sanitizer_environment(folder, control.name, halt_on_error=1)
    command = [program, *amount.synthetic, seed, THREADS_LEAST]
    status, _ = run_child(f"control {control.name}", command, environment, errors, start)
    ours = read_reports(errors.read_text(errors="replace")).ours
    if status != REPORTED or not ours:
        return None
    return re.search(r"^SUMMARY: ThreadSanitizer: (.*)", ours[0], re.M)[1].replace(str(program.parent), "")


def run_controls(amount, seed, folder):
    with ThreadPoolExecutor(processors()) as pool:
        made = [pool.submit(build.sanitized_interpreter, control.name, control.patches) for control in CONTROLS]
        try:
            for one in made:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those that have begun are waited for
            raise
    found, children = {}, Children()

    def work(control):
        found[control.name] = run_control(control, amount, seed, folder, children.start)

    run_at_once(work, CONTROLS, min(len(CONTROLS), at_once(THREADS_LEAST)), children)
    missed = [control.name for control in CONTROLS if found[control.name] is None]
    return (
        {control.name: found[control.name] for control in CONTROLS},
        [f"control {name} was not reported: ThreadSanitizer's silence means nothing" for name in missed],
    )


def run_cpython(amount, seed, folder, interpreter=build.INTERPRETERS[0]):
    python = build.package(interpreter)
    errors, result = folder / "cpython.errors", folder / "cpython.json"
    interpreter_list = python.parent.parent / "share" / "tsan-suppressions.txt"
    if not interpreter_list.exists():
        raise Failed(
            f"there is no {interpreter_list}; copy the interpreter's Tools/tsan/suppressions_free_threading.txt there"
        )
    environment = sanitizer_environment(folder, "cpython", interpreter_list=interpreter_list)
    environment["PYTHONPATH"] = str(build.package_folder(interpreter))
    command = [python, HERE / "workload.py", *for_all(amount.cpython), seed, threads(), result]
    status, _ = run_child(f"CPython {interpreter}", command, environment, errors)
    reports = read_reports(errors.read_text(errors="replace"))
    found = json.loads(result.read_text()) if result.exists() else {}
    wrong = [f"cpython: {report}" for report in reports.ours[:3]]
    if not found or status not in (0, REPORTED):
        wrong.append(f"cpython {describe(status) or 'ended without a result'}: {last_lines(errors)}")
    if found.get("broken"):
        wrong.append(f"cpython: the program's own results are wrong: {'; '.join(found['broken'])}")
    if found.get("gil"):
        wrong.append("cpython: the GIL was on")
    if found and not found["captured"]:
        wrong.append("cpython: nothing was captured")
    return {**found, "reports": len(reports.ours), "interpreters_own_reports": len(reports.others)}, wrong


RUNS = {"synthetic": run_synthetic, "storm": run_storm, "controls": run_controls, "cpython": run_cpython}


# --- the run ---------------------------------------------------------------------------------------------------------


def summary(found):
    """What `stress.json` has under `tsan`. Walks: one for each run of the handler, at least one for each look."""
    under = [found[part] for part in ("synthetic", "cpython") if found.get(part)]
    total = {key: sum(each.get(key, 0) for each in under) for key in ("reports", "handler_runs", "looks", "drains")}
    controls = found.get("controls", {})
    return {
        "reports": total["reports"],
        "walks": total["handler_runs"] + total["looks"],
        "handler_runs": total["handler_runs"],
        "drains": total["drains"],
        "controls_reported": sum(report is not None for report in controls.values()),
        "controls": controls,
        **{part: found[part] for part in ("synthetic", "storm", "cpython") if part in found},
    }


def too_little(result, parts):
    wrong = []
    if "synthetic" in parts and result["walks"] < WALKS_LEAST:
        wrong.append(f"{result['walks']:,} walks under ThreadSanitizer, of {WALKS_LEAST:,}: nothing was tested")
    if "synthetic" in parts and result["handler_runs"] < HANDLER_RUNS_LEAST:
        wrong.append(f"{result['handler_runs']:,} handler runs under it, of {HANDLER_RUNS_LEAST:,}: nothing was tested")
    return wrong


def measure(short, seed, parts, interpreter):
    """(what goes into the result, lines that say what is wrong)"""
    amount, found, wrong = SHORT if short else FULL, {}, []
    with tempfile.TemporaryDirectory(prefix="spprof-tsan-") as name:
        for part in parts:
            more = (interpreter,) if part == "cpython" else ()
            found[part], complaints = RUNS[part](amount, seed, Path(name), *more)
            wrong += complaints
    result = summary(found)
    return {"seed": seed, "processors": processors(), **result}, wrong + too_little(result, parts)


def show(result):
    columns = ("", "handler runs", "looks", "drains", "ticks", "captured", "reports")
    rows = [columns]
    for part in ("synthetic", "storm", "cpython"):
        found = result.get(part)
        if found and "ticks" in found:
            captured = found.get("captured", found.get("reasons", {}).get("captured", 0))
            numbers = (found["handler_runs"], found["looks"], found["drains"], found["ticks"], captured)
            rows.append((part, *(f"{number:,}" for number in numbers), found.get("reports", "-")))
    for row in rows:
        print(f"{row[0]:10}" + "".join(f"{cell:>14}" for cell in row[1:]))
    for part in ("synthetic", "storm"):
        if result.get(part):
            found = result[part]
            print(f"{part}: {found.get('judged', 0):,} stacks judged, {found.get('impossible', 0)} impossible")
    for name, report in result["controls"].items():
        print(f"control {name:26} {'reported: ' + report if report else 'NOT REPORTED'}")
    print(
        f"under ThreadSanitizer: {result['walks']:,} walks, {result['handler_runs']:,} handler runs,"
        f" {result['drains']:,} drains, {result['reports']} reports that touch the core or the extension"
    )
    own = result.get("cpython", {}).get("interpreters_own_reports", 0)
    if own:
        print(f"CPython's own races, with no frame of ours: {own} reports")


def again(options):
    words = ["stress/tsan/run.py", "--seed", str(options.seed)]
    words += ["--short"] if options.short else []
    words += ["--only", options.only] if options.only else []
    words += ["--interpreter", options.interpreter] if options.interpreter != build.INTERPRETERS[0] else []
    return " ".join([*chosen(), shlex.join(words)])


def main():
    parser = argparse.ArgumentParser(description="ThreadSanitizer over the core.")
    parser.add_argument("--short", action="store_true", help="a quick run, for the tests")
    parser.add_argument("--seed", type=int, help="of the random choices; another each time unless given")
    parser.add_argument("--only", choices=PARTS, help="this part alone")
    parser.add_argument("--interpreter", choices=build.INTERPRETERS, default=build.INTERPRETERS[0])
    parser.add_argument("--result", type=Path, default=RESULT, help="where the JSON goes")
    options = parser.parse_args()
    catch_signals()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1, 1 << 31)
    print(f"tsan: seed {options.seed}", flush=True)
    print(f"{threads()} threads, on {processors()} processors", flush=True)
    options.result.unlink(missing_ok=True)
    try:
        parts = (options.only,) if options.only else PARTS
        result, wrong = measure(options.short, options.seed, parts, options.interpreter)
        show(result)
        write_whole(options.result, {**result, "complaints": wrong})
    except Failed as failure:
        wrong = [str(failure)]
    except KeyboardInterrupt:
        print(f"\ntsan: interrupted\nto repeat: {again(options)}", file=sys.stderr)
        return 130
    sys.stdout.flush()
    for line in wrong:
        print(f"tsan: {line}", file=sys.stderr)
    if wrong:
        print(f"to repeat: {again(options)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

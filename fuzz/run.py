#!/usr/bin/env python3
"""Fuzzes the core: every target on all cores, with AFL++ or, where it is in Python, Atheris; then a short run on a copy
with a planted bug, or on several, then a table.

Run by `ninja fuzz`, which builds what it needs. What is found is kept in build/fuzz/TARGET/corpus, from which the next
run goes on; interrupting loses nothing. Fails on a crash, a hang, an outcome that was not reached, a stability under
100 %, a planted bug that was not found, or where nothing was executed. A finding is minimised and saved in
fuzz/regressions/TARGET. What took too long by the clock is tried again alone: it is a hang if it takes too long by CPU
time as well, and else is said to have been slow.

Environment:
  FUZZ_SECONDS=n      for each target (default 60)
  FUZZ_TARGETS=names  only these, with a comma or a space between them
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import alone
import engines
import instance
from targets import BUILD, REASONS, RESULTS, ROOT, TARGETS, folder_of

sys.path.insert(0, str(ROOT))

from stress.children import catch_signals
from stress.results import write_whole

FINDINGS_MOST = 5  # of one target that are minimised; the others stay where they are
CONTROL_SECONDS = 60  # of CPU time, in which a planted bug must be found; the control ends when it is
CONTROL_PATIENCE = 10  # times that by the clock, on a machine that gives it little CPU time


@dataclass
class Result:
    target: object
    instances: list = field(default_factory=list)
    seconds: float = 0
    reasons: tuple = ()
    findings: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    controls: list = field(default_factory=list)  # those that were run, one for each planted bug
    corpus: int = 0
    stability: float = 0.0  # percent
    # Inputs that a fuzzer took for hangs, by what they came to when they were tried again.
    hangs: dict = field(default_factory=dict)  # took too long: what is to be said of each
    failing: list = field(default_factory=list)  # failed
    slow: dict = field(default_factory=dict)  # did neither: seconds of CPU time that each took

    def rate(self, sanitized):
        """Executions a second of one instance; None where there is none of the kind."""
        rates = [float(one.stats().get("execs_per_sec", 0)) for one in self.instances if one.sanitized == sanitized]
        return sum(rates) / len(rates) if rates else None

    @property
    def execs(self):
        return sum(int(one.stats().get("execs_done", 0)) for one in self.instances)

    def files(self, kind):
        return sorted({path for one in self.instances for path in one.files(kind)})

    @property
    def crashes(self):
        return [*self.files("crashes"), *self.failing]

    @property
    def untried(self):
        """Taken for hangs, and not tried again."""
        tried = {*self.hangs, *self.failing, *self.slow}
        return [path for path in self.files("hangs") if path not in tried]

    def edges(self):
        main = self.instances[0].stats() if self.instances else {}
        return int(main.get("edges_found", 0)), int(main.get("total_edges", 0))


def say(text):
    print(text, flush=True)


class Progress:
    """One line a second, written over the one before on a terminal."""

    def __init__(self, label, instances, seconds):
        self.label, self.instances, self.seconds, self.last = label, instances, seconds, -1

    def __call__(self, elapsed):
        if int(elapsed) == self.last:
            return
        self.last = int(elapsed)
        queue, crashes = (
            len({path for one in self.instances for path in one.files(kind)}) for kind in ("queue", "crashes")
        )
        line = f"{self.label}: {self.last:4} of {self.seconds:.0f} s, {queue} inputs, {crashes} crashes"
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="", flush=True)
        else:
            say(line)

    def done(self):
        if sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)


# --- the corpus --------------------------------------------------------------------------------------------


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def keep_queue(target):
    """Takes what a run has found, finished or not, into the corpus that is kept."""
    corpus = folder_of(target, "corpus")
    corpus.mkdir(parents=True, exist_ok=True)
    known = {path.name for path in corpus.iterdir()}
    for path in sorted(engines.of(target).kept_inputs(target)):
        name = digest(path)
        if name not in known:
            known.add(name)
            new = corpus / f".{name}.new"
            shutil.copyfile(path, new)
            new.rename(corpus / name)
    return len(known)


def gather_seeds(target, *folders):
    """A folder with a copy of every input of these, by its contents."""
    seeds = folder_of(target, "seeds")
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.is_file() and not path.name.startswith("."):
                shutil.copyfile(path, seeds / digest(path))
    if not any(seeds.iterdir()):
        raise SystemExit(f"fuzz: {target.name} has no seeds; they belong into {target.corpus.relative_to(ROOT)}")
    return seeds


# --- replays and findings -------------------------------------------------------------------------------------


def inputs_below(path):
    """How many."""
    return sum(below.is_file() for below in path.rglob("*")) if path.is_dir() else 1


def replay(target, *paths, variant="replay"):
    """(output, status) of trying these, under the sanitizers where there are any. One that hangs fails."""
    count = max(1, sum(map(inputs_below, paths)))
    tried = alone.try_alone([target.program(variant), *paths], count * engines.of(target).HANG_SECONDS)
    told = f"\nfuzz: {target.name}: {tried.complaint}\n" if tried.complaint else ""
    return tried.output + told, tried.status


def first_complaint(output):
    lines = [line.strip() for line in output.splitlines()]
    telling = [line for line in lines if "runtime error" in line or "ERROR: " in line]
    telling += [line for line in lines if line.startswith("fuzz: ") and "repeat with" not in line]
    return telling[0] if telling else (lines[-1] if lines else "said nothing")


def reasons_reached(target, folder):
    if not target.reasons:
        return ()
    output, status = replay(target, folder, variant="plain")
    last = output.strip().splitlines()[-1] if output.strip() else ""
    if status != 0 or "reached:" not in last:
        return ()
    words = last.partition("reached:")[2].split()
    return tuple(name for name in REASONS if name in words)


def minimise(target, path, out):
    """The smallest input that fails; the input itself where the fuzzer cannot say, or where the small one passes."""
    done = engines.of(target).minimise(target, path, out, capture_output=True, timeout=120)
    if not done or not out.exists() or replay(target, out)[1] == 0:
        shutil.copyfile(path, out)


def save_finding(target, path, kind, shows=None):
    """Puts a minimised copy among the regressions; returns its place and what it shows, if that is not said."""
    new = folder_of(target, "finding.new")
    try:
        minimise(target, path, new) if kind == "crash" else shutil.copyfile(path, new)
    except subprocess.TimeoutExpired:
        shutil.copyfile(path, new)
    target.regressions.mkdir(parents=True, exist_ok=True)
    saved = target.regressions / f"{kind}-{digest(new)[:12]}"
    new.replace(saved)
    shows = shows or first_complaint(replay(target, saved)[0])
    return {"kind": kind, "file": str(saved.relative_to(ROOT)), "shows": shows}


def collect_findings(result):
    shown = set()
    for path in result.crashes:
        if len(result.findings) == FINDINGS_MOST:
            return
        complaint = first_complaint(replay(result.target, path)[0])
        if complaint not in shown:
            shown.add(complaint)
            result.findings.append(save_finding(result.target, path, "crash"))
    for path, complaint in result.hangs.items():
        if len(result.findings) == FINDINGS_MOST:
            return
        result.findings.append(save_finding(result.target, path, "hang", complaint))


def try_hangs_again(result):
    """Once every fuzzer has ended: as it ran them, with or without sanitizers. A few hangs are enough."""
    target = result.target
    for one in result.instances:
        program = target.program("replay" if one.sanitized else "plain")
        for path in one.files("hangs"):
            if len(result.hangs) == FINDINGS_MOST:
                return
            tried = alone.try_alone([program, path], engines.of(target).HANG_SECONDS)
            if tried.complaint:
                result.hangs[path] = tried.complaint
            elif tried.status != 0:
                result.failing.append(path)
            else:
                result.slow[path] = tried.seconds


def check_known_inputs(result):
    """Every input that is kept must pass before new ones are looked for."""
    target = result.target
    for folder in (target.corpus, target.regressions, folder_of(target, "corpus")):
        if not folder.exists() or not any(folder.iterdir()):
            continue
        output, status = replay(target, folder)
        if status != 0:
            begun = [line.partition(":")[0] for line in output.splitlines() if line.startswith(str(folder))]
            path = Path(begun[-1]) if begun else folder
            result.problems.append(f"{path.relative_to(ROOT)} fails: {first_complaint(output)}")
            result.findings.append(
                {"kind": "crash", "file": str(path.relative_to(ROOT)), "shows": first_complaint(output)}
            )


# --- one target -------------------------------------------------------------------------------------------------


def fuzz(result, seconds):
    target, folder = result.target, folder_of(result.target, "run")
    keep_queue(target)
    shutil.rmtree(folder, ignore_errors=True)
    check_known_inputs(result)
    seeds = gather_seeds(target, target.corpus, target.regressions, folder_of(target, "corpus"))
    result.instances = engines.of(target).instances_of(target, folder)
    progress = Progress(target.name, result.instances, seconds)
    try:
        for one in result.instances:
            one.start(seeds, seconds)
        result.seconds = instance.run(result.instances, seconds, progress)
    finally:
        progress.done()
        for one in result.instances:
            one.ask_to_end()
            one.wait_for_end()
        result.corpus = keep_queue(target)
        kept = folder_of(target, "corpus")
        result.reasons = reasons_reached(target, kept)
        result.stability = engines.of(target).stability(result.instances, kept)
    for one in result.instances:
        if not one.ended_well():
            result.problems.append(f"the fuzzer {one.name} ended with {one.child.returncode}:\n{one.log_end()}")
    try_hangs_again(result)
    collect_findings(result)


def run_controls(result):
    for variant in result.target.controls:
        run_control(result, variant)


def run_control(result, variant, seconds=CONTROL_SECONDS):
    """Fuzzes a copy of the core with a planted bug, from the seeds alone, until it is found. In a
    folder of its own: fuzzers that share one exchange what they find."""
    target, folder = result.target, folder_of(result.target, f"control-{variant}")
    shutil.rmtree(folder, ignore_errors=True)
    seeds = gather_seeds(target, target.corpus)
    one = engines.of(target).planted_instance(target, variant, folder)
    progress = Progress(f"{target.name}, planted bug, CPU time", [one], seconds)
    most = CONTROL_PATIENCE * seconds
    used = 0.0

    def is_over():
        nonlocal used
        used = max(used, one.cpu_seconds())
        return used >= seconds or bool(one.files("crashes"))

    try:
        one.start(seeds, most, until_crash=True)
        took = instance.run([one], most, lambda _: progress(used), until=is_over)
    finally:
        progress.done()
        one.ask_to_end()
        one.wait_for_end()
    result.controls.append(
        {
            "found": bool(one.files("crashes")),
            "seconds": round(took, 1),
            "cpu_seconds": round(used, 1),
            "execs": int(one.stats().get("execs_done", 0)),
            "bug": target.planted_in(variant).why,
        }
    )


def judge(result):
    problems = result.problems
    if result.execs == 0:
        problems.append("nothing was executed")
    if result.crashes:
        problems.append(f"{len(result.crashes)} crashes")
    if result.hangs:
        problems.append(f"{len(result.hangs)} hangs")
    if result.execs and result.stability < 100:
        problems.append(f"stability {result.stability:.2f} %: what an input does depends on more than itself")
    missing = unreached(result)
    if missing:
        problems.append(f"not reached: {' '.join(missing)}")
    for control in result.controls:
        if not control["found"]:
            used = control["cpu_seconds"]
            problems.append(f"its planted bug was not found in {used} s of CPU time: {control['bug']}")
    return problems


def unreached(result):
    return [name for name in result.target.reasons if name not in result.reasons]


# --- tables --------------------------------------------------------------------------------------------------------

HEAD = (
    f"{'target':9} {'seconds':>7} {'executions':>12} {'exec/s':>8} {'ASan':>8} {'edges':>11} {'stability':>9} {'corpus':>6}"
    f" {'crashes':>7} {'hangs':>5}  controls"
)
LEGEND = """
exec/s, ASan:  of one instance without and with the sanitizers (none in Python); each shares a core with what else runs
edges:         of the core's, found and in the program; the program holds all of the core, or the package's modules
controls:      copies of the core with a planted bug each, and how long it took to find it"""


def rate(result, sanitized):
    found = result.rate(sanitized)
    return "-" if found is None else f"{found:,.0f}"


def told(control):
    return f"{'found' if control['found'] else 'NOT FOUND'} in {control['seconds']:.0f} s"


def row(result):
    found, total = result.edges()
    controls = ", ".join(map(told, result.controls)) or "not run"
    return (
        f"{result.target.name:9} {result.seconds:>7.0f} {result.execs:>12,} {rate(result, False):>8}"
        f" {rate(result, True):>8} {f'{found}/{total}':>11} {result.stability:>8.2f}% {result.corpus:>6}"
        f" {len(result.crashes):>7} {len(result.hangs):>5}  {controls}"
    )


def print_table(results):
    say(f"\n{HEAD}")
    for result in results:
        say(row(result))
    say(LEGEND)
    say("")
    for name in REASONS:
        reached = [result.target.name for result in results if name in result.reasons]
        asked = any(name in result.target.reasons for result in results)
        say(f"{name:16} {' '.join(reached) if reached else 'NOT REACHED' if asked else 'not asked of these targets'}")


def summary(results, interrupted):
    reached = {name for result in results for name in result.reasons}
    asked = {name for result in results for name in result.target.reasons}
    return {
        "targets": {
            result.target.name: {
                "execs": result.execs,
                "execs_per_s": result.rate(sanitized=False),
                "execs_per_s_asan": result.rate(sanitized=True),
                "stability": result.stability,
                "edges": result.edges()[0],
                "edges_total": result.edges()[1],
                "corpus": result.corpus,
                "crashes": len(result.crashes),
                "hangs": len(result.hangs),
                "slow": {str(path.relative_to(ROOT)): round(1000 * took) for path, took in result.slow.items()},
                "seconds": round(result.seconds, 1),
                "reasons": list(result.reasons),
                "findings": result.findings,
                "problems": result.problems,
            }
            for result in results
        },
        "reasons_unreached": [name for name in REASONS if name in asked - reached],
        "controls": {result.target.name: result.controls for result in results if result.controls},
        "interrupted": interrupted,
    }


# --- the run -------------------------------------------------------------------------------------------------------


def read_seconds(usual=60):
    text = os.environ.get("FUZZ_SECONDS") or str(usual)
    try:
        seconds = int(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 10_000_000:
        raise SystemExit(f"fuzz: FUZZ_SECONDS is '{text}'; set it to a whole number of seconds")
    return seconds


def read_targets():
    names = os.environ.get("FUZZ_TARGETS", "").replace(",", " ").split() or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise SystemExit(f"fuzz: FUZZ_TARGETS names '{unknown[0]}'; there are: {' '.join(TARGETS)}")
    return [TARGETS[name] for name in dict.fromkeys(names)]


def check_built(targets):
    for target in targets:
        for variant in (*engines.of(target).VARIANTS, *target.controls):
            if not target.program(variant).exists():
                raise SystemExit(f"fuzz: {target.name} is not built for {variant}; build it with: ninja fuzz-binaries")


def repeat_command():
    chosen = [f"{name}='{os.environ[name]}'" for name in ("FUZZ_SECONDS", "FUZZ_TARGETS") if os.environ.get(name)]
    return " ".join([*chosen, "ninja fuzz"])


def tell_slow(result):
    """What a fuzzer took for hangs and what is none, or may be none."""
    name = result.target.name
    for path, took in result.slow.items():
        say(f"{name}: slow under load, replayed in {1000 * took:.0f} ms of CPU time: {path.relative_to(ROOT)}")
    if result.untried:
        first = result.untried[0].relative_to(ROOT)
        say(
            f"{name}: {len(result.untried)} more took too long and were not tried again: fuzz/replay {name} {first} ..."
        )


def conclude(results, interrupted, wanted):
    failed = False
    for result in results:
        for text in judge(result) if not interrupted or result.execs else result.problems:
            # An interrupted run has not had the time to reach everything.
            if interrupted and not (result.crashes or result.hangs):
                continue
            failed = True
            say(f"FAILED {result.target.name}: {text}")
        tell_slow(result)
        for finding in result.findings:
            say(f"finding: {finding['shows']}\n  repeat it with: fuzz/replay {result.target.name} {finding['file']}")
    if interrupted:
        say(
            f"interrupted after {len(results)} of {wanted} targets; what was found is kept in {BUILD.relative_to(ROOT)}"
        )
    if failed or interrupted:
        say(f"to repeat: {repeat_command()}")
    return 1 if failed else 130 if interrupted else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "fuzz.json", metavar="FILE")
    return parser.parse_args()


def main():
    catch_signals()
    options = parse()
    seconds, targets = read_seconds(), read_targets()
    check_built(targets)
    results, interrupted = [], False
    began = time.monotonic()
    try:
        for target in targets:
            results.append(Result(target))
            fuzz(results[-1], seconds)
            run_controls(results[-1])
    except KeyboardInterrupt:
        interrupted = True
    print_table(results)
    status = conclude(results, interrupted, len(targets))
    write_whole(options.json, summary(results, interrupted))
    if status == 0:
        say(
            f"\nfuzz: {sum(result.execs for result in results):,} executions in {time.monotonic() - began:.0f} s, nothing found"
        )
    return status


if __name__ == "__main__":
    sys.exit(main())

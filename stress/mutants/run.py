#!/usr/bin/env python3
"""Puts small faults into copies of the core, one at a time; a harness must notice each.

Run by `ninja mutants`. The faults are those of handwritten.toml, each with the test that must fail of it. First every
such test must pass without a fault. A fault that nothing notices fails the run. The results are in
build/results/mutants.json; the last line of a run that fails is the command that repeats what failed.

Environment:
  MUTANTS=ids         only these, with a comma or a space between them
  MUTANTS=generated   those made by rule (generate.py) instead; of them 95 in 100 must die
  MUTANTS_MOST=n      of those made by rule, at even distances (default 100; 0: all)
  MUTANTS_JOBS=n      at once (default 2)
  MUTANTS_FILE=path   another file than handwritten.toml
"""

import json
import os
import queue
import shlex
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent.parent):
    sys.path.insert(0, str(folder))

import generate  # noqa: E402 - a sibling, wherever this is run from
from console import Failed, in_threads, say  # noqa: E402
from workshop import HARNESS, PASSES, ROOT, SIGNS_OF_DEATH, UNBUILT, Mutant, Workshop  # noqa: E402

from stress.children import Children, catch_signals  # noqa: E402
from stress.results import write_whole  # noqa: E402

DATA = HERE / "handwritten.toml"
RESULT = ROOT / "build" / "results" / "mutants.json"
LEAST_RATE = 0.95
MOST = 100
LINES_OF_OUTPUT = 12


# --- what is asked for -------------------------------------------------------------------------------------


def load(path):
    """The data file: (mutants, faults made by rule that change nothing anyone could see)."""
    try:
        data = tomllib.loads(Path(path).read_text())
        made = [Mutant(**entry) for entry in data["mutant"]]
    except OSError as error:
        raise Failed(f"{path} cannot be read ({error.strerror}); restore it with: git checkout {path}") from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise Failed(f"{path} is not a list of mutants ({error}); mend it") from None
    complaint = next(filter(None, map(complaint_about, made)), None)
    if len({mutant.id for mutant in made}) < len(made):
        complaint = "two mutants have one id; give each its own"
    if complaint:
        raise Failed(f"{path}: {complaint}")
    return made, data.get("equivalent", [])


def complaint_about(mutant):
    """What is wrong with a mutant, or None."""
    path = ROOT / mutant.file
    count = path.read_text().count(mutant.old) if path.is_file() else 0
    if count != 1:
        return f"{mutant.id}: its old text stands {count} times in {mutant.file} instead of once; mend `old`"
    if mutant.new == mutant.old:
        return f"{mutant.id}: its new text is the old one; mend `new`"
    if mutant.sign not in SIGNS_OF_DEATH:
        return f"{mutant.id}: its sign is {mutant.sign}; it must be one of {', '.join(SIGNS_OF_DEATH)}"
    return None


def number_from(name, usual, least):
    text = os.environ.get(name) or str(usual)
    if not text.isdecimal() or int(text) < least:
        raise Failed(f"{name} is {text}; it must be a whole number, {least} or more")
    return int(text)


def explanation(mutant, equivalent):
    """Why nothing can notice the fault, or None."""
    line = generate.line_of((ROOT / mutant.file).read_text(), mutant.at)
    for entry in equivalent:
        same = (mutant.file, line) == (entry["file"], entry["line"])
        if same and entry["change"] in (f"{mutant.old} > {mutant.new}", "any"):
            return entry["reason"]
    return None


def chosen(made):
    """(mutants, whether they are made by rule, whether they are all that there are)"""
    words = os.environ.get("MUTANTS", "").replace(",", " ").split()
    if words == ["generated"]:
        return generate.sample(generate.mutants(), number_from("MUTANTS_MOST", MOST, 0) or sys.maxsize), True, True
    if not words:
        return made, False, True
    known = {mutant.id: mutant for mutant in made}
    by_rule = {mutant.id: mutant for mutant in generate.mutants()}
    found = [known.get(word) or by_rule.get(word) for word in words]
    if None in found:
        raise Failed(f"there is no mutant {words[found.index(None)]}; the ids are in {DATA.relative_to(ROOT)}")
    return found, any(mutant.at is not None for mutant in found), False


# --- the run -----------------------------------------------------------------------------------------------


def prepare(folder, children, jobs):
    """So many workshops, with everything built."""
    first = Workshop(Path(folder) / "0", children)
    first.fill()
    complaints = []
    in_threads(children, [lambda: complaints.append(first.build(HARNESS, "library"))], lambda: "building the copy")
    if complaints != [None]:
        raise Failed(
            f"the core does not build without a fault; see: ninja library\n{''.join(filter(None, complaints))}"
        )
    workshops = [first]
    for number in range(1, jobs):
        workshops.append(Workshop(Path(folder) / str(number), children))
        workshops[-1].fill_from(first)
    return workshops


def check_baseline(workshops, mutants, children):
    """Every killer must pass where there is no fault."""
    killers = sorted({word for mutant in mutants for word in mutant.killer.split()})
    outcomes = []

    def part(number):
        mine = killers[number :: len(workshops)]
        if mine:
            outcomes.append((mine, *workshops[number].pytest(mine, seconds=900)))

    jobs = [lambda number=number: part(number) for number in range(len(workshops))]
    in_threads(children, jobs, lambda: f"baseline: {len(killers)} killers without a fault")
    for mine, status, output in outcomes:
        if status != 0:
            tail = "\n".join(output.strip().splitlines()[-LINES_OF_OUTPUT:])
            raise Failed(f"{tail}\na killer does not pass without a fault; repeat with: pytest {shlex.join(mine)}")
    say(f"baseline: {len(killers)} killers pass without a fault")


def meet_all(workshops, mutants, children):
    """Each mutant's Outcome, by its id."""
    waiting, outcomes = queue.SimpleQueue(), {}
    for mutant in mutants:
        waiting.put(mutant)

    def work(workshop):
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            outcomes[mutant.id] = workshop.meet(mutant)

    def describe():
        alive = sum(outcome.sign == PASSES for outcome in list(outcomes.values()))
        return f"{len(outcomes)} of {len(mutants)} mutants met, {alive} alive"

    try:
        in_threads(children, [lambda w=w: work(w) for w in workshops], describe)
    except KeyboardInterrupt:
        say(f"interrupted: {describe()}")
        raise
    return outcomes


# --- what it came to -------------------------------------------------------------------------------------


def died(mutant, outcome):
    return outcome.sign in SIGNS_OF_DEATH if mutant.at is not None else outcome.sign == mutant.sign


def noticed_by(outcome):
    """The name of the test that failed."""
    for line in reversed(outcome.output.splitlines()):
        if line.startswith("FAILED "):
            return line.removeprefix("FAILED ").partition(" - ")[0]
    return ""


def print_table(mutants, outcomes):
    width = max(len(mutant.id) for mutant in mutants)
    for mutant in mutants:
        outcome = outcomes[mutant.id]
        verdict = "killed" if died(mutant, outcome) else "ALIVE " if outcome.sign == PASSES else "WRONG "
        say(f"  {mutant.id:{width}}  {verdict}  {outcome.sign:7}  {noticed_by(outcome) or mutant.killer}")


def write_result(part):
    """Adds this run's part; what another run wrote stays."""
    try:
        before = json.loads(RESULT.read_text())
    except (OSError, ValueError):
        before = {}
    write_whole(RESULT, {**before, **part})


def repeat_line(survivors):
    return f"to repeat: MUTANTS={shlex.quote(','.join(survivors))} ninja mutants"


def judge_handwritten(mutants, outcomes, whole, seconds):
    survivors = [mutant.id for mutant in mutants if not died(mutant, outcomes[mutant.id])]
    killed = len(mutants) - len(survivors)
    say(f"{killed} of {len(mutants)} hand-written mutants killed in {seconds:.0f} s")
    if whole:
        write_result({"total": len(mutants), "killed": killed, "survivors": survivors, "seconds": round(seconds)})
    return survivors


def judge_generated(mutants, outcomes, equivalent, whole, seconds):
    """Those that do not compile are no mutants; those that are explained count neither way."""
    built = [mutant for mutant in mutants if outcomes[mutant.id].sign != UNBUILT]
    alive = [mutant for mutant in built if not died(mutant, outcomes[mutant.id])]
    explained = {mutant.id: reason for mutant in alive if (reason := explanation(mutant, equivalent))}
    survivors = [mutant.id for mutant in alive if mutant.id not in explained]
    total, killed = len(built), len(built) - len(alive)
    counted = total - len(explained)
    rate = killed / counted if counted else 0
    for name, reason in explained.items():
        say(f"  equivalent: {name}: {reason}")
    for name in survivors:
        say(f"  alive: {name}")
    say(
        f"{killed} of {total} generated mutants killed in {seconds:.0f} s, {len(explained)} explained, "
        f"{len(survivors)} alive, {len(mutants) - total} did not compile: {100 * rate:.1f} % of {counted}"
    )
    part = {
        "total": total,
        "killed": killed,
        "survivors": survivors,
        "equivalent": sorted(explained),
        "rate": round(rate, 4),
        "possible": len(generate.mutants()),
        "seconds": round(seconds),
    }
    if whole:
        write_result({"generated": part})
    return survivors if rate < LEAST_RATE or not whole else []


def run(folder):
    children = Children()
    made, equivalent = load(os.environ.get("MUTANTS_FILE") or DATA)
    mutants, by_rule, whole = chosen(made)
    whole = whole and not os.environ.get("MUTANTS_FILE")
    if not mutants:
        raise Failed("there is no mutant to meet")
    workshops = prepare(folder, children, min(number_from("MUTANTS_JOBS", 2, 1), len(mutants)))
    check_baseline(workshops, mutants, children)
    begun = time.monotonic()
    outcomes = meet_all(workshops, mutants, children)
    seconds = time.monotonic() - begun
    print_table(mutants, outcomes)
    if by_rule:
        return judge_generated(mutants, outcomes, equivalent, whole, seconds), outcomes
    return judge_handwritten(mutants, outcomes, whole, seconds), outcomes


def main():
    catch_signals()
    again = f"MUTANTS={os.environ.get('MUTANTS', '')} ninja mutants".removeprefix("MUTANTS= ")
    try:
        with tempfile.TemporaryDirectory(prefix="spprof-mutants-") as folder:
            survivors, outcomes = run(folder)
    except Failed as failure:
        say(f"mutants: {failure}")
        say(f"to repeat: {again}")
        return 1
    except KeyboardInterrupt:
        say("mutants: interrupted; nothing is left behind")
        say(f"to repeat: {again}")
        return 130
    for name in survivors:
        say(f"\n{name}: {outcomes[name].sign}")
        say("\n".join(outcomes[name].output.strip().splitlines()[-LINES_OF_OUTPUT:]))
    if survivors:
        say(repeat_line(survivors))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

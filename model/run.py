#!/usr/bin/env python3
"""Judges every claim of this folder: memory orders by litmus tests, bounds by proofs, the lifecycle by a model.

usage: model/run.py [--quick]     (ninja model; MODEL=quick ninja model)

Prints one line a row as it is done, and at the end a table: claim, level, verdict, how many of its twins failed as they
must, time. Writes build/results/model.json: rows[] with claim, level, tool, twin, expected, observed, seconds and the
command that repeats it, and skipped[] with the name of each tool that could not be had and what was left out with it.

Exit status: 0 all as stated; 1 a verdict differs; 2 a wrong argument; 3 spin is missing; 4 a tool could not read its
input; 5 nothing was run; 130 interrupted. Where herd7 or CBMC cannot be had, their rows are skipped, and the verdict says so.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from model import rows
from model.lifecycle import check
from model.litmus import judge
from model.proofs import prove
from stress.children import catch_signals
from stress.results import write_whole

INTERRUPTED = 130
RESULTS = rows.ROOT / "build" / "results" / "model.json"


def collect(quick):
    """(jobs, skipped): what can be judged here. The longest first, so that no core waits for another at the end."""
    jobs, skipped = [], []
    for tool, make in (
        ("cbmc", lambda: prove.jobs(rows.tool("cbmc"), quick=quick)),
        ("spin", check.jobs),
        ("herd7", lambda: list(judge.jobs(judge.Herd()))),
    ):
        try:
            jobs += make()
        except rows.Missing as missing:
            if tool == "spin":
                raise
            skipped.append({"tool": tool, "why": str(missing)})
    return jobs, skipped


def groups(judged):
    """{(claim, level): rows}, the claim itself first."""
    found = {}
    for row in judged:
        found.setdefault((row.claim, row.level), []).append(row)
    return {key: sorted(of, key=lambda row: row.twin != "") for key, of in sorted(found.items())}


def print_table(judged):
    print(f"\n{'claim':24} {'level':10} {'verdict':12} {'twins':8} {'time':>8}")
    for (claim, level), of in groups(judged).items():
        twins = [row for row in of if row.twin]
        plain = [row for row in of if not row.twin]
        verdict = plain[0].observed if plain else "-"
        note = "" if all(row.holds for row in of) else "  WRONG"
        count = f"{sum(row.holds for row in twins)}/{len(twins)}"
        print(f"{claim:24} {level:10} {verdict:12} {count:8} {sum(row.seconds for row in of):7.1f}s{note}")


def write_results(judged, skipped, quick):
    write_whole(RESULTS, {"quick": quick, "rows": [row.as_json() for row in judged], "skipped": skipped})


def judge_all(todo):
    """Judges two at a time and prints what is done; what is done when a user interrupts is kept."""
    judged, began, shown = [], time.monotonic(), 0.0
    pool = ThreadPoolExecutor(2)
    try:
        for row in pool.map(lambda job: job(), todo):
            judged.append(row)
            now = time.monotonic() - began
            if not row.holds or row.seconds > 1 or now - shown > 1 or len(judged) == len(todo):
                print(f"[{len(judged)}/{len(todo)}, {now:.0f} s] {row.line()}", flush=True)
                shown = now
    except KeyboardInterrupt:
        print("interrupted: what is done is kept", file=sys.stderr)
        pool.shutdown(wait=False, cancel_futures=True)
        rows.end_children()
        return judged, True
    pool.shutdown()
    return judged, False


def command_of(quick):
    return "model/run.py --quick" if quick else "ninja model"


def incomplete(again):
    print(f"INCOMPLETE: interrupted; to repeat: {again}")
    return INTERRUPTED


def conclude(judged, skipped, interrupted, quick):
    for tool in skipped:
        print(f"skipped: everything of {tool['tool']}: {tool['why']}")
    status = rows.conclude(judged)
    again = command_of(quick)
    if interrupted:
        return incomplete(again)
    note = f", SKIPPED {len(skipped)} of 3 tools: {', '.join(tool['tool'] for tool in skipped)}" if skipped else ""
    print(f"{'PASS' if status == rows.OK else 'FAIL'}{note}")
    if status != rows.OK:
        wrong = [row for row in judged if not row.holds]
        print(f"to repeat: {wrong[0].repeat if wrong else again}")
    return status


def main():
    catch_signals()
    parser = argparse.ArgumentParser(prog="model/run.py", usage="model/run.py [--quick]")
    parser.add_argument("--quick", action="store_true")
    wanted = os.environ.get("MODEL", "")
    quick = parser.parse_args().quick or wanted == "quick"
    if wanted not in ("", "quick", "full"):
        print(f"model/run.py: MODEL is {wanted!r}; it must be quick, full or not set", file=sys.stderr)
        return rows.USAGE
    try:
        todo, skipped = collect(quick)
        judged, interrupted = judge_all(todo)
    except rows.Missing as missing:
        print(f"model/run.py: {missing}", file=sys.stderr)
        return rows.MISSING
    except (judge.Unreadable, prove.Unreadable) as problem:
        print(f"model/run.py: {problem}", file=sys.stderr)
        return rows.UNREADABLE
    except KeyboardInterrupt:
        return incomplete(command_of(quick))
    print_table(judged)
    write_results(judged, skipped, quick)
    return conclude(judged, skipped, interrupted, quick)


if __name__ == "__main__":
    sys.exit(main())

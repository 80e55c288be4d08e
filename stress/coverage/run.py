#!/usr/bin/env python3
"""Counts which lines and branches of the handler's side the tests reach, and says what they do not.

Run by `ninja coverage`. Writes an HTML report of the whole core to build/coverage, and build/results/coverage.json. Fails
where a line of the handler's side is never run, or fewer than 97 in 100 of its branches are taken both ways, but for what
exclusions.toml gives a reason for. An exclusion that excludes nothing fails too. COVERAGE_TESTS=words runs other tests.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent / "mutants", HERE.parent.parent):
    sys.path.insert(0, str(folder))

from console import Failed, in_threads, say  # noqa: E402 - a sibling's, wherever this is run from
from workshop import HARNESS, ROOT, Workshop  # noqa: E402

from stress.children import Children, catch_signals  # noqa: E402
from stress.results import write_whole  # noqa: E402

REPORT = ROOT / "build" / "coverage"
RESULT = ROOT / "build" / "results" / "coverage.json"
FILES = ("load", "walk", "observe", "ring", "counters", "handler", "signals", "reasons")
TESTS = (
    "tests/test_walk.py tests/test_observe.py tests/test_load.py tests/test_ring.py tests/test_counters.py "
    "tests/test_handler_side.py tests/test_model_session.py tests/test_model_walker.py::test_walk_ends_after_65536_frames"
)
# What is counted calls the counting's own functions, so this cannot hold.
NOT_RUN = "tests/test_handler_side.py::test_objects_call_nothing_else"
# Counters live in the file itself: a process that a signal ends has counted too.
FLAGS = "-O0 -w -fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation"
LEAST_BRANCHES = 0.97


@dataclass
class File:
    lines: dict = field(default_factory=dict)  # how often each was run, by its number
    branches: list = field(default_factory=list)  # (line, taken) of each way out of a condition


def parsed(lcov, folder):
    """Each file's counts, by its name in the tree, from llvm-cov's lcov format."""
    found, present = {}, None
    for row in lcov.splitlines():
        kind, _, rest = row.partition(":")
        if kind == "SF":
            present = found.setdefault(str(Path(rest).resolve().relative_to(folder)), File())
        elif kind == "DA":
            number, count = rest.split(",")[:2]
            present.lines[int(number)] = int(count)
        elif kind == "BRDA":
            number, _, _, taken = rest.split(",")
            present.branches.append((int(number), taken not in ("-", "0")))
    return found


def exclusions():
    entries = tomllib.loads((HERE / "exclusions.toml").read_text()).get("exclusion", [])
    for entry in entries:
        if len(entry.get("reason", "").split()) < 4:
            raise Failed(f"exclusions.toml: {entry.get('file')}: {entry.get('line')}: give a reason")
    return entries


def judge(name, counts, excluded, used):
    """(lines, lines missed, branches, branches missed) with what is excluded taken out."""
    text = (ROOT / name).read_text().splitlines()
    spared = set()
    for number, line in enumerate(text, 1):
        for index, entry in enumerate(excluded):
            if (entry["file"], entry["line"]) == (name, line.strip()):
                missed = counts.lines.get(number) == 0 or (number, False) in counts.branches
                used[index] += missed
                spared.add(number)
    lines = {number: count for number, count in counts.lines.items() if number not in spared}
    branches = [(number, taken) for number, taken in counts.branches if number not in spared]
    missed_branches = Counter(number for number, taken in branches if not taken)
    return lines, sorted(n for n, count in lines.items() if count == 0), branches, missed_branches


def report(found):
    """Prints the table; the complaints."""
    excluded, used, complaints, rows = exclusions(), Counter(), [], {}
    say(f"  {'file':18} {'lines':>11} {'branches':>11}   not reached (line numbers)")
    all_branches = all_missed = 0
    for stem in FILES:
        name = f"core/{stem}.c"
        if name not in found or not found[name].lines:
            raise Failed(f"nothing was counted in {name}: no test ran it")
        lines, missed, branches, missed_branches = judge(name, found[name], excluded, used)
        gone = sum(missed_branches.values())
        all_branches, all_missed = all_branches + len(branches), all_missed + gone
        where = [f"{n}" for n in missed] + [f"{n}({k} of its ways)" for n, k in sorted(missed_branches.items())]
        counted = f"{len(lines) - len(missed)}/{len(lines)}"
        say(f"  {name:18} {counted:>11} {f'{len(branches) - gone}/{len(branches)}':>11}   {', '.join(where)}")
        rows[name] = {"lines": len(lines), "lines_missed": missed, "branches": len(branches), "branches_missed": gone}
        if missed:
            complaints.append(f"{name}: {len(missed)} lines are never run")
    rate = 1 - all_missed / max(all_branches, 1)
    say(f"  branches: {all_branches - all_missed} of {all_branches} ({100 * rate:.2f} %), {len(excluded)} exclusions")
    if rate < LEAST_BRANCHES:
        complaints.append(f"only {100 * rate:.2f} % of the branches are taken; it must be {100 * LEAST_BRANCHES:.0f} %")
    for index, entry in enumerate(excluded):
        if not used[index]:
            complaints.append(f"exclusions.toml: {entry['file']}: `{entry['line']}` excludes nothing; take it out")
    write_whole(
        RESULT, {"files": rows, "branch_rate": round(rate, 4), "exclusions": len(excluded), "ok": not complaints}
    )
    return complaints


def tool(*command, **options):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    except FileNotFoundError:
        raise Failed(f"there is no {command[0]}; provide it with: ci/setup") from None
    if done.returncode != 0:
        raise Failed(f"{done.stderr}{command[0]} failed")
    return done.stdout


def count(folder):
    """Runs the tests in a copy; what llvm-cov says of them, in lcov format."""
    children = Children()
    shop = Workshop(folder / "tree", children, FLAGS, "clang")
    shop.fill()
    raw = folder / "raw"
    raw.mkdir()
    # The build runs nothing that counts; the tests and their children do.
    shop.environment["LLVM_PROFILE_FILE"] = f"{raw}/%p-%m%c.profraw"
    tests = shlex.split(os.environ.get("COVERAGE_TESTS") or TESTS)
    done = []

    def work():
        complaint = shop.build(HARNESS, "library")
        if complaint:
            raise Failed(f"{complaint}\nthe core does not build with clang; provide it with: ci/setup")
        done.append(shop.pytest(["--deselect", NOT_RUN, *tests], seconds=1800))

    in_threads(children, [work], lambda: "coverage: the tests are running")
    status, output = done[0]
    if status != 0:
        tail = "\n".join(output.strip().splitlines()[-15:])
        raise Failed(f"{tail}\na test fails where coverage is counted")
    say(output.strip().splitlines()[-1])
    merged, library = folder / "merged", shop.folder / HARNESS
    tool("llvm-profdata", "merge", "-sparse", "-o", merged, *sorted(raw.glob("*.profraw")))
    lcov = tool("llvm-cov", "export", "-format=lcov", f"-instr-profile={merged}", library)
    shutil.rmtree(folder / "html", ignore_errors=True)
    tool(
        "llvm-cov", "show", "-format=html", "-show-branches=count", f"-output-dir={folder / 'html'}",
        f"-instr-profile={merged}", f"-path-equivalence={shop.folder},{ROOT}", library,
    )  # fmt: skip
    return parsed(lcov, shop.folder.resolve())


def main():
    catch_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="spprof-coverage-") as folder:
            found = count(Path(folder))
            shutil.rmtree(REPORT, ignore_errors=True)
            REPORT.parent.mkdir(exist_ok=True)
            shutil.move(Path(folder) / "html", REPORT)
        complaints = report(found)
    except Failed as failure:
        complaints = [str(failure)]
    except KeyboardInterrupt:
        complaints = ["interrupted; the report is as it was"]
    else:
        say(f"the report: {(REPORT / 'index.html').relative_to(ROOT)}")
    for complaint in complaints:
        say(f"coverage: {complaint}")
    if complaints:
        say("to repeat: ninja coverage")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

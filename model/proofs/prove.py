#!/usr/bin/env python3
"""Proves claims of the core's own source with CBMC, within bounds, and refutes variants of it that are broken on purpose.

usage: model/proofs/prove.py [--quick] [NAME...]

NAME is a claim, a claim with +reach (its goals must be within reach, or the proof says nothing), or a claim with
+VARIANT. Without one, all are run; --quick leaves out what takes longest.

Exit status: 0 all as stated; 1 a verdict differs; 2 a wrong argument; 3 CBMC is missing; 4 CBMC could not read the source,
or a variant's text is not in it; 5 nothing was run.
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from model import rows
from model.rows import Row

HERE = Path(__file__).resolve().parent

CONDITIONS = re.findall(r"X\((\w+),", (HERE / "layout_sound.h").read_text().split("#define LAYOUT_CONDITIONS")[1])
HEXVERSIONS = {"3.13": "0x030d0ff0", "3.14": "0x030e07f0", "3.15": "0x030f00c2"}
SECONDS = 480


@dataclass(frozen=True)
class Proof:
    """One claim: a file of this folder and how it is compiled."""

    claim: str
    file: str
    goals: int  # places that must be within reach
    options: tuple[str, ...]
    quick: bool = True
    conditions: tuple[str, ...] = ()  # where it is proved one condition at a time


@dataclass(frozen=True)
class Variant:
    """A change to the core's text that the claim must not survive."""

    name: str
    claim: str
    source: str
    text: str
    broken: str
    quick: bool = True


def walk(version, *options):
    return (*options, f"-DVERSION={version}", "-DWALK_STEPS=2", "--unwind", "4")


def layouts():
    for name, number in HEXVERSIONS.items():
        options = (f"-DHEXVERSION={number}", "--unwind", "130", "--no-standard-checks", "--unwinding-assertions")
        yield Proof(f"layout_{name}", "layout_proof.c", 3, options, False, tuple(CONDITIONS))
    yield Proof("layout_other", "layout_proof.c", 1, ("--unwind", "130", "--no-standard-checks"))


PROOFS = (
    Proof("walk_3.13", "walk_proof.c", 6, walk("0x030d")),
    Proof("walk_3.14", "walk_proof.c", 6, walk("0x030e"), False),
    Proof("walk_3.15", "walk_proof.c", 6, walk("0x030f"), False),
    Proof("walk_whole_3.13", "walk_proof.c", 4, walk("0x030d", "-DWHOLE"), False),
    Proof("walk_whole_3.14", "walk_proof.c", 4, walk("0x030e", "-DWHOLE"), False),
    Proof("walk_whole_3.15", "walk_proof.c", 4, walk("0x030f", "-DWHOLE"), False),
    Proof("walk_confirm", "walk_proof.c", 3, walk("0x030e", "-DCONFIRM", "-DLOOKS=3"), False),
    Proof("ring_push", "ring_proof.c", 3, ("-DPUSH", "--unwind", "6")),
    Proof("ring_pop", "ring_proof.c", 4, ("--unwind", "6")),
    Proof("counters_law", "counters_proof.c", 2, ("-DSEQUENCE", "-DSNAPSHOT_TRIES=2", "--unwind", "19"), False),
    Proof("counters_beside", "counters_proof.c", 4, ("-DSNAPSHOT_TRIES=1", "--unwind", "19", "--no-standard-checks")),
    *layouts(),
)  # fmt: skip

VARIANTS = (
    Variant("endless_frames", "walk_3.13", "core/walk.c", "++cursor->unnoted_frames < WALK_STEPS", "true", False),
    Variant("endless_chunks", "walk_3.13", "core/walk.c", "cursor->chunks_visited++ == WALK_STEPS", "false", False),
    Variant("no_room", "walk_3.13", "core/walk.c", "cursor->shown == cursor->shown_end", "false"),
    Variant("unguarded", "walk_3.13", "core/walk.c",
            "!load_byte(reader, frame + walk->layout->frame.owner, &owner)",
            "(owner = *(unsigned char *)(frame + walk->layout->frame.owner), false)", False),
    Variant("unchecked_state", "walk_3.13", "core/walk.c",
            "check_address(walk->thread_state, layout->thread.size)", "SPPROF_CAPTURED", False),
    Variant("torn_verdict", "walk_3.13", "core/walk.c", "return SPPROF_CYCLE;", "return SPPROF_TORN;", False),
    Variant("any_end", "walk_whole_3.13", "core/walk.c",
            "return entry ? SPPROF_CAPTURED : SPPROF_INCOMPLETE;", "return SPPROF_CAPTURED;", False),
    Variant("shortened", "walk_whole_3.13", "core/walk.c",
            "reason = frame == 0 ? SPPROF_INCOMPLETE", "return frame == 0 ? SPPROF_INCOMPLETE", False),
    Variant("silent_cut", "walk_whole_3.13", "core/walk.c",
            "walk->flags |= SPPROF_SAMPLE_TRUNCATED;", ";", False),
    Variant("hidden_top", "walk_confirm", "core/walk.c",
            "if (walk->depth > 0 && !walk->top_hidden)", "if (walk->looks_count > 0)", False),
    Variant("no_reserve", "ring_push", "core/ring.c", "room < (uint64_t)count + 1", "room < count"),
    Variant("written_first", "ring_push", "core/ring.c", "    if (room < (uint64_t)count + 1)",
            "    *word_at(ring, head) = count;\n    if (room < (uint64_t)count + 1)"),
    Variant("length_kept", "ring_pop", "core/ring.c", "tail + 1 + count)", "tail + count)"),
    Variant("past_the_room", "ring_pop", "core/ring.c", "count < room ? (uint32_t)count : room", "(uint32_t)count"),
    Variant("outcome_lost", "counters_law", "core/counters.c",
            "stats->by_reason[i] += reading.outcome[i]", "stats->by_reason[i] = 0", False),
    Variant("in_progress_counted", "counters_beside", "core/counters.c",
            "stats->ticks += reading.sum", "stats->ticks += reading.ticks"),
    Variant("offset_unchecked", "layout_3.13", "core/layout.c", "size - offset < width", "false", False),
    Variant("any_version", "layout_other", "core/layout.c", "(hexversion >> 4 & 0xf) < 0xc", "false"),
)  # fmt: skip

# What a variant of the layout is refuted of: the rest holds still.
WITNESS = {"offset_unchecked": ("frame_owner",)}


class Unreadable(Exception):
    """A variant that does not fit the source any more."""


def varied(variant):
    """A folder with the broken source, to be found before the core's own."""
    text = (rows.ROOT / variant.source).read_text()
    if variant.text not in text:
        raise Unreadable(f"{variant.name}: {variant.source} has no text {variant.text!r}; mend model/proofs/prove.py")
    folder = rows.WORK / "variants" / variant.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(variant.source).name).write_text(text.replace(variant.text, variant.broken))
    return folder


def command_of(cbmc, proof, *more, folder=None):
    includes = [f"-I{path}" for path in ([folder] if folder else []) + [rows.ROOT / "core", HERE]]
    includes.append(f"-I{rows.ROOT / 'core' / 'include'}")
    return [cbmc, HERE / proof.file, *includes, "--object-bits", "10", "--verbosity", "6", *proof.options, *more]


def runs_of(proof, conditions):
    """The options of each run that the proof takes."""
    return [(f"-DCONDITION=CONDITION_{name}",) for name in conditions] or [()]


def verdict(status):
    return {0: "proved", 10: "refuted", None: "no verdict in time"}.get(status, "unreadable")


def judge(cbmc, proof, variant=None):
    """The claim itself, or a variant of the source that must refute it."""
    name = f"{proof.claim}+{variant.name}" if variant else proof.claim
    row = Row(proof.claim, "proof", "cbmc", "refuted" if variant else "proved", "proved", variant.name if variant else "",
              repeat=f"model/proofs/prove.py {name}")  # fmt: skip
    folder = varied(variant) if variant else None
    conditions = WITNESS.get(variant.name, proof.conditions) if variant else proof.conditions
    for options in runs_of(proof, conditions):
        more = (*options, *(("--stop-on-fail",) if variant else ()))
        status, output, seconds = rows.run(command_of(cbmc, proof, *more, folder=folder), SECONDS)
        row.seconds += seconds
        row.detail = output
        row.observed = verdict(status)
        row.unreadable = row.observed == "unreadable"
        if row.observed != "proved":
            break
    return row


def judge_reach(cbmc, proof):
    """Whether the goals of a proof can be reached."""
    options = tuple(word for word in proof.options if word != "--unwinding-assertions")
    more = (*runs_of(proof, proof.conditions[:1])[0], "--cover", "cover", "-DCOVER", "--no-standard-checks")
    plain = Proof(proof.claim, proof.file, proof.goals, options)
    _, output, seconds = rows.run(command_of(cbmc, plain, *more), SECONDS)
    found = re.search(r"(\d+) of (\d+) covered", output)
    observed = f"{found[1]} of {found[2]} goals" if found else "unreadable"
    return Row(proof.claim, "proof", "cbmc", f"{proof.goals} of {proof.goals} goals", observed, "reach", seconds,
               f"model/proofs/prove.py {proof.claim}+reach", found is None, detail=output)  # fmt: skip


def jobs(cbmc, names=(), quick=False):
    """A function for each row that is to be judged."""
    proofs = {proof.claim: proof for proof in PROOFS}
    known = {}
    for proof in PROOFS:
        known[proof.claim] = (proof.quick, lambda proof=proof: judge(cbmc, proof))
        known[f"{proof.claim}+reach"] = (proof.quick, lambda proof=proof: judge_reach(cbmc, proof))
    for variant in VARIANTS:
        known[f"{variant.claim}+{variant.name}"] = (
            variant.quick, lambda variant=variant: judge(cbmc, proofs[variant.claim], variant)
        )  # fmt: skip
    for name in names:
        if name not in known:
            raise ValueError(f"there is no proof {name}; the names are: {' '.join(known)}")
    wanted = names or [name for name, (soon, _) in known.items() if soon or not quick]
    return [known[name][1] for name in wanted]


def main():
    parser = argparse.ArgumentParser(prog="model/proofs/prove.py", usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    try:
        todo = jobs(rows.tool("cbmc"), options.names, options.quick)
        with ThreadPoolExecutor(2) as pool:
            judged = []
            for row in pool.map(lambda job: job(), todo):
                print(row.line(), flush=True)
                judged.append(row)
    except rows.Missing as missing:
        print(f"model/proofs/prove.py: {missing}", file=sys.stderr)
        return rows.MISSING
    except ValueError as problem:
        print(f"model/proofs/prove.py: {problem}", file=sys.stderr)
        return rows.USAGE
    except Unreadable as problem:
        print(f"model/proofs/prove.py: {problem}", file=sys.stderr)
        return rows.UNREADABLE
    return rows.conclude(judged)


if __name__ == "__main__":
    sys.exit(main())

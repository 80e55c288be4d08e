"""What there is to fuzz: each target's sources, and the bugs that are planted in its control builds."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
BUILD = ROOT / "build" / "fuzz"
RESULTS = ROOT / "build" / "results"

REASONS = (
    "captured", "bounds", "alignment", "type", "owner", "progress", "cycle", "fault", "code_range", "torn",
    "incomplete", "detached", "no_thread_state", "ring_full", "busy", "throttled", "stack_unknown", "no_memory",
)  # fmt: skip

SUFFIXES = {"c": "c", "python": "py"}


@dataclass(frozen=True)
class Planted:
    """One fault, put into a copy of a source of the core: `old` stands there once."""

    file: str
    old: str
    new: str
    why: str

    def text(self):
        """The source with the fault."""
        sound = (ROOT / self.file).read_text()
        if sound.count(self.old) != 1:
            raise SystemExit(
                f"fuzz/build.py: {self.file} has the text that the planted bug '{self.why}' replaces "
                f"{sound.count(self.old)} times instead of once; mend `planted` in fuzz/targets.py"
            )
        return sound.replace(self.old, self.new)


@dataclass(frozen=True)
class Target:
    name: str
    planted: Planted
    reasons: tuple  # outcomes that fuzzing it must reach
    harness: tuple = ()  # sources in fuzz/ beside targets/NAME.c and driver.c: no fuzzer watches their branches
    core_flags: tuple = ()  # for the core's sources
    also_planted: tuple = ()  # further bugs, each in a control build of its own
    # (source of the core, file in fuzz/ that includes it and is compiled in its place)
    stand_ins: tuple = ()
    mutator: str | None = None  # source of its AFL++ custom mutator
    dictionary: str | None = None
    language: str = "c"  # what the target is written in, which decides what builds and runs it: engines.py

    def program(self, variant):
        return BUILD / self.name / variant

    @property
    def controls(self):
        """Its bugs, by the variants that have them."""
        further = {f"planted-{number}": bug for number, bug in enumerate(self.also_planted, 2)}
        return {"planted": self.planted, **further}

    def planted_in(self, variant):
        """The bug of a control build, or of the same for replays; None: it is the sound one."""
        return self.controls.get(variant.removesuffix("-replay"))

    @property
    def source(self):
        return FUZZ / "targets" / f"{self.name}.{SUFFIXES[self.language]}"

    @property
    def corpus(self):
        return FUZZ / "corpus" / self.name

    @property
    def regressions(self):
        return FUZZ / "regressions" / self.name


FAULTS = ROOT / "stress" / "faults"


def renames():
    """The core's calls that can fail, and those that the made-up kernel stands behind, go to stress/faults/shim.c."""
    calls = re.findall(r"^FAULT\((\w+),", (FAULTS / "calls.def").read_text(), re.MULTILINE)
    watched = ("syscall", "free", "pthread_join", "pthread_cond_timedwait", "pthread_cond_signal")
    return tuple(f"-D{call}=fault_{call}" for call in (*calls, *watched))


TARGETS = {
    target.name: target
    for target in (
        Target(
            "walk",
            Planted(
                "core/walk.c",
                "if (frame + walk->layout->frame.size > cursor->frame_high)",
                "if (frame + walk->layout->frame.size > cursor->frame_high + 8)",
                "frames on the data stack may overlap by a word",
            ),
            reasons=(*REASONS[: REASONS.index("ring_full")], "stack_unknown"),
            harness=("fields.c", "image.c", "oracle.c"),
            mutator="mutator.c",
            dictionary="walk.dict",
        ),
        Target(
            "layout",
            Planted(
                "core/layout.c",
                "offset % width != 0 || offset > size",
                "offset > size",
                "a field may be misaligned",
            ),
            reasons=(),
            harness=("fields.c",),
            dictionary="layout.dict",
        ),
        Target(
            "ring",
            Planted(
                "core/ring.c",
                "    *word_at(ring, head) = count;\n"
                "    for (uint32_t i = 0; i < count; i++)\n"
                "        *word_at(ring, head + 1 + i) = record[i];\n"
                "    atomic_write(ring_publish, &ring->head, head + 1 + count);\n",
                "    atomic_write(ring_publish, &ring->head, head + 1 + count);\n"
                "    *word_at(ring, head) = count;\n"
                "    for (uint32_t i = 0; i < count; i++)\n"
                "        *word_at(ring, head + 1 + i) = record[i];\n",
                "a record is announced before it is written",
            ),
            reasons=("captured", "no_thread_state", "ring_full", "busy"),
            core_flags=("-include", "fuzz/interleave.h", "-DSNAPSHOT_TRIES=3"),
        ),
        Target(
            "session",
            Planted(
                "core/ordinary/threads.c",
                "        if (tenant->timer != NO_TIMER) /* else no signal has the lease: it is the next tenant's */\n"
                "            close_slot(tenant, SPPROF_DETACHED);\n",
                "",
                "a timer that cannot be set running is not deleted",
            ),
            reasons=("captured", "bounds", "fault", *REASONS[REASONS.index("detached") : REASONS.index("no_memory")]),
            harness=(
                "session_kernel.c",
                "session_owners.c",
                *(f"../stress/faults/{name}.c" for name in ("faults", "shim", "interpreter")),
            ),
            core_flags=renames(),
            also_planted=(
                Planted(
                    "core/signals.c",
                    "int place = place_of_action(&present), meant = meant_place(signal, place);",
                    "int place = place_of_action(&present), meant = place;",
                    "a signal is given back to an owner whose place has come to stand for an older one",
                ),
            ),
            stand_ins=(
                ("core/signals.c", "session_signals.c"),
                ("core/held.c", "session_held.c"),
                ("core/ordinary/session.c", "session_dice.c"),
            ),
        ),
        Target(
            "location",
            Planted(
                "core/ordinary/location.c",
                "line < 1 || line > INT32_MAX ? 0",
                "line < 1 ? 0",
                "a line past 2^31 - 1 wraps",
            ),
            reasons=(),
        ),
        Target(
            "output",
            Planted(
                "core/python/spprof/formats/escapes.py",
                'if code < 0x10000 else f"',
                'if code < 0x100000 else f"',
                "an unprintable character past U+FFFF is escaped with a digit too many for its prefix",
            ),
            reasons=(),
            language="python",
        ),
    )
}


def folder_of(target, what):
    return BUILD / target.name / what


# The folder with the Python package.
PACKAGES = ROOT / "core" / "python"


def core_sources():
    """All of the core but what the Python package and the example add."""
    return sorted([*(ROOT / "core").glob("*.c"), *(ROOT / "core" / "ordinary").glob("*.c")])

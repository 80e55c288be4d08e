"""Runs afl-fuzz on the targets in C: one instance or several on one target, and what they left behind."""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass

from instance import Instance
from targets import FUZZ, folder_of

# The programs that a run needs (fuzz/build.py) beside those with a planted bug.
VARIANTS = ("afl", "afl-asan", "replay", "plain")
HANG_SECONDS = 2

ENVIRONMENT = {
    "AFL_NO_UI": "1",
    "AFL_KILL_SIGNAL": str(int(signal.SIGTERM)),  # as fuzz/driver.c asks
    "AFL_NO_COLOR": "1",
    "AFL_QUIET": "1",
    "AFL_NO_AFFINITY": "1",
    "AFL_SKIP_CPUFREQ": "1",
    "AFL_SKIP_CRASHES": "1",  # of seeds: those are told apart by replaying them first
    "AFL_NO_CRASH_README": "1",
    "AFL_IMPORT_FIRST": "1",
    "AFL_ALLOW_TMP": "1",  # afl-cmin refuses to work below /tmp, where a checkout may well be
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
}


def environment(target, **more):
    left = {name: value for name, value in os.environ.items() if not name.startswith(("AFL_", "ASAN_", "UBSAN_"))}
    if target.mutator:
        more["AFL_CUSTOM_MUTATOR_LIBRARY"] = str(target.program("mutator.so"))
    return {**left, **ENVIRONMENT, **more}


@dataclass
class AflInstance(Instance):
    role: str = "-M"  # or "-S"
    core: int = 0  # of those that there are

    @property
    def sanitized(self):
        return self.variant == "afl-asan"

    @property
    def output(self):
        return self.folder / self.name

    def environment(self, until_crash):
        return environment(self.target, **({"AFL_BENCH_UNTIL_CRASH": "1"} if until_crash else {}))

    def command(self, seeds, seconds):
        extras = ["-x", str(FUZZ / self.target.dictionary)] if self.target.dictionary else []
        # The fuzzer and its program wait for each other at each execution, so they share a core.
        cores = sorted(os.sched_getaffinity(0))
        return [
            "taskset", "-c", str(cores[self.core % len(cores)]), "afl-fuzz", "-i", seeds, "-o", self.folder, self.role, self.name, "-t", f"{1000 * HANG_SECONDS}",
            "-V", f"{seconds:.0f}", *extras, "--", self.target.program(self.variant),
        ]  # fmt: skip

    def stats(self):
        path = self.output / "fuzzer_stats"
        lines = path.read_text().splitlines() if path.exists() else []
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def files(self, kind):
        """Files of `kind`: queue, crashes or hangs."""
        folder = self.output / kind
        return sorted(path for path in folder.glob("id*") if path.is_file()) if folder.exists() else []


def instances_of(target, folder):
    """A plain main instance, one with the sanitizers, and plain ones for every further core."""
    cores = len(os.sched_getaffinity(0))
    extra = [AflInstance(target, "afl", folder, f"plain{number}", role="-S", core=number) for number in range(2, cores)]
    return [
        AflInstance(target, "afl", folder, "main"),
        AflInstance(target, "afl-asan", folder, "sanitized", role="-S", core=1),
        *extra,
    ]


def planted_instance(target, variant, folder):
    """A secondary one: a main one goes through every bit of a seed before it comes to the next."""
    return AflInstance(target, variant, folder, variant, role="-S")


def kept_inputs(target):
    """What the last run has found, finished or not."""
    return folder_of(target, "run").glob("*/queue/id*")


def stability(instances, corpus):
    """In percent; afl-fuzz has measured it while it ran."""
    found = [instance.stats().get("stability", "") for instance in instances]
    return min((float(text.rstrip("%")) for text in found if text), default=0.0)


# --- smaller inputs ------------------------------------------------------------------------------------------


def run_tool(target, *command, **options):
    try:
        done = subprocess.run(
            [str(part) for part in command],
            env=environment(target, AFL_TMIN_EXACT="0"),
            stdin=subprocess.DEVNULL,
            **options,
        )
    except FileNotFoundError:
        raise SystemExit(f"fuzz: there is no {command[0]}; provide it with: ci/setup") from None
    return done.returncode == 0


def minimise(target, path, out, **options):
    """The smallest input that fails alike, into `out`. False where afl-tmin cannot say."""
    time_limit = ("-t", f"{1000 * HANG_SECONDS}")
    return run_tool(target, "afl-tmin", *time_limit, "-i", path, "-o", out, "--", target.program("afl-asan"), **options)


def minimise_corpus(target, corpus, out):
    """The inputs that the corpus' coverage takes, into the folder `out`. False where afl-cmin cannot say."""
    shutil.rmtree(out, ignore_errors=True)
    time_limit = ("-t", f"{1000 * HANG_SECONDS}")
    return run_tool(target, "afl-cmin", *time_limit, "-i", corpus, "-o", out, "--", target.program("afl"))

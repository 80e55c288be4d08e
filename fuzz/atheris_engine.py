"""Runs Atheris (libFuzzer, for Python) on the targets in Python. Has the names that afl.py has.

An instance ends at its first finding; the others go on. All of one run share a queue.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

from instance import Instance
from targets import folder_of

VARIANTS = ("fuzz", "replay", "plain")
HANG_SECONDS = 30  # a name of a megabyte takes a second in every form together, and more where others work too
MINIMISE_SECONDS = 20

# What libFuzzer calls its findings.
FINDINGS = {"crashes": ("crash-*", "oom-*"), "hangs": ("timeout-*",)}


@dataclass
class AtherisInstance(Instance):
    began: float = 0

    end_signal = signal.SIGUSR1  # at SIGINT libFuzzer does not say what it has done

    @property
    def queue(self):
        return self.folder / "queue"

    @property
    def output(self):
        return self.folder / self.name

    def command(self, seeds, seconds):
        self.queue.mkdir(exist_ok=True)
        self.output.mkdir(exist_ok=True)
        self.began = time.time()
        return [
            self.target.program(self.variant), self.queue, seeds, f"-max_total_time={seconds:.0f}",
            f"-timeout={HANG_SECONDS}", "-print_final_stats=1", f"-artifact_prefix={self.output}/", "-max_len=4096",
            "-reload=5", "-entropic_scale_per_exec_time=1",
        ]  # fmt: skip

    def ended_well(self):
        """One that has found something, or was asked to end before it had begun, has no other status."""
        asked_early = self.child is not None and self.child.returncode == -self.end_signal
        return super().ended_well() or asked_early or bool(self.files("crashes") or self.files("hangs"))

    def stats(self):
        if not self.log.exists():
            return {}
        text = self.log.read_text(errors="replace")
        counted = last_number(r"^stat::number_of_executed_units: (\d+)", text) or last_number(r"^#(\d+)\t", text)
        took = max(self.log.stat().st_mtime - self.began, 0.1)
        return {
            "execs_done": counted,
            "execs_per_sec": counted / took,
            "edges_found": last_number(r"^#\d+\t.* cov: (\d+)", text),
            "total_edges": last_number(r"^fuzz: \w+: (\d+) edges", text),
        }

    def files(self, kind):
        """Files of `kind`: queue, crashes or hangs."""
        if kind == "queue":
            return sorted(self.queue.glob("*"))
        return sorted(path for pattern in FINDINGS[kind] for path in self.output.glob(pattern))


def last_number(pattern, text):
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def instances_of(target, folder):
    """One for each core."""
    cores = len(os.sched_getaffinity(0))
    return [
        AtherisInstance(target, "fuzz", folder, "main" if number == 1 else f"more{number}")
        for number in range(1, cores + 1)
    ]


def planted_instance(target, variant, folder):
    return AtherisInstance(target, variant, folder, variant)


def kept_inputs(target):
    """What the last run has found, finished or not."""
    return folder_of(target, "run").glob("queue/*")


def stability(instances, corpus):
    """In percent: how many of the inputs do the same when they are tried again."""
    target = instances[0].target
    folders = [folder for folder in (corpus, target.corpus) if folder.exists() and any(folder.iterdir())]
    command = [target.program("replay"), "--stability", *folders]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found = re.search(r"(\d+\.\d+) % do the same again$", done.stdout.strip())
    return float(found[1]) if done.returncode == 0 and found else 0.0


# --- smaller inputs ------------------------------------------------------------------------------------------


def run_tool(target, *arguments, timeout=600, **options):
    command = [target.program("fuzz"), *arguments]
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, timeout=timeout, **options)
    return done.returncode == 0


def minimise(target, path, out, **options):
    """The smallest input that fails, into `out`. False where libFuzzer finds none that is smaller."""
    out.unlink(missing_ok=True)
    limits = (f"-max_total_time={MINIMISE_SECONDS}", f"-timeout={HANG_SECONDS}", "-max_len=4096")
    run_tool(target, "-minimize_crash=1", *limits, f"-exact_artifact_path={out}", path, **options)
    return out.exists()


def minimise_corpus(target, corpus, out):
    """The inputs that the corpus' coverage takes, into the folder `out`. False where libFuzzer cannot say."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return run_tool(target, "-merge=1", "-max_len=4096", out, corpus)

"""How much of the machine a run uses: how many programs at once, and for how long each."""

import contextlib
import os
import resource
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from stress.children import Stopped, undisturbed

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
# What a program that is judged may come to hold, bytes: a crowd of a thousand threads has 200 MiB.
MEMORY_EACH = 400 << 20
# What a run has open for each program that it watches (output, errors, findings), and for itself.
FILES_EACH = 8
FILES_KEPT = 64
# How long the main thread sleeps before it looks whether an interrupt came, seconds: one that comes
# as it falls asleep, or to another thread, does not wake it.
LISTEN_SECONDS = 1


def processors():
    """How many a run counts on: those that it may use, or as many as STRESS_PROCESSORS says."""
    text = os.environ.get("STRESS_PROCESSORS")
    if not text:
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 4096):
        wanted = "set it to a number from 1 to 4096, or unset it"
        raise SystemExit(f"STRESS_PROCESSORS is '{text}'; {wanted}")
    return int(text)


def chosen():
    """What the line that repeats a run has to say of its processors."""
    text = os.environ.get("STRESS_PROCESSORS")
    return [f"STRESS_PROCESSORS={text}"] if text else []


def free_memory():
    """Bytes that the machine has to give, and no more than the process's control group may have."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) << 10
    try:
        most, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return free
    return free if most == "max" else min(free, int(most) - int(used))


def free_files():
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - FILES_KEPT


def at_once(processors_each=1, least=1):
    """How many programs to run at once: as many as there are processors for (or `least`, on a small
    machine), where half of the free memory and the limit of open files hold so many."""
    room = min(free_memory() // 2 // MEMORY_EACH, free_files() // FILES_EACH)
    return max(1, min(max(least, processors() // processors_each), room))


class Shares:
    """A run's time, shared among its cells. Any thread may ask."""

    def __init__(self, weights, count, total, overhead, least):
        """`weights`: of the cells; `count` run at once, `total` seconds all together. Each takes
        `overhead` seconds besides its share, which is `least` or more."""
        self.waiting, self.weight = len(weights), sum(weights)
        self.count, self.overhead, self.least = count, overhead, least
        self.end, self.lock = time.monotonic() + total, threading.Lock()
        self.running = []  # when each cell that has begun will have ended

    @contextlib.contextmanager
    def take(self, weight):
        """The seconds of a cell of that weight, which runs inside."""
        with self.lock:
            seconds = self._share(weight)
            ends = time.monotonic() + seconds + self.overhead
            self.running.append(ends)
        try:
            yield seconds
        finally:
            with self.lock:
                self.running.remove(ends)

    def _share(self, weight):
        """Of the time that the lanes have left when what runs on them is over."""
        now = time.monotonic()
        left = self.end - now
        taken = sum(min(max(0, ends - now), left) for ends in self.running)
        lanes = min(self.count, len(self.running) + self.waiting)
        spare = left * lanes - taken - self.overhead * self.waiting
        share = spare * weight / max(1, self.weight)
        self.waiting, self.weight = self.waiting - 1, self.weight - weight
        return max(self.least, min(share, left - self.overhead))


def over(jobs):
    """Whether all of them have ended, or one has failed."""
    ended = [job for job in jobs if job.done()]
    return len(ended) == len(jobs) or any(job.exception() is not None for job in ended)


def run_at_once(work, cells, count, children):
    """work(cell) of each, `count` at once, each on a thread of its own. Where one raises, or the run is
    interrupted, all `children` that they have started end, no more begin, and that is raised. Main
    thread only."""

    def attempt(cell):
        if children.stopped:
            raise Stopped
        try:
            work(cell)
        except BaseException:
            children.stop()  # here, or this lane would begin the next
            raise

    pool = ThreadPoolExecutor(count)
    try:
        with undisturbed():  # the pool would not know a lane that is begun as an interrupt comes
            jobs = [pool.submit(attempt, cell) for cell in cells]
        while not over(jobs):
            wait(jobs, LISTEN_SECONDS, FIRST_EXCEPTION)
    except BaseException:
        children.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    errors = [job.exception() for job in jobs if not job.cancelled() and job.exception() is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])

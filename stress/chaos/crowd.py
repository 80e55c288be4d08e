"""A thousand threads alive at once, or more: how many of their ticks are captured, and what one that
waits costs.

    crowd.py MODE SECONDS PROCESSORS RESULT

The crowd grows with the processors that there are. First all wait, until an observer has looked at
each often enough to fill a ring many times, and the memory that a session adds is measured. Then all
run in turn, with a session from the start.
"""

import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import held
import spprof
from antagonists import busy, busy_result

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from stress.results import write_whole

# A thousand threads keep less than one processor busy; for each processor that a small machine does
# not have there are more. But no more than this: each has a stack and a timer, which counts against
# `ulimit -i`, and in wall mode one thread looks at all of them.
THREADS_LEAST, THREADS_EACH, THREADS_MOST = 1000, 500, 4000
SMALL_MACHINE = 2  # processors
PAUSE = 0.05  # seconds between two goes of a thread
INTERVAL_MS = {"cpu": 0.1, "wall": 5}  # one thread looks at all of them in wall mode
# In wall mode, of each thread that waits: a sample of it is more than 100 bytes, and the ring of a default session in cpu
# mode has 128 KiB.
LOOKS = 1500
SAMPLE_BYTES = 32  # struct recorded in core/ordinary/recording.h


def size_of_crowd(processors):
    """How many threads: a thousand or more, where half of the timers that the process may have do."""
    timers, _ = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    room = THREADS_MOST if timers == resource.RLIM_INFINITY else min(THREADS_MOST, timers // 2)
    return max(THREADS_LEAST, min(THREADS_LEAST + THREADS_EACH * (processors - SMALL_MACHINE), room))


def wait_for(condition, what):
    limit = time.monotonic() + 120
    while not condition():
        if time.monotonic() > limit:
            raise SystemExit(f"{what} did not come within 120 s")
        time.sleep(0.01)


class Crowd:
    def __init__(self, size):
        self.released = threading.Event()
        self.over = threading.Event()
        self.wrong = []
        self.threads = [threading.Thread(target=self.live) for _ in range(size)]
        for thread in self.threads:
            thread.start()

    def live(self):
        self.released.wait()
        while not self.over.wait(PAUSE):
            if busy(500) != busy_result(500):
                self.wrong.append("a thread of the crowd computed something else")

    def disperse(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def start(mode, size):
    spprof.start(interval_ms=INTERVAL_MS[mode], mode=mode)
    wait_for(lambda: spprof.stats()["threads"] >= size, "a slot for every thread")


def resident():
    return held.memory()["process"]


def watch_waiting(mode, seconds, size):
    """The counters of a session in which all threads wait, and what each costs it, bytes, without the samples themselves."""
    alone = resident()
    start(mode, size)
    time.sleep(seconds)
    if mode == "wall":
        wait_for(lambda: spprof.stats()["ticks"] >= LOOKS * size, "a look at every thread")
    watched = resident()
    profile = spprof.stop()
    samples = sum(1 for _ in profile.records())
    return profile.stats, (watched - alone - samples * SAMPLE_BYTES) / size


def watch_working(mode, seconds, crowd):
    """The counters of a session in which all threads run, and how many were alive."""
    start(mode, len(crowd.threads))
    crowd.released.set()
    time.sleep(seconds)
    alive = held.counted()["threads"]
    return spprof.stop().stats, alive


def main():
    mode, seconds, size, path = sys.argv[1], float(sys.argv[2]), size_of_crowd(int(sys.argv[3])), sys.argv[4]
    before = {**held.counted(), "process": resident()}
    crowd = Crowd(size)
    without = (resident() - before["process"]) / size
    waiting, cost = watch_waiting(mode, seconds / 2, size)
    working, alive = watch_working(mode, seconds / 2, crowd)
    crowd.disperse()
    after = held.settled(before)
    sums = Counter(waiting["dropped"]) + Counter(working["dropped"])
    ticks, captured = (waiting[name] + working[name] for name in ("ticks", "captured"))
    write_whole(
        path,
        {
            **{"ticks": ticks, "captured": captured, "dropped": sums, "law": ticks == captured + sums.total()},
            **{name: working[name] for name in ("threads", "threads_refused")},
            "alive": alive,
            "crowd": size,
            "bytes_per_idle_thread": cost,
            "bytes_per_idle_thread_alone": without,
            "wrong": crowd.wrong[:3],
            "leaks": [f"{after[name] - before[name]} {name} were left" for name in after if after[name] > before[name]],
        },
    )


if __name__ == "__main__":
    main()

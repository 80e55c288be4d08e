"""A thousand threads alive at once: how many of their ticks are captured, and what one that waits costs.

    crowd.py MODE SECONDS RESULT

First all wait, and the memory that a session adds is measured. Then all run in turn, with a session from the start.
"""

import sys
import threading
import time

import held
import spprof
from antagonists import busy, busy_result
from result import write_whole

THREADS = 1000
PAUSE = 0.05  # seconds between two goes of a thread: all of them together are then less than one core has
INTERVAL_MS = {"cpu": 0.1, "wall": 10}  # one thread looks at all of them in wall mode


def wait_for(condition, what):
    limit = time.monotonic() + 120
    while not condition():
        if time.monotonic() > limit:
            raise SystemExit(f"{what} did not come within 120 s")
        time.sleep(0.01)


class Crowd:
    def __init__(self):
        self.released = threading.Event()
        self.over = threading.Event()
        self.wrong = []
        self.threads = [threading.Thread(target=self.live) for _ in range(THREADS)]
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


def main():
    mode, seconds, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    before = {**held.counted(), **held.memory()}
    crowd = Crowd()
    alone = held.memory()["process"]
    spprof.start(interval_ms=INTERVAL_MS[mode], mode=mode)
    wait_for(lambda: spprof.stats()["threads"] >= THREADS, "a slot for every thread")
    time.sleep(seconds / 2)
    watched = held.memory()["process"]
    idle = spprof.stats()
    crowd.released.set()
    time.sleep(seconds / 2)
    alive = held.counted()["threads"]
    profile = spprof.stop()
    crowd.disperse()
    stats = profile.stats
    law = stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())
    seen = len({record.thread for record in profile.records()})
    del profile
    after = {**held.settled(before), **held.memory()}
    counts = {name: after[name] - before[name] for name in ("timers", "threads", "files")}
    write_whole(
        path,
        {
            **{name: stats[name] for name in ("ticks", "captured", "dropped", "threads", "threads_refused")},
            **{"law": law, "alive": alive, "threads_seen": seen, "idle_ticks": idle["ticks"]},
            "bytes_per_idle_thread": (watched - alone) / THREADS,
            "bytes_per_idle_thread_alone": (alone - before["process"]) / THREADS,
            "wrong": crowd.wrong[:3],
            "leaks": [f"{count} {name} were left" for name, count in counts.items() if count > 0],
        },
    )


if __name__ == "__main__":
    main()

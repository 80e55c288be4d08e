"""A thread that works for moments between waits: whose CPU time is it? `bursts.py INTERVAL_MS TICKS`."""

import sys
import threading
import time

import spprof
from scenario import result

used = {"work": 0, "rest": 0}  # ns of CPU time, by the thread's own clock


def work():
    end = time.thread_time_ns() + 500_000
    while time.thread_time_ns() < end:
        pass


def rest():
    time.sleep(0.0007)


def turn():
    began = time.thread_time_ns()
    work()
    worked = time.thread_time_ns()
    rest()
    used["work"] += worked - began
    used["rest"] += time.thread_time_ns() - worked


def go_round():
    while spprof.stats()["ticks"] < int(sys.argv[2]):
        for _ in range(50):
            turn()


thread = threading.Thread(target=go_round, name="bursts")
spprof.start(interval_ms=float(sys.argv[1]), mode="cpu")
thread.start()
thread.join()
profile = spprof.stop()
shown = dict.fromkeys(used, 0)
for sample in profile:
    innermost = sample.stack[-1].name if sample.stack else None
    if innermost in shown:
        shown[innermost] += sample.weight
result(stats=profile.stats, shown=shown, used=used)

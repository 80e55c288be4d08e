"""Threads each of which lives for less than an interval of CPU time: `short_lives.py THREADS INTERVAL_MS CPU_MS`."""

import sys
import threading
import time

import spprof
from scenario import result

count, interval, cpu = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
used = []


def spin():
    while time.thread_time() < cpu / 1000:
        sum(range(200))
    used.append(time.thread_time())


spprof.start(interval_ms=interval)
for _ in range(count):
    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
profile = spprof.stop()
shown = sum(sample.weight for sample in profile if any(frame.name == "spin" for frame in sample.stack))
result(due=sum(used) * 1000 / interval, shown=shown, stats=profile.stats)

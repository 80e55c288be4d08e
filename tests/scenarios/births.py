"""Threads that are born and die while a session goes on: `births.py THREADS`."""

import sys
import threading
import time

import observe
import spprof
from scenario import result

ALIVE_AT_ONCE = 20


def spin():
    limit = time.thread_time() + 0.02
    while time.thread_time() < limit:
        sum(range(200))


total = int(sys.argv[1])
spprof.start(interval_ms=1)
alive = []
for number in range(total):
    alive.append(threading.Thread(target=spin, name=f"short-{number}"))
    alive[-1].start()
    if len(alive) == ALIVE_AT_ONCE:
        alive.pop(0).join()
for thread in alive:
    thread.join()
timers_late = None
for _ in range(200):  # the dead lose their timers within a few looks at the list of threads
    timers_late = observe.profile_timers()
    if timers_late <= 1:
        break
    time.sleep(0.02)
profile = spprof.stop()
sampled = {sample.thread.native_id for sample in profile if any(frame.name == "spin" for frame in sample.stack)}
result(stats=profile.stats, sampled=len(sampled), timers_late=timers_late, timers=observe.profile_timers())

"""How much a session grows by the minute: `growth.py RECORDING THREADS SECONDS [made]`. All threads wait, but for one that works
at one place after another; with `made` for another, too, which works in functions that are made and dropped: each is
another stack.

Of each tenth of the time: what the recording holds, and the process, in MiB.
"""

import sys
import threading
import time

import spprof
from scenario import result

recording, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
over = threading.Event()


def climb(depth):
    return sum(range(100)) if depth == 0 else climb(depth - 1)


def work():
    depth = 0
    while not over.wait(0.001):
        climb(depth % 50)
        depth += 1


def make():
    number = 0
    while not over.wait(0.01):
        space = {}
        exec(compile("def made(): return sum(range(3000))", f"file_{number % 100}", "exec"), space)
        space["made"]()
        number += 1


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


working = [work, make] if sys.argv[4:] == ["made"] else [work]
threads = [threading.Thread(target=over.wait) for _ in range(count - len(working))]
threads += [threading.Thread(target=function) for function in working]
spprof.start(interval_ms=10, mode="wall", recording=recording)
for thread in threads:
    thread.start()
held = []
for _ in range(10):
    time.sleep(seconds / 10)
    held.append((round(spprof.stats()["recording_mb"], 2), round(resident(), 2)))
over.set()
for thread in threads:
    thread.join()
stats = spprof.stop().stats
result(held=held, stats=stats)

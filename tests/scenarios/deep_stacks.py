"""Whether the rings are emptied as fast as they are filled: `deep_stacks.py MODE THREADS DEPTH INTERVAL_MS SECONDS`.

Each thread stands that deep and works for so many seconds of its CPU time.
"""

import sys
import threading
import time

import spprof
from scenario import result

mode, count, depth, interval, seconds = sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:])
sys.setrecursionlimit(max(1000, 2 * depth))
threading.stack_size(64 << 20)


def stand(level):
    if level:
        return stand(level - 1)
    while time.thread_time() < seconds:
        sum(range(50))


spprof.start(interval_ms=interval, mode=mode)
threads = [threading.Thread(target=stand, args=(depth,)) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
stats = spprof.stop().stats
result(ring_full=stats["dropped"]["ring_full"] / stats["ticks"], stats=stats)

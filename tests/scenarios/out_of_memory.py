"""A recording that may not grow: `out_of_memory.py MODE WHY [STATUS]`.

WHY is `system`, where memory runs out in the midst of the session, as at a container's limit, and there is some again before
it ends; `bound`, where the recording has a megabyte; or `timeline`, where a timeline has one, and counts find room in it.
"""

import random
import resource
import sys
import threading

import spprof
from scenario import result

WAITING = 40


def limit(room):
    """At most so many bytes more than now; None: as many as before."""
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most if room is None else size + room, most))


def wander(depth, dice):
    """Its stacks never look alike."""
    if depth == 0:
        return sum(range(300))
    if dice.random() < 0.5:
        return wander(depth - 1, dice)
    return wander(depth - 1, dice)


def turn(number):
    """One of a thousand stacks: as many as a megabyte holds, but not in their order."""
    if number < 2:
        return sum(range(20))
    if number % 2:
        return turn(number // 2)
    return turn(number // 2)


def until(condition):
    """Works meanwhile."""
    dice, number = random.Random(5), 0
    while not condition():
        if why == "timeline":
            turn(512 + number % 512)
            number += 1
        else:
            wander(200, dice)


mode, why, *status = sys.argv[1:]
event = threading.Event()
threads = [threading.Thread(target=event.wait) for _ in range(WAITING)]
for thread in threads:
    thread.start()
bounded = {} if why == "system" else {"memory_mb": 1}
spprof.start(interval_ms=0.2, mode=mode, **bounded)
until(lambda: spprof.stats()["captured"] >= (20_000 if mode == "wall" else 500))
if why == "timeline":
    until(lambda: spprof.stats()["recording"] == "counts")
    full = spprof.stats()["recording_mb"]
else:
    if why == "system":
        limit(1 << 20)
    until(lambda: spprof.stats()["dropped"]["no_memory"] >= 1000)
    full = spprof.stats()["recording_mb"]
    if why == "system":
        limit(None)
captured = spprof.stats()["captured"]
if why != "bound":
    until(lambda: spprof.stats()["captured"] >= captured + 500)
event.set()
for thread in threads:
    thread.join()
profile = spprof.stop()
result(
    same=spprof.stats() == profile.stats,
    kept=sum(sample.weight for sample in profile),
    samples=sum(1 for _ in profile),
    full=full,
    stats=profile.stats,
)
if status:
    sys.exit(int(status[0]))

"""A program to profile: eight threads that do what Python programs do. Run by ci/verdict.py.

Every thread goes round all the activities, each starting at another one, so that threads share code objects while their
stacks differ. A thread works until it has used its share of CPU time, so a slow machine changes nothing.
"""

import functools
import hashlib
import sys
import threading
import time

import spprof
from scenario import gil_enabled, result

THREADS = 8
CPU_SECONDS = 1.0
INTERVAL_MS = 1


def loops():
    total = 0
    for number in range(6000):
        total += number * number % 7
    return total


def recursion(number=16):
    return number if number < 2 else recursion(number - 1) + recursion(number - 2)


def generators():
    def inner(count):
        total = 0
        for number in range(count):
            total += number
            yield total

    def outer(count):
        yield from inner(count)

    return sum(outer(4000))


def coroutines():
    async def leaf(number):
        total = 0
        for step in range(30):
            total += step * number
        return total

    async def root():
        total = 0
        for number in range(150):
            total += await leaf(number)
        return total

    coroutine = root()
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the coroutine has nothing to wait for")


def exceptions():
    def fail(depth):
        if depth == 0:
            raise ValueError(depth)
        fail(depth - 1)

    caught = 0
    for _ in range(150):
        try:
            fail(10)
        except ValueError:
            caught += 1
    return caught


def sort_key(number):
    return (number * 7919) % 1009


def sorting():
    return sorted(range(3000), key=sort_key)


def add(left, right):
    return left + right * 3


def reducing():
    return functools.reduce(add, range(5000))


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y
        self.length = (x * x + y * y) ** 0.5


def instantiation():
    return [Point(number, number + 1) for number in range(2500)]


def hashing():
    # Large enough for hashlib to give up the thread state while it works.
    digest = hashlib.sha256()
    for _ in range(6):
        digest.update(b"spprof" * 5000)
    return digest.hexdigest()


ACTIVITIES = (loops, recursion, generators, coroutines, exceptions, sorting, reducing, instantiation, hashing)
# What a profile has to name: the activities, and what is called back from C.
HOT = {activity.__name__ for activity in ACTIVITIES} | {"sort_key", "add", "__init__", "leaf", "inner", "fail"}


def worker(start):
    turn = start
    # A whole round at least, however little CPU time was asked for.
    while time.thread_time() < CPU_SECONDS or turn < start + len(ACTIVITIES):
        ACTIVITIES[turn % len(ACTIVITIES)]()
        turn += 1


def run():
    threads = [threading.Thread(target=worker, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def summary(profile):
    """What ci/verdict.py judges, from the public API alone."""
    weight, workers, names = 0, set(), set()
    for sample in profile:
        weight += sample.weight
        here = {frame.name.rpartition(".")[2] for frame in sample.stack if frame.filename == __file__}
        names |= here
        if "worker" in here:
            workers.add(sample.thread)
    return {"stats": profile.stats, "weight": weight, "workers": len(workers), "names": sorted(names)}


def main():
    spprof.start(interval_ms=INTERVAL_MS, mode=sys.argv[1])
    run()
    profile = spprof.stop()
    result(expected_workers=THREADS, hot=sorted(HOT), gil_off=not gil_enabled(), **summary(profile))


main()

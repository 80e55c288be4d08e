"""Work for threads to do, of every kind that makes frames of its own kind.

Each entry of KINDS is a function that works for a moment; HOT names the functions that a profile of it must show. All
of them are pure Python but for the C functions that call back.
"""

import functools
import threading


def loop():
    total = 0
    for number in range(3000):
        total += number * number % 7
    return total


def descend(depth):
    return 1 + descend(depth - 1) if depth else sum(range(300))


def recurse():
    return descend(150)


def count_up(limit):
    for number in range(limit):
        yield number * 3 % 11


def chain_generators(limit):
    yield from (number + 1 for number in count_up(limit))


def generate():
    return sum(chain_generators(2000))


async def wait_for(number):
    return await double(number)


async def double(number):
    return number * 2 + sum(range(20))


def coroutines():
    for number in range(300):
        coroutine = wait_for(number)
        try:
            coroutine.send(None)
        except StopIteration:
            pass


def raise_at(depth):
    if depth == 0:
        raise ValueError(depth)
    return raise_at(depth - 1)


def exceptions():
    for _ in range(40):
        try:
            raise_at(25)
        except ValueError:
            pass


def sort_key(number):
    return number * 7919 % 1009


def callback_sort():
    return sorted(range(1500), key=sort_key)


def reduce_step(left, right):
    return (left * 31 + right) % 65521


def callback_reduce():
    return functools.reduce(reduce_step, range(1500))


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y
        self.z = x * y


class NamedPoint(Point):
    def __init__(self, x, y):
        super().__init__(x, y)
        self.name = "point"


def instantiate():
    for number in range(600):
        NamedPoint(number, 2)
        Point(number, 3)


KINDS = [loop, recurse, generate, coroutines, exceptions, callback_sort, callback_reduce, instantiate]
HOT = {
    "loop": ["loop"],
    "recurse": ["recurse", "descend"],
    "generate": ["generate", "chain_generators", "chain_generators.<locals>.<genexpr>", "count_up"],
    "coroutines": ["coroutines", "wait_for", "double"],
    "exceptions": ["exceptions", "raise_at"],
    "callback_sort": ["callback_sort", "sort_key"],
    "callback_reduce": ["callback_reduce", "reduce_step"],
    "instantiate": ["instantiate", "Point.__init__", "NamedPoint.__init__"],
}


class Crew:
    """Threads that each do one kind of work, again and again, until told to stop."""

    def __init__(self, kinds=tuple(KINDS)):
        self.over = threading.Event()
        self.rounds = [0] * len(kinds)
        self.threads = [
            threading.Thread(target=self.work, args=(index, kind), name=f"worker-{kind.__name__}-{index}")
            for index, kind in enumerate(kinds)
        ]

    def work(self, index, kind):
        while not self.over.is_set():
            kind()
            self.rounds[index] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def wait_for_ticks(ticks, cpu_seconds=120):
    """Lets the session run until it has had that many ticks; gives up when the process has burnt `cpu_seconds`."""
    import time

    import spprof

    limit = time.process_time() + cpu_seconds
    while spprof.stats()["ticks"] < ticks:
        if time.process_time() > limit:
            raise SystemExit(f"only {spprof.stats()['ticks']} of {ticks} ticks in {cpu_seconds} s of CPU time")
        time.sleep(0.02)

"""Generators and coroutines that two threads resume in turn. Both threads' stacks run through the same frames, so each
must be seen below its own thread's functions, and below none of the other's."""

import threading

from grammar import Grammar, Source

from workloads import Workload, own_calls

PAIRS = 3


def produce(limit):
    number = 0
    while True:
        number = (number + step(number)) % limit
        yield number


def step(number):
    total = 0
    for part in range(15):
        total += part ^ number
    return total % 5 + 1


def relay(limit):
    yield from middle(limit)


def middle(limit):
    yield from produce(limit)


def doubled(limit):
    for number in produce(limit):
        yield number * 2


class Pause:
    def __await__(self):
        yield 1


async def pause():
    await Pause()


async def work(limit):
    while True:
        await pause()
        step(limit)


def first_resumes(lock, generator):
    with lock:
        return next(generator)


def first_sends(lock, generator):
    with lock:
        return generator.send(None)


def second_sends(lock, generator):
    with lock:
        return generator.send(None)


def first_thread(stage, role):
    stage.enter(role)
    while not stage.over:
        for lock, generator in stage.shared_generators:
            first_resumes(lock, generator)
        for lock, coroutine in stage.shared_coroutines:
            first_sends(lock, coroutine)
    stage.leave()


def second_thread(stage, role):
    stage.enter(role)
    while not stage.over:
        for lock, generator in stage.shared_generators:
            second_sends(lock, generator)
        for lock, coroutine in stage.shared_coroutines:
            second_sends(lock, coroutine)
    stage.leave()


CALLS = [
    ("produce", "step"),
    ("relay", "middle", "yield from"),
    ("middle", "produce", "yield from"),
    ("doubled", "produce", "for"),
    ("pause", "Pause.__await__", "await"),
    ("work", "pause", "await"),
    ("work", "step"),
    ("first_thread", "first_resumes"),
    ("first_thread", "first_sends"),
    ("second_thread", "second_sends"),
    *(("first_resumes", root, "next") for root in ("relay", "doubled")),
    ("first_sends", "work", "send"),
    *(("second_sends", root, "send") for root in ("relay", "doubled", "work")),
    *own_calls("first_thread", "second_thread"),
]


def make():
    return Generators()


class Generators(Workload):
    def __init__(self):
        super().__init__()
        self.files = {__file__}
        self.grammar = Grammar()
        self.grammar.add(Source.of_file(__file__), CALLS)
        self.cast("first", first_thread)
        self.cast("second", second_thread)

    def dress(self, stage):
        made = [make(1000 + i) for i in range(PAIRS) for make in (relay, doubled)]
        stage.shared_generators = [(threading.Lock(), generator) for generator in made]
        stage.shared_coroutines = [(threading.Lock(), work(1000 + i)) for i in range(PAIRS)]

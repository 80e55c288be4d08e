"""Python called back from C, several times over: each level begins a new entry of the interpreter on the C stack."""

import functools

from grammar import Grammar, Source

from workloads import Workload, own_calls


def leaf(number):
    return number * 7 % 13


def combine(left, right):
    return left + sum(map(leaf, (left, right)))


def weigh(number):
    return functools.reduce(combine, (number, 2, 3))


def arrange():
    return sorted((3, 1, 2), key=weigh)


def pick(number):
    return max((number, 4), key=lambda x: leaf(x) + 1)


def spread():
    return list(filter(pick, (1, 2, 3)))


def total():
    return sum(leaf(number) for number in (1, 2, 3))


class Answer:
    def __eq__(self, other):
        return arrange() == other

    def __hash__(self):
        return leaf(5)


def compare():
    return Answer() in (1, 2)


def lookup():
    return {Answer(): 1}


def call_back(stage, role):
    stage.enter(role)
    while not stage.over:
        arrange()
        spread()
        total()
        compare()
        lookup()
    stage.leave()


CALLS = [
    ("combine", "leaf", "map"),
    ("weigh", "combine", "reduce"),
    ("arrange", "weigh", "sorted"),
    ("pick", "pick.<locals>.<lambda>", "max"),
    ("pick.<locals>.<lambda>", "leaf"),
    ("spread", "pick", "filter"),
    ("total", "total.<locals>.<genexpr>", "sum"),
    ("total.<locals>.<genexpr>", "leaf"),
    ("Answer.__eq__", "arrange"),
    ("Answer.__hash__", "leaf"),
    ("compare", "Answer.__eq__", "Answer"),
    ("lookup", "Answer.__hash__", "Answer"),
    *(("call_back", name) for name in ("arrange", "spread", "total", "compare", "lookup")),
    *own_calls("call_back"),
]


def make():
    return Callbacks()


class Callbacks(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {__file__}
        self.grammar = Grammar()
        self.grammar.add(Source.of_file(__file__), CALLS)
        for number in range(threads):
            self.cast(f"callbacks-{number}", call_back)

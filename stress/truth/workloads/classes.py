"""Instances made: plain, inherited, through __new__, through a metaclass's __call__, and within one another."""

from grammar import Grammar, Source

from workloads import Workload, own_calls


class Point:
    def __init__(self, x):
        self.x = x
        self.y = x + 1


class Named(Point):
    def __init__(self, x):
        super().__init__(x)
        self.name = "named"


class Owned(Named):
    def __init__(self, x):
        super().__init__(x)
        self.part = Part(self)


class Part:
    __slots__ = ("owner",)

    def __init__(self, owner):
        self.owner = None if owner is None else owner.x


class Made:
    def __new__(cls, x):
        made = super().__new__(cls)
        made.point = Point(x)
        return made

    def __init__(self, x):
        self.x = x


class Counting(type):
    def __call__(cls, x):
        return super().__call__(x)


class Counted(metaclass=Counting):
    def __init__(self, x):
        self.x = x


def instantiate(stage, role):
    stage.enter(role)
    while not stage.over:
        Point(1)
        Named(2)
        Owned(3)
        Part(None)
        Made(4)
        Counted(5)
    stage.leave()


CALLS = [
    ("instantiate", "Point.__init__", "Point"),
    ("instantiate", "Named.__init__", "Named"),
    ("instantiate", "Owned.__init__", "Owned"),
    ("instantiate", "Part.__init__", "Part"),
    ("instantiate", "Made.__new__", "Made"),
    ("instantiate", "Made.__init__", "Made"),
    ("instantiate", "Counting.__call__", "Counted"),
    ("Named.__init__", "Point.__init__", "__init__"),
    ("Owned.__init__", "Named.__init__", "__init__"),
    ("Owned.__init__", "Part.__init__", "Part"),
    ("Made.__new__", "Point.__init__", "Point"),
    ("Counting.__call__", "Counted.__init__", "__call__"),
    *own_calls("instantiate"),
]


def make():
    return Classes()


class Classes(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {__file__}
        self.grammar = Grammar()
        self.grammar.add(Source.of_file(__file__), CALLS)
        for number in range(threads):
            self.cast(f"classes-{number}", instantiate)

"""Functions that are compiled, called and freed, so that addresses of code objects serve again and again.

Each has a number in its name and its place in the file. A stack is possible only where all of one making agree."""

import re

from grammar import NO_LINE, Grammar, Source

from workloads import Workload, own_calls

FILE = "<compiled>"
NUMBERS = 997

# Lines of the made text, before the blank ones that a number puts above it.
OUTER, OUTER_CALL, OUTER_END, INNER, INNER_END = 1, 2, 2, 3, 6
TEXT = """def outer_{number}():
    return inner_{number}()
def inner_{number}():
    total = 0
    for index in range(30):
        total += index
"""

MADE = re.compile(r"(outer|inner)_(\d+)$")


def make_and_run(number):
    space = {}
    exec(compile("\n" * (number % 50) + TEXT.format(number=number), FILE, "exec"), space)  # noqa: S102 - the program is made here
    outer = space[f"outer_{number}"]
    for _ in range(5):
        outer()


def keep_making(stage, role):
    stage.enter(role)
    number = int(role.rpartition("-")[2])
    while not stage.over:
        make_and_run(number)
        number = (number + 2) % NUMBERS
    stage.leave()


class Numbered(Grammar):
    """Any number may be called; what is called from a number has the same."""

    def calls(self, caller, line, callee):
        made = MADE.match(callee)
        if made is None:
            return super().calls(caller, line, callee)
        kind, number = made.groups()
        if kind == "outer":
            return super().calls(caller, line, "outer")
        return caller == f"outer_{number}" and line == int(number) % 50 + OUTER_CALL

    def stands(self, function, line):
        made = MADE.match(function)
        if made is None:
            return super().stands(function, line)
        kind, number = made.group(1), int(made.group(2))
        first, last = (OUTER, OUTER_END) if kind == "outer" else (INNER, INNER_END)
        return number < NUMBERS and (line == NO_LINE or first <= line - number % 50 <= last)

    def possible(self, stack, entry):
        # The made text itself runs as a module, and calls nothing.
        if len(stack) == 3 and stack[2][0] == "<module>":
            return (
                super().possible(stack[:2], entry)
                and super().calls(*stack[1], "<module>")
                and stack[2][1] <= 50 + INNER_END
            )
        return all(name != "<module>" for name, _ in stack) and super().possible(stack, entry)


CALLS = [
    ("make_and_run", "outer"),
    ("make_and_run", "<module>", "exec"),
    ("keep_making", "make_and_run"),
    *own_calls("keep_making"),
]


def make():
    return Compiled()


class Compiled(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {FILE, __file__}
        self.grammar = Numbered()
        self.grammar.add(Source.of_file(__file__), CALLS)
        for number in range(threads):
            self.cast(f"compiled-{number}", keep_making)

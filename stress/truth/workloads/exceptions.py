"""Exceptions that unwind many frames, past handlers that look on, tidy up or raise again."""

from grammar import Grammar, Source

from workloads import Workload, own_calls

FILE = "<exceptions>"
LEVELS = 40

PLAIN = """def unwind_{n:02}(tidied):
    {call}
    return None
"""
TIDIES = """def unwind_{n:02}(tidied):
    try:
        {call}
    finally:
        tidied[{n}] = 1
"""
RAISES_AGAIN = """def unwind_{n:02}(tidied):
    try:
        {call}
    except ValueError as error:
        tidied[{n}] = error.args
        raise
"""
RAISES_ANOTHER = """def unwind_{n:02}(tidied):
    try:
        {call}
    except ValueError as error:
        raise ValueError({n}) from error
"""


def text_of_level(number):
    kind = (PLAIN, TIDIES, PLAIN, RAISES_AGAIN, PLAIN, PLAIN, RAISES_ANOTHER)[number % 7]
    call = f"unwind_{number + 1:02}(tidied)" if number + 1 < LEVELS else "raise ValueError(0)"
    return kind.format(n=number, call=call)


def make():
    return Exceptions()


class Exceptions(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {FILE, __file__}
        text = "".join(text_of_level(number) for number in range(LEVELS))
        self.grammar = Grammar()
        self.grammar.add(Source(text), [(f"unwind_{i:02}", f"unwind_{i + 1:02}") for i in range(LEVELS - 1)])
        self.grammar.add(
            Source.of_file(__file__),
            [
                ("Exceptions.fall", "Exceptions.fall_once", "fall_once"),
                ("Exceptions.fall_once", "unwind_00", "first"),
                *own_calls("Exceptions.fall"),
            ],
        )
        space = {}
        exec(compile(text, FILE, "exec"), space)  # noqa: S102 - the program is made here
        self.first = space["unwind_00"]
        for number in range(threads):
            self.cast(f"exceptions-{number}", self.fall)

    def fall_once(self, tidied):
        first = self.first
        try:
            first(tidied)
        except ValueError:
            tidied.clear()

    def fall(self, stage, role):
        stage.enter(role)
        tidied = {}
        while not stage.over:
            self.fall_once(tidied)
        stage.leave()

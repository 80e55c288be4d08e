"""Large frames, called to a depth that changes all the time: the interpreter's data stack is mapped and unmapped under
them, several chunks up and down. Each level is a function of its own, so a level missing or twice would show."""

from grammar import Grammar, Source

from workloads import Workload, own_calls

FILE = "<chunks>"
LEVELS = 60
LOCALS = 150  # a frame of more than 1 KiB; a chunk has 16 KiB at first
DEPTHS = (3, 14, 9, 30, 12, 59, 13, 27, 11, 45, 1, 24)


def text_of_level(number):
    names = " = ".join(f"v{i}" for i in range(LOCALS))
    call = f"level_{number + 1:02}(depth)" if number + 1 < LEVELS else "None"
    return (
        f"def level_{number:02}(depth):\n"
        f"    {names} = depth\n"
        f"    if depth > {number}:\n"
        f"        {call}\n"
        f"    return v{LOCALS - 1}\n"
    )


def make():
    return Chunks()


class Chunks(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {FILE, __file__}
        text = "".join(text_of_level(number) for number in range(LEVELS))
        self.grammar = Grammar()
        self.grammar.add(Source(text), [(f"level_{i:02}", f"level_{i + 1:02}") for i in range(LEVELS - 1)])
        self.grammar.add(Source.of_file(__file__), [("Chunks.sway", "level_00", "first"), *own_calls("Chunks.sway")])
        space = {}
        exec(compile(text, FILE, "exec"), space)  # noqa: S102 - the program is made here
        self.first = space["level_00"]
        for number in range(threads):
            self.cast(f"chunks-{number}", self.sway)

    def sway(self, stage, role):
        stage.enter(role)
        first = self.first
        while not stage.over:
            for depth in DEPTHS:
                first(depth)
        stage.leave()

"""Two families of functions, each calling the next until so many deep, in turn. No stack holds members of both."""

import time

from grammar import Grammar, Source

from workloads import Workload, own_calls

FILE = "<families>"
ROUNDS = 20  # of one family before the other's turn
# What the innermost functions work more where shares of time are compared: calls of the next, and of the clock, then take a
# thousandth of it. And how often that is looked at.
MORE_WORK = 20
INTERVAL_NS = 100_000


def text_of(family, depth, work):
    lines = []
    for number in range(depth - 1):
        lines += [f"def {family}_{number:03}():", f"    {family}_{number + 1:03}()"]
    lines += [
        f"def {family}_{depth - 1:03}():",
        "    total = 0",
        f"    for number in range({work}):",
        "        total += number",
        "    return total",
    ]
    return "\n".join(lines) + "\n"


def make(depth, of_time=False):
    return Families(depth, threads=1, work=MORE_WORK, interval_ns=INTERVAL_NS) if of_time else Families(depth)


class Families(Workload):
    names = ("left", "right")

    def __init__(self, depth, threads=2, work=1, interval_ns=0):
        super().__init__()
        self.depth = depth
        self.interval_ns = interval_ns
        self.marks = []
        self.files = {FILE, __file__}
        # The left one works longer at its end, so that the shares differ and a preference would show.
        self.text = text_of("left", depth, 60 * work) + text_of("right", depth, 20 * work)
        self.grammar = Grammar()
        self.grammar.add(
            Source(self.text),
            [(f"{n}_{i:03}", f"{n}_{i + 1:03}") for n in self.names for i in range(depth - 1)],
        )
        turn = "Families.take_turns"
        self.grammar.add(
            Source.of_file(__file__),
            [(turn, "left_000", "left"), (turn, "right_000", "right"), *own_calls(turn)],
        )
        space = {}
        exec(compile(self.text, FILE, "exec"), space)  # noqa: S102 - the program is made here
        self.left, self.right = space["left_000"], space["right_000"]
        self.spent = [[0, 0] for _ in range(threads)]
        for number in range(threads):
            self.cast(f"turns-{number}", self.take_turns)

    def take_turns(self, stage, role):
        stage.enter(role)
        left, right = self.left, self.right
        spent = self.spent[int(role.rpartition("-")[2])]
        # The clock of one's own CPU time is a system call, where threads are switched: it would move the truth.
        clock = time.thread_time_ns if stage.mode in ("cpu", "storm") else time.perf_counter_ns
        while not stage.over:
            began = clock()
            for _ in range(ROUNDS):
                left()
            turned = clock()
            for _ in range(ROUNDS):
                right()
            spent[0] += turned - began
            spent[1] += clock() - turned
        stage.leave()

    def family(self, role, stack):
        return stack[1][0].partition("_")[0] if len(stack) > 1 else None

    def sums(self):
        return [sum(thread[i] for thread in self.spent) for i in (0, 1)]

    def mark(self):
        self.marks.append(self.sums())

    def truth(self):
        began, ended = self.marks if len(self.marks) == 2 else ([0, 0], self.sums())
        left, right = (ended[i] - began[i] for i in (0, 1))
        return {"left": left / (left + right), "right": right / (left + right)} if left + right else {}

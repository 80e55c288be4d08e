"""Two generators that resume each other in turn: whose frame stands on whose changes all the time.

A look that is interrupted in between finds each of them on top of the other, a circle that never was."""

from grammar import Grammar, Source

from workloads import Workload, own_calls

SWINGS = ("left_swing", "right_swing")


def linger():
    """Else nearly every look at the upper one finds that it has left."""
    total = 0
    for part in range(12):
        total += part
    return total


def left_swing(partners):
    leads = yield
    while True:
        if leads:
            partners[1].send(False)
        else:
            linger()
        leads = yield


def right_swing(partners):
    leads = yield
    while True:
        if leads:
            partners[0].send(False)
        else:
            linger()
        leads = yield


def prime(swing):
    swing.send(None)


def lead_left(left):
    left.send(True)


def lead_right(right):
    right.send(True)


def make():
    return Swings()


class Swings(Workload):
    def __init__(self, threads=2):
        super().__init__()
        self.files = {__file__}
        self.grammar = Grammar()
        entry = "Swings.take_turns"
        self.grammar.add(
            Source.of_file(__file__),
            [
                *((entry, called) for called in ("prime", "lead_left", "lead_right")),
                *(("prime", swing, "send") for swing in SWINGS),
                ("lead_left", "left_swing", "send"),
                ("lead_right", "right_swing", "send"),
                ("left_swing", "right_swing", "send"),
                ("right_swing", "left_swing", "send"),
                ("left_swing", "linger"),
                ("right_swing", "linger"),
                *own_calls(entry),
            ],
        )
        for number in range(threads):
            self.cast(f"swings-{number}", self.take_turns)

    def take_turns(self, stage, role):
        stage.enter(role)
        partners = []
        partners += [left_swing(partners), right_swing(partners)]
        left, right = partners
        prime(left)
        prime(right)
        while not stage.over:
            lead_left(left)
            lead_right(right)
        stage.leave()

    def possible_alone(self, role, stack):
        """Who was resumed by its partner does not resume it: there is one of each at most."""
        swings = [qualname for qualname, _ in stack if qualname in SWINGS]
        return len(set(swings)) == len(swings) and super().possible_alone(role, stack)

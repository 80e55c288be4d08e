"""Antagonists at work beside a witness: a program whose possible stacks are known."""

import random
import threading
import time
import traceback

import antagonists
import workloads
from judge import Bench
from sessions import Sessions
from stage import Stage

WITNESSES = ("families_5", "families_20", "generators", "callbacks")
# The witness has two of the processors that there are for a troupe; an antagonist has a thread for each
# of the others. But no more than this: eight thread storms are 300 threads, and the witness needs its
# turn.
PROCESSORS_OF_WITNESS = 2
PLAYERS_MOST = 8


def players_for(processors):
    """How many threads act the same antagonist at once, where it can be acted by several."""
    return max(1, min(processors - PROCESSORS_OF_WITNESS, PLAYERS_MOST))


class Troupe:
    """Who acts in this process, in one act after the other."""

    def __init__(self, mode, processors):
        self.mode, self.players = mode, players_for(processors)
        self.sessions = Sessions(mode)
        self.workloads = {}  # made once: 3.13t keeps code objects for ever, with no profiler in the process
        self.rounds = {}
        self.kept = 0  # bytes, by what the antagonists say of CPython
        self.wrong = []

    def act(self, names, witness, dice, seconds):
        """One act: a witness, a session, and each antagonist on a thread of its own, or on several,
        until the time is over."""
        stage = Stage(self.mode)
        workload = self.workloads.get(witness) or self.workloads.setdefault(witness, workloads.make(witness))
        if hasattr(workload, "dress"):
            workload.dress(stage)
        stage.raise_curtain(workload.threads)
        cast = {name: antagonists.make(name, self.sessions) for name in names}
        for antagonist in cast.values():
            antagonist.begin()
        self.sessions.start()
        self.run(cast, dice, time.monotonic() + seconds)
        for name, antagonist in cast.items():
            self.guard(name, antagonist.end)
        self.sessions.stop()
        stage.drop_curtain()
        self.kept += sum(antagonist.kept for antagonist in cast.values())
        guests = {guest for antagonist in cast.values() for guest in antagonist.guests}
        self.sessions.judge(Bench(workload, stage.roles, None, None, None), guests)

    def run(self, cast, dice, until):
        played = []
        threads = [
            threading.Thread(
                target=self.play, args=(played, name, antagonist, random.Random(dice.getrandbits(64)), until)
            )
            for name, antagonist in cast.items()
            for _ in range(self.players if antagonist.in_company else 1)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or time.monotonic() < until:
            time.sleep(0.005)  # where Python's signal handlers run
        for thread in threads:
            thread.join()
        for name, rounds in played:  # added up here: an integer that lives on holds a page of its maker's heap
            self.rounds[name] = self.rounds.get(name, 0) + rounds

    def play(self, played, name, antagonist, dice, until):
        rounds = 0
        while not rounds or time.monotonic() < until:
            self.guard(name, antagonist.round, dice)
            rounds += 1
        played.append((name, rounds))

    def guard(self, name, function, *arguments):
        try:
            function(*arguments)
        except antagonists.Wrong as error:
            self.wrong.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the program would not have had it alone
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.wrong.append(f"{name}: {type(error).__name__}: {error} ({place.name}:{place.lineno})")

    def findings(self):
        found = self.sessions.findings()
        return {**found, "rounds": self.rounds, "wrong": found["wrong"] + self.wrong[:5]}

"""Neighbours that make a profiler's life hard: one file for each, or for each kind.

An antagonist has begin() and end(), called on the main thread before and after it acts, and
round(dice), called again and again on a thread of its own, or on several (`in_company`). A round is
short, draws every choice from `dice`, and checks its own results: a program that is sampled must
compute what it computes alone.
"""

import importlib
import threading

# Name -> module, class.
ANTAGONISTS = {
    "threads": ("threads", "ThreadStorm"),
    "forks": ("forks", "ForkStorm"),
    "signal_prof": ("signals", "ForeignProf"),
    "signal_alarm": ("signals", "Alarm"),
    "signal_user": ("signals", "User"),
    "signal_realtime": ("signals", "RealTime"),
    "faulthandler": ("fault_owners", "FaultHandler"),
    "fault_library": ("fault_owners", "FaultLibrary"),
    "chained_owners": ("fault_owners", "ChainedOwners"),
    "recursion": ("recursion", "Recursion"),
    "generators": ("resumed", "Generators"),
    "coroutines": ("resumed", "Coroutines"),
    "compiled": ("compiled", "Compiled"),
    "collections": ("collections_", "Collections"),
    "tracing": ("tracing", "Tracing"),
    "monitoring": ("tracing", "Monitoring"),
    "subinterpreters": ("subinterpreters", "Subinterpreters"),
    "blocking": ("blocking", "Blocking"),
    "maps": ("maps", "Maps"),
    "low_memory": ("limits", "LowMemory"),
    "timers_exhausted": ("limits", "TimersExhausted"),
    "tiny_stacks": ("tiny_stacks", "TinyStacks"),
    "starts": ("starts", "Starts"),
    "exits": ("exits", "Exits"),
}


class Wrong(Exception):
    """A program's own result that is not what it would be alone."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


class Antagonist:
    # What it does to the whole process would make others' results wrong: not mixed with them.
    alone = False
    # Its round may run on several threads at once: it changes nothing of the process, or of itself.
    in_company = False
    # Makes CPython itself take more and more memory, sampled or not: not for long runs, whose memory is watched.
    grows = False
    # What CPython itself keeps of all that was done so far, bytes at the most, where that is much.
    kept = 0
    # Others that it is not mixed with either, because the interpreter or itself does not stand both.
    apart = frozenset()
    # (file, name) of functions that may stand on top of any stack of the process.
    guests = frozenset()

    def __init__(self, sessions):
        self.sessions = sessions

    def begin(self):
        pass

    def round(self, dice):
        raise NotImplementedError

    def end(self):
        pass


def make(name, sessions):
    module, kind = ANTAGONISTS[name]
    return getattr(importlib.import_module(f"antagonists.{module}"), kind)(sessions)


def mixable(lasting=False):
    """Those that can be mixed; `lasting`: in a run whose memory is watched."""
    known = {name: make(name, None) for name in ANTAGONISTS}
    return [name for name, one in known.items() if not one.alone and not (lasting and one.grows)]


def drawn(dice, lasting=False):
    """A few of them."""
    chosen = dice.sample(mixable(lasting), dice.randrange(3, 7))
    return [name for name in chosen if not make(name, None).apart.intersection(chosen)]


def together(functions):
    """Runs each on a thread of its own; what one of them raises is raised here."""
    raised = []

    def guarded(function):
        try:
            function()
        except Exception as error:  # noqa: BLE001 - handed on
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def busy(limit):
    total = 0
    for number in range(limit):
        total += number * number % 7
    return total


def busy_result(limit):
    """What busy(limit) is, found another way: the squares' remainders repeat every 7."""
    whole, rest = divmod(limit, 7)
    cycle = (0, 1, 4, 2, 2, 4, 1)
    return whole * sum(cycle) + sum(cycle[:rest])

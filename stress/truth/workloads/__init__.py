"""Programs whose every possible stack is known by construction.

A workload has

    threads                  list of (role, function): what Stage.raise_curtain starts
    files                    the files that its functions are compiled from
    possible(role, stack)    whether a thread of that role can ever be there; role None: a thread that was born later
    below_guests(stack)      the stack below frames that may stand on any stack of the process (hooks, callbacks of the
                             garbage collector), None where those frames themselves are impossible
    family(role, stack)      which of its families the stack belongs to, or None
    mark()                   the time that truth() is of begins, or ends
    truth()                  {family: its true share of the time}, by the program's own clock; {} where it has none
    interval_ns              how often it is looked at; 0: as often as can be

A stack is a list of (qualname, line), from the thread's first function to the innermost.
"""

import importlib

# Name -> module, and what its `make` is called with.
WORKLOADS = {
    "families_5": ("families", {"depth": 5}),
    "families_20": ("families", {"depth": 20}),
    "families_100": ("families", {"depth": 100}),
    **{f"shares_{depth}": ("families", {"depth": depth, "of_time": True}) for depth in (5, 20, 100)},
    "chunks": ("chunks", {}),
    "generators": ("generators", {}),
    "swings": ("swings", {}),
    "exceptions": ("exceptions", {}),
    "callbacks": ("callbacks", {}),
    "classes": ("classes", {}),
    "births": ("births", {}),
    "compiled": ("compiled", {}),
    "hooks": ("hooks", {}),
    "mixture": ("mixture", {}),
}

# How many times the usual share of a run's time a workload's cells have. `swings`, on which looks
# that were not whole went wrong, has half of it; shares need ticks enough to be compared.
WEIGHTS = {"swings": 16.0, **{f"shares_{depth}": 2.0 for depth in (5, 20, 100)}}


def make(name):
    module, arguments = WORKLOADS[name]
    return importlib.import_module(f"workloads.{module}").make(**arguments)


class Workload:
    """What most workloads share: a grammar, and one entry function a role."""

    interval_ns = 0

    def __init__(self):
        self.threads = []
        self.files = set()
        self.entries = {}  # role -> qualname of its entry function

    def cast(self, role, function):
        self.threads.append((role, function))
        self.entries[role] = function.__qualname__

    def possible(self, role, stack):
        below = self.below_guests(stack)
        return below is not None and self.possible_alone(role, below)

    def possible_alone(self, role, stack):
        return role in self.entries and self.grammar.possible(stack, self.entries[role])

    def below_guests(self, stack):
        return stack

    def family(self, role, stack):
        return None

    def mark(self):
        pass

    def truth(self):
        return {}


def own_calls(*entries):
    """The calls that every entry function makes of its stage."""
    return [(entry, f"Stage.{name}") for entry in entries for name in ("enter", "leave")]

"""All the others at once, in one process. What may be called on any thread may here stand on any other's stack."""

from workloads import Workload
from workloads.births import Births
from workloads.callbacks import Callbacks
from workloads.chunks import Chunks
from workloads.classes import Classes
from workloads.compiled import Compiled
from workloads.exceptions import Exceptions
from workloads.families import Families
from workloads.generators import Generators
from workloads.hooks import Hooks
from workloads.swings import Swings


def make():
    return Mixture()


class Mixture(Workload):
    def __init__(self):
        super().__init__()
        self.parts = [
            Families(20, threads=1),
            Chunks(threads=1),
            Generators(),
            Swings(threads=1),
            Exceptions(threads=1),
            Callbacks(threads=1),
            Classes(threads=1),
            Compiled(threads=1),
            Births(),
            Hooks(),
        ]
        self.hooks = self.parts[-1]
        self.births = self.parts[-2]
        self.guests = (self.hooks, self.births)
        self.files = set().union(*(part.files for part in self.parts))
        self.part_of = {role: part for part in self.parts for role, _ in part.threads}
        self.threads = [thread for part in self.parts for thread in part.threads]

    def dress(self, stage):
        for part in self.parts:
            if hasattr(part, "dress"):
                part.dress(stage)

    def below_guests(self, stack):
        """Guests may stand on each other: a removal on a hook, which merges the counts of a dead thread's references, and a
        hook on a removal. A hook does not stand on its own like."""
        last = None
        while stack:
            guest = next((part for part in self.guests if part is not last and part.below_guests(stack) != stack), None)
            if guest is None:
                break
            stack, last = guest.below_guests(stack), guest
        return stack

    def possible_alone(self, role, stack):
        return self.part_of.get(role, self.births).possible_alone(role, stack)

"""A session: which tick becomes whose sample or which reason, from start to stop, over births, deaths and forks.

The rules
1.  One session at a time: a second start is EBUSY, a stop without a session ESRCH. A configuration that cannot be is
    EINVAL and changes nothing.
2.  At the start the thread that the caller named is admitted first, then the interpreter's others, newest first; later,
    at each look, those that were born since. Threads are numbered from 0 as they are admitted.
3.  A thread that is admitted gets the first slot that is free. A slot is free where it belongs to no thread and no
    sample waits in its ring.
4.  A slot has a lease, which moves on when its thread is let go, by the end of the session at the latest. A timer's
    signal carries slot and lease: its seat. There are 2^26 leases: a slot that has had them all is not let again.
    A thread is let go at the first look after its end. One that goes on without a thread state, or with another, is
    the same thread and keeps its slot.
5.  A tick whose seat is current is walked by the state that its thread has then (walker.py), and counted for that slot
    (counters.py). A stack goes into the slot's ring (ring.py); where that has no room the tick is `ring_full`. A thread
    without a state runs without Python: its stack has no frames, and is a detached one.
6.  A tick of another lease belongs to no thread: `no_thread_state` during a session, `busy` without one. A tick
    of a slot that was never made is `no_thread_state`.
7.  A sample says how many code objects had died before its walk.
8.  With a sink the session hands its samples over by itself, all of them by the end of the stop; to drain it is EBUSY,
    then too. Without one they wait for a drain, oldest first within a slot, slot by slot, until the next start.
9.  The counters are those since the last start. A stop freezes them, but for the ticks of no thread, which are
    counted on unseen.
10. A forked child has the calling thread alone, no session, no samples, counters of 0, and can start a session of its
    own. The parent's goes on.
"""

from dataclasses import dataclass, field

from model.counters import Counters
from model.ring import Ring
from model.walker import Verdict

OK, EBUSY, EINVAL, ESRCH = "ok", "EBUSY", "EINVAL", "ESRCH"

HEAD_WORDS, FRAME_WORDS = 5, 2  # of a sample in a ring
LEASES = 1 << 26  # that one slot has in its life


def words_of(depth):
    return HEAD_WORDS + FRAME_WORDS * depth


@dataclass(frozen=True)
class Config:
    interval: int  # nanoseconds
    max_depth: int = 0  # 0: 1024
    ring_bytes: int = 0  # 0: 65536, or what four of the deepest stacks need
    has_sink: bool = False

    @property
    def depth(self):
        return self.max_depth or 1024

    @property
    def longest(self):
        """Bytes of the deepest stack in a ring, with the word for its length."""
        return 8 * (1 + words_of(self.depth))

    @property
    def ring(self):
        size = self.ring_bytes or 65536
        while not self.ring_bytes and size < 4 * self.longest:
            size *= 2
        return size

    @property
    def is_sound(self):
        return (
            100_000 <= self.interval <= 10_000_000_000
            and self.depth <= 4096
            and 4096 <= self.ring <= 1 << 24
            and self.ring.bit_count() == 1
            and self.ring >= self.longest
        )


@dataclass(frozen=True)
class Sample:
    thread: int  # its number in the session
    tid: int
    weight: int
    generation: int  # deaths of code objects before the walk
    detached: bool
    truncated: bool
    frames: tuple


@dataclass
class Slot:
    lease: int
    tid: int | None = None  # of the thread that it belongs to
    number: int | None = None  # of that thread, or of the last one
    ring: Ring | None = None  # of words; each record's sample is kept in `samples`
    samples: list = field(default_factory=list)

    @property
    def is_free(self):
        return self.tid is None and not self.samples and self.lease < LEASES

    def give_up(self):
        self.lease += self.tid is not None
        self.tid = None


class Session:
    """`leases`: of the slots that there are already. `threads`: those with a state of the interpreter, newest first, by
    tid; `living`: those that have not ended."""

    def __init__(self, leases=(), threads=(), deaths=0):
        self.slots = [Slot(lease) for lease in leases]
        self.threads = list(threads)
        self.living = set(threads)
        self.deaths = deaths
        self.active = False
        self.config = None  # of the session that was started last
        self.admitted = []  # tids by number
        self.counters = Counters()  # frozen by a stop
        self.strays = Counters()  # ticks of no thread since the last start, after a stop too
        self.delivered = []  # to the sink

    # --- start and stop ---

    def start(self, config, caller):
        if self.active:
            return EBUSY
        if not config.is_sound:
            return EINVAL
        for slot in self.slots:
            slot.tid, slot.ring, slot.samples = None, None, []
        self.active, self.config = True, config
        self.counters, self.strays = Counters(), Counters()
        self.admitted, self.delivered = [], []
        self.admit(caller)
        self.look()
        return OK

    def stop(self):
        if not self.active:
            return ESRCH
        for slot in self.slots:
            slot.give_up()
        self.active = False
        return OK

    # --- threads ---

    def admit(self, tid):
        slot = next((slot for slot in self.slots if slot.is_free), None)
        if slot is None:
            slot = Slot(lease=0)
            self.slots.append(slot)
        slot.tid, slot.number = tid, len(self.admitted)
        slot.ring = Ring(self.config.ring // 8)
        self.admitted.append(tid)

    def look(self):
        """New threads get slots, then threads that have ended lose theirs."""
        for tid in self.threads:
            if all(slot.tid != tid for slot in self.slots):
                self.admit(tid)
        for slot in self.slots:
            if slot.tid is not None and slot.tid not in self.living:
                slot.give_up()

    def birth(self, tid):
        self.threads.insert(0, tid)
        self.living.add(tid)

    def death(self, tid):
        self.living.remove(tid)
        if tid in self.threads:
            self.threads.remove(tid)

    def seats(self):
        """What the signals of the timers that run carry."""
        return [(number, slot.lease) for number, slot in enumerate(self.slots) if slot.tid is not None]

    def seat_of(self, tid):
        """What the signals of the thread's timer carry."""
        number = next(number for number, slot in enumerate(self.slots) if slot.tid == tid)
        return number, self.slots[number].lease

    # --- ticks ---

    def tick(self, seat, weight, walk, unguarded=False):
        """A signal from a timer. `walk()` gives the verdict on the stack of the thread that the slot belongs to, where
        it has a state. The tick's outcome, which is counted only while a session is active."""
        number, lease = seat
        if number >= len(self.slots):
            return self.stray(weight, "no_thread_state")
        slot = self.slots[number]
        if not self.active:
            return self.stray(weight, "busy")
        if slot.lease != lease:
            return self.stray(weight, "no_thread_state")
        verdict = walk() if slot.tid in self.threads else Verdict("captured", detached=True)
        outcome = verdict.outcome
        if outcome == "captured":
            outcome = self.keep(slot, weight, verdict)
        self.counters.tick(weight, outcome, unguarded)
        return outcome

    def stray(self, weight, outcome):
        self.strays.stray(weight, outcome)
        if self.active:
            self.counters.stray(weight, outcome)
        return outcome

    def keep(self, slot, weight, verdict):
        sample = Sample(slot.number, slot.tid, weight, self.deaths, verdict.detached, verdict.truncated, verdict.frames)
        if self.config.has_sink:
            self.delivered.append(sample)
            return "captured"
        if not slot.ring.push([0] * words_of(len(verdict.frames))):
            return "ring_full"
        slot.samples.append(sample)
        return "captured"

    def code_died(self):
        self.deaths += 1
        return self.deaths

    # --- samples ---

    def drain(self):
        """The samples that waited, or EBUSY."""
        if self.config is not None and self.config.has_sink:
            return EBUSY
        drained = []
        for slot in self.slots:
            drained += slot.samples
            slot.samples = []
            if slot.ring is not None:
                slot.ring = Ring(slot.ring.capacity)
        return drained

    # --- fork ---

    def child(self, tid):
        """What a forked child begins with, whose one thread has that tid."""
        return Session([slot.lease + (slot.tid is not None) for slot in self.slots], [tid], self.deaths)

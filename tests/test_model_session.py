"""A real session beside its model: starts, stops, ticks, drains, births, deaths and forks in any order.

The interpreter is synthetic, everything else is not: real threads, the kernel's signals, the installed handler, the
session's own thread, a real fork. The timers run too, but at an interval of 10 s of CPU time, which no thread here
lives long enough to use: a tick is a signal that a thread sends to itself with the value that its timer's would carry.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import platform
import queue
import resource
import signal
import struct
import threading
import time
from collections import Counter

import pytest
import synthetic
import test_layout
from fresh import HANG_SECONDS, forked
from fresh import check as in_child
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model_image import EXTENT, PAGE, Arena, Image, RealMemory
from profiles import examples, must_reach
from synthetic import FIELDS
from test_model_ring import compare_stats

from model import OUTCOMES, session, walker

NAME = "3.14t"
INTERVAL = 10_000_000_000  # of CPU time: the longest that there is
MOST_THREADS = 5
MOST_FRAMES = 12
SI_TIMER, SI_USER = -2, 0
PR_SET_NAME = 15
RT_TGSIGQUEUEINFO = {"x86_64": 297, "aarch64": 240}[platform.machine()]
ERRORS = {0: session.OK} | {-getattr(errno, name): name for name in (session.EBUSY, session.EINVAL, session.ESRCH)}
SINK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(synthetic.Sample))


def wait_until(condition):
    until = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < until, "what the session should do at its next look has not been done"
        time.sleep(0.0005)


class Worker:
    """A thread that does what it is told."""

    def __init__(self, name=None):
        """`name`: as the kernel is to know it."""
        self.orders, self.answers = queue.SimpleQueue(), queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        self.tid = self.thread.native_id
        if name is not None:
            self.do(lambda: synthetic.libc.prctl(PR_SET_NAME, name, 0, 0, 0))

    def _serve(self):
        for order in iter(self.orders.get, None):
            try:
                self.answers.put((order(), None))
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                self.answers.put((None, error))

    def do(self, order):
        self.orders.put(order)
        answer, error = self.answers.get(timeout=HANG_SECONDS)
        if error is not None:
            raise error
        return answer

    def end(self):
        self.orders.put(None)
        self.thread.join(HANG_SECONDS)
        assert not self.thread.is_alive()


def place_for_images():
    """Addresses above the threads' stacks, because an entry frame lies above the stack pointer at the signal; and below
    the initial thread's, which has them to itself down to its limit."""
    with open("/proc/self/maps") as maps:
        top = next(int(line.split("-")[1].split()[0], 16) for line in maps if "[stack]" in line)
    limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
    room = (8 << 20 if limit == resource.RLIM_INFINITY else limit) + (4 << 20)
    return (top - room - MOST_THREADS * EXTENT - (1 << 20)) // PAGE * PAGE


class World:
    """The interpreter that is sampled: its table of offsets, its list of threads and their stacks."""

    def __init__(self, library):
        self.library = library
        self.base = place_for_images()
        self.arenas = [Arena(self.base + number * EXTENT, EXTENT) for number in range(MOST_THREADS)]
        self.stacks_end = self.base + MOST_THREADS * EXTENT
        self.identities = itertools.count(self.stacks_end + 64, 64)
        self.runtime = ctypes.create_string_buffer(test_layout.table(NAME), 4096)
        self.interpreter = ctypes.create_string_buffer(FIELDS[NAME]["interpreter.size"])
        self.head = ctypes.addressof(self.interpreter) + FIELDS[NAME]["interpreter.threads_head"]
        self.code_type = ctypes.create_string_buffer(64)
        self.sampler = synthetic.Sampler.in_dll(library, "sampler")
        library.spprof_start.argtypes = [ctypes.c_void_p]
        library.spprof_drain.argtypes = [SINK, ctypes.c_void_p]
        library.spprof_drain.restype = ctypes.c_int64
        library.spprof_is_active.restype = ctypes.c_bool
        library.spprof_code_died.argtypes = [ctypes.c_void_p]
        library.spprof_code_died.restype = ctypes.c_uint64
        library.spprof_thread_name.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_char_p]
        library.spprof_thread_name.restype = library.spprof_thread_time.restype = ctypes.c_bool
        library.spprof_thread_time.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
        self.threads = []  # that have a state, newest first

    def close(self):
        for arena in self.arenas:
            arena.close()

    # --- the interpreter ---

    def free_arena(self):
        taken = {thread.arena for thread in self.threads}
        return next(arena for arena in self.arenas if arena not in taken)

    def birth(self, name=None):
        thread = Thread(self, self.free_arena(), name)
        self.link(thread)
        return thread

    def link(self, thread):
        self.threads.insert(0, thread)
        thread.put_field("thread.next", synthetic.get_word(self.head))
        synthetic.put_word(self.head, thread.image.subject.state)

    def unlink(self, thread):
        """Its state is not in the list any more. The thread goes on."""
        number = self.threads.index(thread)
        following = thread.get_field("thread.next")
        if number > 0:
            self.threads[number - 1].put_field("thread.next", following)
        else:
            synthetic.put_word(self.head, following)
        self.threads.remove(thread)

    # --- the core ---

    def make_config(self, config, caller, sink=None):
        return synthetic.Config(
            size=ctypes.sizeof(synthetic.Config),
            interval=config.interval,
            max_depth=config.max_depth,
            ring_bytes=config.ring_bytes,
            runtime=ctypes.addressof(self.runtime),
            code_type=ctypes.addressof(self.code_type),
            thread_state=caller.image.subject.state,
            sink=synthetic.address_of(sink) if config.has_sink else None,
        )

    def start(self, config, caller, sink=None):
        core = self.make_config(config, caller, sink)
        return ERRORS[self.library.spprof_start(ctypes.byref(core))]

    def stop(self):
        return ERRORS[self.library.spprof_stop()]

    def drain(self):
        """Samples, or the error's name."""
        drained = []
        count = self.library.spprof_drain(SINK(lambda _, sample: drained.append(sample_of(sample[0]))), None)
        if count < 0:
            return ERRORS[count]
        assert count == len(drained)
        return drained

    def stats(self):
        stats = synthetic.Stats(size=ctypes.sizeof(synthetic.Stats))
        assert self.library.spprof_get_stats(ctypes.byref(stats)) == 0
        return stats

    def slots(self):
        made = itertools.takewhile(bool, self.sampler.slots)
        return [synthetic.Slot.from_address(address) for address in made]

    def leases(self):
        return [slot.lease for slot in self.slots()]

    def names(self):
        """Thread ids by number, for as long as there are any."""
        tid, name = ctypes.c_int32(), ctypes.create_string_buffer(16)
        tids = []
        while self.library.spprof_thread_name(len(tids), ctypes.byref(tid), name):
            tids.append(tid.value)
        return tids

    def signal(self, seat, weight=1, code=SI_TIMER, cookie=0):
        """Sends our signal to the calling thread; it has been handled when this returns."""
        number, lease = seat
        own = ctypes.c_uint32.in_dll(self.library, "tick_cookie").value
        value = synthetic.tick_value(number, lease, own ^ cookie)
        ours = self.library.spprof_signal()
        info = struct.pack("=iiixxxxiiQ", ours, 0, code, 0, weight - 1, value).ljust(128, b"\0")
        send = (os.getpid(), threading.get_native_id(), ours)
        assert synthetic.libc.syscall(RT_TGSIGQUEUEINFO, *send, info) == 0


class Thread:
    """A thread of the interpreter, and the stack that it is thought to have."""

    def __init__(self, world, arena, name=None):
        self.world, self.arena = world, arena
        self.worker = Worker(name)
        self.tid = self.worker.tid
        self.identity = next(world.identities)
        self.rebuild()

    def give_up_state(self):
        image = self.image
        image.put_status(image.layout.bound | image.layout.unbound)
        self.world.unlink(self)

    def take_state(self):
        """Another one, as a rule."""
        self.arena, self.image = self.world.free_arena(), None
        self.rebuild()
        self.world.link(self)

    def rebuild(self):
        """An empty stack. The thread state stays where it is, and in the list."""
        state = getattr(self, "image", None) and self.image.subject.state
        following = self.get_field("thread.next") if state else 0
        if state is None:
            self.arena.clear()
        self.image = Image(NAME, base=self.arena.base, tid=self.tid, memory=RealMemory(self.arena))
        assert state in (None, self.image.subject.state)
        self.image.set(
            code_type=ctypes.addressof(self.world.code_type), stack_low=self.arena.base, stack_high=self.identity
        )
        self.put_field("thread.next", following)
        self.put_field("thread.interpreter", ctypes.addressof(self.world.interpreter))
        self.put_field("thread.thread_id", self.identity)

    def put_field(self, field, value):
        self.image.put(self.image.subject.state + FIELDS[NAME][field], value)

    def get_field(self, field):
        return self.image.get(self.image.subject.state + FIELDS[NAME][field])

    def walk(self, max_depth):
        self.image.set(max_depth=max_depth)
        return walker.walk(self.image.subject, self.image.memory.peek)


def sample_of(sample):
    """The model's form of a sample of the core's. It names what the frames carry besides only once."""
    frames = sample.frames[: sample.depth]
    assert {frame.generation for frame in frames} <= {frames[0].generation if frames else None}
    return session.Sample(
        thread=sample.thread,
        tid=sample.tid,
        weight=sample.weight,
        generation=frames[0].generation if frames else None,
        detached=bool(sample.flags & 1),
        truncated=bool(sample.flags & 2),
        frames=tuple((frame.code, frame.instruction, frame.first_line) for frame in frames),
    )


def comparable(samples):
    """A sample without frames does not show its generation."""
    if isinstance(samples, str):
        return samples
    return [
        session.Sample(**{**vars(sample), "generation": sample.generation if sample.frames else None})
        for sample in samples
    ]


WITHOUT_SINK = st.builds(
    session.Config,
    interval=st.just(INTERVAL),
    max_depth=st.sampled_from([1, 4, 20, 60]),
    ring_bytes=st.sampled_from([4096, 4096, 8192]),
)
WITH_SINK = session.Config(INTERVAL, ring_bytes=1 << 20, has_sink=True)
# The deepest stack that a ring of that size has room for, and one deeper.
EDGE = st.builds(
    session.Config, interval=st.just(INTERVAL), max_depth=st.sampled_from([253, 254]), ring_bytes=st.just(4096)
)
ANY = st.builds(
    session.Config,
    interval=st.sampled_from([0, 99_999, INTERVAL, INTERVAL + 1]),
    max_depth=st.sampled_from([0, 1, 4096, 4097]),
    ring_bytes=st.sampled_from([0, 1024, 2048, 4096, 5000, 1 << 20, 1 << 24, 1 << 25]),
)
WEIGHTS = st.integers(1, 5) | st.just(1 << 20)

# Where to write what, by what it comes to.
DAMAGE = {
    "bounds": lambda image: (image.links()[0], 8),
    "alignment": lambda image: (image.links()[0], image.innermost + 4),
    "fault": lambda image: (image.links()[0], 0x10000),  # below all that this process has mapped
    "incomplete": lambda image: (image.of_kind("call", "resume")[-1].address + image.layout.previous, 0),
    "code_range": lambda image: (image.of_kind("call")[-1].address + image.layout.instr_ptr, 8),
}

reached = Counter()  # outcomes of ticks, and answers of calls, over all runs of the machine


class SessionMachine(RuleBasedStateMachine):
    library = None

    @initialize(threads=st.integers(1, 3), first=st.sampled_from(["sink", "no sink", "none"]), config=WITHOUT_SINK)
    def begin(self, threads, first, config):
        self.world = World(self.library)
        self.delivered = []
        self.sink = SINK(lambda _, sample: self.delivered.append(sample_of(sample[0])))
        self.late = []  # seats that were current once
        self.outside = []  # threads without a state
        deaths = self.library.spprof_code_died(None)
        self.model = session.Session(self.world.leases(), deaths=deaths)
        for _ in range(threads):
            self.birth()
        self.forget_the_last_run()
        if first != "none":
            self.start(0, WITH_SINK if first == "sink" else config)

    def forget_the_last_run(self):
        """What the process's last session left behind is gone once another was started."""
        config, caller = session.Config(INTERVAL), self.world.threads[0]
        assert self.world.start(config, caller) == self.model.start(config, caller.tid) == session.OK
        assert self.world.stop() == self.model.stop() == session.OK

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.world.stop()
        for thread in [*self.world.threads, *self.outside]:
            thread.worker.end()
        self.world.drain()
        self.world.close()

    def some_thread(self, number):
        return self.world.threads[number % len(self.world.threads)]

    def has_threads(self):
        return bool(self.world.threads)

    # --- threads ---

    def has_room(self):
        return len(self.world.threads) < MOST_THREADS

    def await_births(self):
        if self.model.active:
            self.model.look()
            wait_until(lambda: self.world.stats().threads == len(self.model.admitted))

    def await_deaths(self):
        if self.model.active:
            self.model.look()
            wait_until(lambda: self.world.leases() == [slot.lease for slot in self.model.slots])

    @precondition(has_room)
    @rule()
    def birth(self):
        self.model.birth(self.world.birth().tid)
        self.await_births()

    @precondition(has_threads)
    @rule(number=st.integers(0, 9))
    def death(self, number):
        thread = self.some_thread(number)
        if self.model.active:
            self.late.append(self.model.seat_of(thread.tid))
        self.world.unlink(thread)
        thread.worker.end()
        self.model.death(thread.tid)
        self.await_deaths()

    @precondition(has_threads)
    @rule(number=st.integers(0, 9))
    def give_up_state(self, number):
        """As C code does after each of its calls into Python."""
        thread = self.some_thread(number)
        thread.give_up_state()
        self.outside.append(thread)
        self.model.threads.remove(thread.tid)

    @precondition(lambda self: self.outside and self.has_room())
    @rule(number=st.integers(0, 9))
    def take_state(self, number):
        thread = self.outside.pop(number % len(self.outside))
        thread.take_state()
        self.model.threads.insert(0, thread.tid)
        reached["known thread" if thread.tid in {slot.tid for slot in self.model.slots} else "unknown thread"] += 1
        self.await_births()

    @precondition(lambda self: self.outside)
    @rule(number=st.integers(0, 9))
    def death_without_a_state(self, number):
        thread = self.outside.pop(number % len(self.outside))
        self.late += [(which, slot.lease) for which, slot in enumerate(self.model.slots) if slot.tid == thread.tid]
        thread.worker.end()
        self.model.death(thread.tid)
        self.await_deaths()

    # --- stacks ---

    @precondition(has_threads)
    @rule(number=st.integers(0, 9), kinds=st.lists(st.sampled_from(["call", "resume", "enter", "hidden"]), max_size=4))
    def push(self, number, kinds):
        image = self.some_thread(number).image
        for kind in kinds if image.frames else ["enter", *kinds]:
            if len(image.frames) < MOST_FRAMES or (kind == "call" and not image.of_kind("call")):
                image.push(kind, 3)

    @precondition(has_threads)
    @rule(number=st.integers(0, 9))
    def unwind(self, number):
        self.some_thread(number).rebuild()

    @precondition(has_threads)
    @rule(number=st.integers(0, 9), attached=st.booleans())
    def attach(self, number, attached):
        image = self.some_thread(number).image
        image.put_status(image.layout.bound | image.layout.active * attached)

    @rule()
    def code_dies(self):
        assert self.library.spprof_code_died(None) == self.model.code_died()

    # --- ticks ---

    def tick(self, thread, seat, weight, unguarded=False):
        """A tick with that seat, taken by that thread."""
        owner = self.owner_of(seat)
        depth = self.model.config.depth if self.model.active else 1
        outcome = self.model.tick(seat, weight, lambda: owner.walk(depth), unguarded)
        reached[outcome] += 1
        if unguarded:
            thread.worker.do(lambda: signal_blocked(self.world, seat, weight))
        else:
            thread.worker.do(lambda: self.world.signal(seat, weight))

    def owner_of(self, seat):
        """The thread that the seat's slot belongs to."""
        tid = self.model.slots[seat[0]].tid if seat[0] < len(self.model.slots) else None
        return next((thread for thread in self.world.threads if thread.tid == tid), None)

    @precondition(lambda self: self.model.active and self.outside)
    @rule(number=st.integers(0, 9), weight=WEIGHTS, unguarded=st.booleans())
    def tick_of_a_thread_without_a_state(self, number, weight, unguarded):
        thread = self.outside[number % len(self.outside)]
        if thread.tid in {slot.tid for slot in self.model.slots}:
            self.tick(thread, self.model.seat_of(thread.tid), weight, unguarded)
            reached["without a state"] += 1

    @precondition(lambda self: self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9), weight=WEIGHTS, unguarded=st.booleans())
    def tick_of_a_thread(self, number, weight, unguarded):
        thread = self.some_thread(number)
        self.tick(thread, self.model.seat_of(thread.tid), weight, unguarded)

    @precondition(lambda self: self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9))
    def ticks_that_fill_a_ring(self, number):
        """But a sink's, which is emptied at once."""
        thread = self.some_thread(number)
        thread.rebuild()
        for _ in range(20 if self.model.config.has_sink else 180):
            self.tick(thread, self.model.seat_of(thread.tid), 1)

    @precondition(lambda self: self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9), unguarded=st.booleans())
    def ticks_of_a_damaged_stack(self, number, unguarded):
        """In every way, one after the other."""
        thread = self.some_thread(number)
        self.push(number, ["call"])
        for place in DAMAGE.values():
            link, value = place(thread.image)
            saved = thread.image.get(link)
            thread.image.put(link, value)
            self.tick(thread, self.model.seat_of(thread.tid), 1, unguarded)
            thread.image.put(link, saved)

    @precondition(lambda self: self.late and self.world.threads)
    @rule(number=st.integers(0, 9), which=st.integers(0, 99), weight=WEIGHTS)
    def late_tick(self, number, which, weight):
        self.tick(self.some_thread(number), self.late[which % len(self.late)], weight)

    @precondition(lambda self: not self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9), which=st.integers(0, 99), weight=WEIGHTS)
    def tick_between_sessions(self, number, which, weight):
        """Even one whose lease is the slot's present one."""
        which %= len(self.model.slots)
        self.tick(self.some_thread(number), (which, self.model.slots[which].lease), weight)

    @precondition(lambda self: self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9))
    def thread_takes_the_place_of_one_with_samples(self, number):
        """They are still there when they are drained."""
        self.tick_of_a_thread(number, 1, unguarded=False)
        self.death(number)
        self.birth()
        self.drain()

    @precondition(has_threads)
    @rule(number=st.integers(0, 9), slot=st.sampled_from([900, synthetic.SLOTS_MAX - 1]))
    def tick_of_no_slot(self, number, slot):
        self.tick(self.some_thread(number), (slot, 0), 1)

    @precondition(lambda self: self.model.active and self.world.threads)
    @rule(number=st.integers(0, 9), foreign=st.sampled_from([{"code": SI_USER}, {"code": -1}, {"cookie": 1}]))
    def signal_of_somebody_else(self, number, foreign):
        thread = self.some_thread(number)
        seat = self.model.seat_of(thread.tid)
        thread.worker.do(lambda: self.world.signal(seat, **foreign))

    # --- the session ---

    @precondition(has_threads)
    @rule(number=st.integers(0, 9), config=st.just(WITH_SINK) | WITHOUT_SINK | EDGE | ANY)
    def start(self, number, config):
        caller = self.some_thread(number)
        answer = self.model.start(config, caller.tid)
        assert self.world.start(config, caller, self.sink) == answer
        reached[f"start {answer}"] += 1
        if answer == session.OK:
            self.delivered.clear()

    @rule()
    def stop(self):
        self.late += self.model.seats()
        answer = self.model.stop()
        assert self.world.stop() == answer
        reached[f"stop {answer}"] += 1
        if answer == session.OK:
            assert self.world.names() == self.model.admitted
            assert by_thread(self.delivered) == by_thread(comparable(self.model.delivered))

    @rule()
    def drain(self):
        drained = self.model.drain()
        assert self.world.drain() == comparable(drained)
        reached["drain " + (drained if isinstance(drained, str) else "some" if drained else "none")] += 1

    # --- fork ---

    @precondition(lambda self: self.world.threads and not (self.model.active and self.model.config.has_sink))
    @rule(number=st.integers(0, 9))
    def fork(self, number):
        """By one of the threads. Not beside a sink that is Python code: os.fork holds the interpreter's lock, which the
        session's thread then waits for with its own locks held."""
        thread = self.some_thread(number)
        complaint = thread.worker.do(lambda: forked(lambda: self.check_child(thread)))
        assert not complaint, complaint
        reached["fork " + ("active" if self.model.active else "idle")] += 1

    def check_child(self, thread):
        """Runs in the child, on its one thread."""
        world, seats = self.world, [*self.late, *self.model.seats()]
        here = self.model.child(threading.get_native_id())
        assert not world.library.spprof_is_active()
        assert world.stop() == session.ESRCH
        assert world.drain() == []
        compare_stats(world.stats(), here.counters)
        assert world.names() == []
        thread.tid = threading.get_native_id()
        for other in list(world.threads):
            if other is not thread:
                world.unlink(other)
        thread.rebuild()
        for seat in seats:
            world.signal(seat)
        assert world.drain() == []
        config = session.Config(INTERVAL, 20, 4096)
        assert world.start(config, thread) == here.start(config, thread.tid) == session.OK
        thread.image.push("enter")
        thread.image.push("call", 5)
        for seat in [*seats, here.seat_of(thread.tid)]:
            world.signal(seat, 3)
            here.tick(seat, 3, lambda: thread.walk(20))
        compare_stats(world.stats(), here.counters)
        assert here.counters.by_reason["captured"] >= 3
        assert world.stop() == here.stop() == session.OK
        compare_stats(world.stats(), here.counters)
        assert world.drain() == comparable(here.drain())

    # --- what always holds ---

    @invariant()
    def same(self):
        if not hasattr(self, "world"):
            return
        assert self.library.spprof_is_active() == self.model.active
        assert self.world.leases() == [slot.lease for slot in self.model.slots]
        stats = self.world.stats()
        compare_stats(stats, self.model.counters)
        assert stats.threads == len(self.model.admitted)
        assert stats.threads_refused == 0
        strays = dict(zip(OUTCOMES, self.world.sampler.strays.by_reason, strict=True))
        assert {name: count for name, count in strays.items() if count} == dict(self.model.strays.by_reason)


def by_thread(samples):
    """The sink gets the samples of different threads in any order."""
    return sorted(samples, key=lambda sample: sample.thread)


def signal_blocked(world, seat, weight):
    """With SIGSEGV blocked, so that a guarded load would be fatal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV})
    try:
        world.signal(seat, weight)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def former_owner(harness):
    """A signal of ours that is not the session's goes to whoever had it before; here it may do no harm."""
    ours = harness.spprof_signal()
    before = signal.signal(ours, signal.SIG_IGN)
    yield
    signal.signal(ours, before)


def test_core_and_model_agree(harness, former_owner):
    SessionMachine.library = harness
    reached.clear()
    run_state_machine_as_test(
        SessionMachine,
        settings=settings(examples(2), suppress_health_check=list(HealthCheck)),
    )
    wanted = {
        *DAMAGE, "captured", "ring_full", "busy", "no_thread_state", "start ok",
        "start EBUSY", "start EINVAL", "stop ok", "stop ESRCH", "drain some", "drain none", "drain EBUSY",
        "fork active", "fork idle", "known thread", "unknown thread", "without a state",
    }  # fmt: skip
    must_reach(wanted, reached)


def test_a_session_says_what_a_long_look_is_and_lets_nobody_rest_yet(harness, former_owner):
    """A quarter of the interval and at least 0.25 ms; what the slot's former thread had to rest is not the next one's."""
    world = World(harness)
    thread = world.birth()
    for interval, long_look in ((1_000_000_000, 250_000_000), (1_000_004, 250_001), (100_000, 250_000)):
        assert world.start(session.Config(interval), thread) == session.OK
        (slot,) = (slot for slot in world.slots() if slot.tid == thread.tid)
        assert (world.sampler.long_look, slot.rest_until) == (long_look, 0)
        slot.rest_until = 1 << 62
        assert world.stop() == session.OK
    thread.worker.end()
    world.close()


def test_a_slot_is_not_let_again_after_its_last_lease(harness, former_owner):
    """So no signal that a thread has held back, however long, is ever taken for a later tenant's."""
    world = World(harness)
    thread = world.birth()
    config = session.Config(INTERVAL)

    def seats_of_a_session(*late):
        """What the thread's slot is called, and what late ticks come to."""
        assert world.start(config, thread) == session.OK
        let = [slot.tid == thread.tid and slot.lease < synthetic.LEASES for slot in world.slots()]
        seat = (let.index(True), world.leases()[let.index(True)])
        for tick in (seat, *late):
            thread.worker.do(lambda tick=tick: world.signal(tick))
        assert world.stop() == session.OK
        return seat, world.stats().outcomes

    seats_of_a_session()
    first = world.slots()[0]
    before, first.lease = first.lease, synthetic.LEASES - 1
    last, outcomes = seats_of_a_session()
    assert (last, outcomes) == ((0, synthetic.LEASES - 1), {"captured": 1})
    other, outcomes = seats_of_a_session(last, (0, 0))
    assert other[0] != 0 and outcomes == {"captured": 1, "no_thread_state": 2}
    assert first.lease == synthetic.LEASES
    first.lease = before + 1
    thread.worker.end()
    world.close()


@contextlib.contextmanager
def no_more_timers():
    soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (soft, hard))


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A core on a kernel without high-resolution timers, where a thread must have one."""
    return synthetic.build(tmp_path_factory.mktemp("native"), "coarse.c", "-shared", "-fvisibility=hidden")


def refused_for_want_of_timers(path):
    world = World(ctypes.CDLL(str(path)))
    caller = world.birth()
    assert world.start(session.Config(INTERVAL), caller) == session.OK
    with no_more_timers():
        ended = [world.birth()]
        wait_until(lambda: world.stats().threads_refused >= 1)
        ended.append(world.birth())
        wait_until(lambda: world.stats().threads_refused >= 2)
        assert world.stats().threads_refused == 2, "the first was counted again at a later look"
        leases = world.leases()
        for thread in ended:
            world.unlink(thread)
        later = [world.birth(), world.birth()]
        wait_until(lambda: world.stats().threads_refused >= 4)
        assert world.leases() == leases, "a refusal has spent a lease"
    wait_until(lambda: world.stats().threads == 3)
    assert world.stats().threads_refused == 4
    assert world.stop() == session.OK
    assert world.start(session.Config(INTERVAL), caller) == session.OK
    assert (world.stats().threads, world.stats().threads_refused) == (3, 0), "another session's are counted on"
    assert world.stop() == session.OK
    for thread in [caller, *ended, *later]:
        thread.worker.end()
    world.close()


def test_threads_that_get_no_timer_are_counted_once_and_spend_no_lease(coarse):
    """Two that end without one, and two that get one at a later look."""
    in_child(refused_for_want_of_timers, coarse)


def ended_where_no_clock_is_read(path):
    world = World(ctypes.CDLL(str(path)))
    caller, other = world.birth(), world.birth()
    assert world.start(session.Config(INTERVAL), caller) == session.OK
    leases = Counter(world.leases())
    other.give_up_state()
    other.worker.end()
    wait_until(lambda: Counter(world.leases()) != leases)
    assert world.stop() == session.OK
    caller.worker.end()
    world.close()


def test_thread_that_ended_is_let_go_where_timers_say_when_ticks_are_due(coarse):
    """Nobody else reads its clock there."""
    in_child(ended_where_no_clock_is_read, coarse)


def says_how_fine_ticks_are(path, mode, is_fine):
    world = World(ctypes.CDLL(str(path)))
    caller = world.birth()
    config = world.make_config(session.Config(INTERVAL), caller)
    config.mode = mode
    assert world.library.spprof_start(ctypes.byref(config)) == 0
    assert (world.stats().clock_step == 0) == is_fine
    assert world.stop() == session.OK
    caller.worker.end()
    world.close()


@pytest.mark.parametrize("mode", [0, 1])
def test_ticks_are_coarse_only_where_the_kernels_timers_are_and_cpu_time_says_when(harness, coarse, mode):
    """By the clock (mode 1) they are the session's own."""
    in_child(says_how_fine_ticks_are, harness._name, mode, True)
    in_child(says_how_fine_ticks_are, coarse, mode, mode == 1)


def test_slots_begin_on_a_cache_line(harness, former_owner):
    world = World(harness)
    threads = [world.birth() for _ in range(3)]
    assert world.start(session.Config(INTERVAL), threads[0]) == session.OK
    assert len(world.slots()) >= 3 and all(ctypes.addressof(slot) % 64 == 0 for slot in world.slots())
    assert world.stop() == session.OK
    for thread in threads:
        thread.worker.end()
    world.close()


def test_a_second_start_is_refused(harness, former_owner):
    world = World(harness)
    thread = world.birth()
    answers = [world.start(session.Config(INTERVAL), thread) for _ in range(2)]
    stopped = [world.stop() for _ in range(2)]
    thread.worker.end()
    world.close()
    assert (answers, stopped) == ([session.OK, session.EBUSY], [session.OK, session.ESRCH])

"""Handlers that do not come out of their slots: whoever waits for them gives up, and nothing of theirs is used again.

A thread may be stopped by a debugger in the midst of a tick, or have a lower real-time priority than the thread that
stops the session. Here a slot's count of handlers says so. Each test has a process of its own.
"""

import ctypes
import signal
import threading

import pytest
import synthetic
from fresh import check as in_child
from fresh import forked
from test_model_session import INTERVAL, SINK, World, sample_of, wait_until

from model import session

NAPS = 1000  # in all, while a stop waits
HEAD_WORDS = 5


@pytest.fixture(scope="session")
def stuck(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "stuck.c", "-shared")


class Stage:
    """A session of two threads on a library of its own."""

    def __init__(self, path, sink=False):
        self.library = ctypes.CDLL(str(path))
        self.library.signals_in_front.restype = ctypes.c_bool
        self.world = World(self.library)
        self.threads = [self.world.birth(), self.world.birth()]
        self.delivered = []
        self.sink = SINK(lambda _, sample: self.delivered.append(sample_of(sample[0])))
        self.config = session.Config(INTERVAL, ring_bytes=4096, max_depth=8, has_sink=sink)
        self.start()

    def start(self):
        assert self.world.start(self.config, self.threads[0], self.sink) == session.OK
        wait_until(lambda: self.world.stats().threads == len(self.threads))

    def slot_of(self, thread):
        """The slot that was let to the thread last, where it has had several."""
        return max((slot for slot in self.world.slots() if slot.tid == thread.tid), key=lambda slot: slot.thread)

    def tick(self, thread, weight=1):
        slots = self.world.slots()
        number = next(number for number, slot in enumerate(slots) if same(slot, self.slot_of(thread)))
        thread.worker.do(lambda: self.world.signal((number, slots[number].lease), weight))

    def stop_in_time(self):
        signal.alarm(20)
        assert self.world.stop() == session.OK
        signal.alarm(0)
        return self.world.stats()

    @property
    def naps(self):
        return ctypes.c_uint.in_dll(self.library, "naps")


def same(left, right):
    return ctypes.addressof(left) == ctypes.addressof(right)


def finish_late(library, slot):
    """What a handler does that comes out at last: puts a stack into its ring, ends its tick, and leaves."""
    record = (ctypes.c_uint64 * HEAD_WORDS)(0, slot.thread, 0, slot.tid)
    ctypes.memset(slot.scratch, 0xEE, ctypes.sizeof(synthetic.RecordHead))
    assert library.ring_push(ctypes.byref(slot.ring), record, HEAD_WORDS)
    library.counters_end(ctypes.byref(slot.counters), 3, 0)
    slot.inside -= 1


# --- a stop -------------------------------------------------------------------------------------------------


def stop_beside_a_stuck_handler(path, has_sink):
    stage = Stage(path, has_sink)
    first, second = stage.threads
    stage.tick(first)
    stage.tick(second, 2)
    slot = stage.slot_of(first)
    stage.library.counters_begin(ctypes.byref(slot.counters), 3)
    slot.inside += 1
    stats = stage.stop_in_time()
    assert (stats.slots_abandoned, stats.ticks, stats.ticks_in_progress) == (1, 3, 3)
    drained = stage.delivered if has_sink else stage.world.drain()
    assert sorted(sample.weight for sample in drained) == [1, 2]
    finish_late(stage.library, slot)
    after = stage.world.stats()
    assert bytes(after) == bytes(stats), "a session that is over counts on"
    assert has_sink or stage.world.drain() == [], "a stack is handed over that nobody counted"


@pytest.mark.parametrize("has_sink", [False, True])
def test_stop_gives_up_and_hands_over_what_there_was(stuck, has_sink):
    in_child(stop_beside_a_stuck_handler, stuck, has_sink)


def session_after_a_stuck_handler(path):
    stage = Stage(path)
    first, second = stage.threads
    slot = stage.slot_of(first)
    slot.inside += 1
    stage.stop_in_time()
    memory = slot.scratch
    stage.start()
    assert not any(same(slot, other) for other in stage.world.slots()), "the slot is used again"
    stage.tick(first)
    stage.tick(second)
    assert memory not in [other.scratch for other in stage.world.slots()], "its memory is used again"
    stage.library.counters_begin(ctypes.byref(slot.counters), 3)
    finish_late(stage.library, slot)
    stats = stage.stop_in_time()
    assert (stats.slots_abandoned, stats.ticks, stats.outcomes) == (0, 2, {"captured": 2})
    assert len(stage.world.drain()) == 2
    stage.start()
    stage.library.counters_begin(ctypes.byref(slot.counters), 3)
    slot.inside += 1
    finish_late(stage.library, slot)  # its memory is there as long as the process
    assert stage.stop_in_time().ticks == 0


def test_session_after_it_uses_nothing_of_the_slot(stuck):
    in_child(session_after_a_stuck_handler, stuck)


def late_signals(path):
    """Of the lease that the stuck handler had, and of earlier ones."""
    stage = Stage(path)
    first = stage.threads[0]
    slot = stage.slot_of(first)
    number, lease = next(n for n, other in enumerate(stage.world.slots()) if same(other, slot)), slot.lease
    slot.inside += 1
    stage.stop_in_time()
    stage.start()
    first.worker.do(lambda: stage.world.signal((number, lease)))
    assert stage.world.stats().outcomes == {"no_thread_state": 1}
    stage.stop_in_time()


def test_signal_of_its_lease_is_no_tick_of_the_slot_in_its_place(stuck):
    in_child(late_signals, stuck)


def naps_of_a_stop(path, count):
    stage = Stage(path)
    while len(stage.threads) < count:
        stage.threads.append(stage.world.birth())
    wait_until(lambda: stage.world.stats().threads == count)
    for thread in stage.threads:
        stage.slot_of(thread).inside += 1
    stage.naps.value = 0
    assert stage.stop_in_time().slots_abandoned == count
    assert stage.naps.value == NAPS


@pytest.mark.parametrize("count", [2, 5])
def test_limit_is_for_the_whole_stop(stuck, count):
    in_child(naps_of_a_stop, stuck, count)


def late_comer(path):
    stage = Stage(path)
    slot = stage.slot_of(stage.threads[1])
    slot.inside += 1
    ctypes.c_void_p.in_dll(stage.library, "late").value = ctypes.addressof(slot)
    stage.naps.value = 0
    ctypes.c_uint.in_dll(stage.library, "naps_until_late").value = NAPS - 1
    assert stage.stop_in_time().slots_abandoned == 0
    assert (slot.inside, stage.naps.value) == (0, NAPS - 1)


def test_handler_that_comes_out_in_time_is_waited_for(stuck):
    in_child(late_comer, stuck)


def faults_after_a_stop(path, is_stuck):
    stage = Stage(path)
    stage.slot_of(stage.threads[0]).inside += is_stuck
    for _ in range(2):
        stage.stop_in_time()
        for number in (signal.SIGSEGV, signal.SIGBUS):
            assert stage.library.signals_in_front(number) == is_stuck
        stage.start()
    stage.stop_in_time()


@pytest.mark.parametrize("is_stuck", [False, True])
def test_fault_handlers_stay_for_the_reads_that_it_may_yet_make(stuck, is_stuck):
    in_child(faults_after_a_stop, stuck, is_stuck)


# --- in a session ---------------------------------------------------------------------------------------------


def thread_ends_beside_a_stuck_handler(path, ends_stuck):
    stage = Stage(path)
    first, second = stage.threads
    slot = stage.slot_of(second)
    stage.tick(second)
    stage.library.counters_begin(ctypes.byref(slot.counters), 3)
    slot.inside += 1
    stage.world.unlink(second)
    second.worker.end()
    wait_until(lambda: stage.world.stats().slots_abandoned == 1)
    assert len(stage.world.drain()) == 1, "what was in its ring is lost"
    stage.threads[1] = third = stage.world.birth()
    wait_until(lambda: stage.world.stats().threads == 3)
    assert not same(stage.slot_of(third), slot), "the slot is let again"
    stage.tick(first)
    stage.tick(third)
    stats = stage.world.stats()
    assert (stats.ticks, stats.ticks_in_progress) == (3, 3)
    if not ends_stuck:
        finish_late(stage.library, slot)
        assert (stage.world.stats().ticks, stage.world.stats().ticks_in_progress) == (6, 0)
    stats = stage.stop_in_time()
    assert (stats.slots_abandoned, stats.ticks) == (1, 3 if ends_stuck else 6)
    assert len(stage.world.drain()) == (2 if ends_stuck else 3)
    stage.start()
    assert not any(same(slot, other) for other in stage.world.slots())
    assert stage.stop_in_time().slots_abandoned == 0


@pytest.mark.parametrize("ends_stuck", [True, False])
def test_slot_of_a_thread_that_ended_is_given_up_in_the_midst_of_a_session(stuck, ends_stuck):
    in_child(thread_ends_beside_a_stuck_handler, stuck, ends_stuck)


# --- names of what has died ------------------------------------------------------------------------------------


CAUGHT_UP = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64)


def start_told(stage, on_caught_up, sink):
    """Another session, which tells that names may be forgotten."""
    stage.stop_in_time()
    config = stage.world.make_config(stage.config, stage.threads[0], sink)
    config.caught_up = synthetic.address_of(on_caught_up)
    assert stage.library.spprof_start(ctypes.byref(config)) == 0
    wait_until(lambda: stage.world.stats().threads == len(stage.threads))


def names_beside_a_handler(path):
    """Its sample may be of an object that has died since."""
    stage = Stage(path, sink=True)
    told = []
    on_caught_up = CAUGHT_UP(lambda _, generation: told.append(generation))
    start_told(stage, on_caught_up, stage.sink)
    first, second = stage.threads
    slot = stage.slot_of(first)
    slot.inside += 1
    died = stage.library.spprof_code_died(None)
    for count in (1, 2):  # the second is of a drain that began after the first
        stage.tick(second)
        wait_until(lambda count=count: len(stage.delivered) == count)
    assert all(generation < died for generation in told), "forgotten while a handler is inside"
    slot.inside -= 1
    wait_until(lambda: died in told)
    stage.stop_in_time()


def test_no_name_is_forgotten_while_a_handler_is_inside(stuck):
    in_child(names_beside_a_handler, stuck)


def death_during_a_drain(path):
    """A handler may have come after its slot was looked at, and read the number from before."""
    stage = Stage(path, sink=True)
    events = []

    def die(*_):
        events.append(("died", stage.library.spprof_code_died(None)))

    sink = SINK(die)
    on_caught_up = CAUGHT_UP(lambda _, generation: events.append(("told", generation)))
    start_told(stage, on_caught_up, sink)
    stage.tick(stage.threads[0])
    wait_until(lambda: any(event == "died" for event, _ in events[:-2]))
    at = next(at for at, (event, _) in enumerate(events) if event == "died")
    died = events[at][1]
    assert events[at + 1 : at + 3] == [("told", died - 1), ("told", died)]
    stage.stop_in_time()


def test_death_during_a_drain_is_not_yet_caught_up_with(stuck):
    in_child(death_during_a_drain, stuck)


# --- no memory, and forks ---------------------------------------------------------------------------------------


def start_without_memory(path):
    stage = Stage(path)
    stage.slot_of(stage.threads[0]).inside += 1
    no_memory = ctypes.c_bool.in_dll(stage.library, "no_memory")
    no_memory.value = True
    stats = stage.stop_in_time()
    assert stats.slots_abandoned == 1
    config = stage.world.make_config(stage.config, stage.threads[0])
    assert stage.library.spprof_start(ctypes.byref(config)) == -12
    stage.library.spprof_error.restype = ctypes.c_char_p
    assert b"no memory" in stage.library.spprof_error()
    no_memory.value = False
    stage.start()
    stage.tick(stage.threads[0])
    assert stage.stop_in_time().outcomes == {"captured": 1}


def test_slot_that_cannot_be_replaced_fails_the_next_start(stuck):
    in_child(start_without_memory, stuck)


def fork_beside_a_stuck_handler(path):
    """The child has not the thread that is in there, and has the slot back."""
    stage = Stage(path)
    first, second = stage.threads
    slot = stage.slot_of(second)
    slot.inside += 1
    stage.world.unlink(second)
    second.worker.end()
    wait_until(lambda: stage.world.stats().slots_abandoned == 1)

    def check():
        assert stage.world.stats().slots_abandoned == 0
        first.tid = threading.get_native_id()
        first.rebuild()
        assert stage.world.start(stage.config, first) == session.OK
        assert any(same(slot, other) for other in stage.world.slots())
        assert stage.stop_in_time().slots_abandoned == 0

    complaint = first.worker.do(lambda: forked(check))
    assert not complaint, complaint
    stage.stop_in_time()


def test_forked_child_has_none_that_is_stuck(stuck):
    in_child(fork_beside_a_stuck_handler, stuck)

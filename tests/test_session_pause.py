"""The session's own thread is away between spprof_pause and spprof_resume; its work is not lost."""

import contextlib
import ctypes
import os
import threading
import time

import pytest
import synthetic
from test_model_session import (
    ERRORS,
    HANG_SECONDS,
    INTERVAL,
    SINK,
    World,
    forked,
    former_owner,  # noqa: F401 (a fixture)
    sample_of,
    wait_until,
)

from model import session

CPU, WALL = 0, 1
TICK = 5_000_000  # of wall mode, nanoseconds
DUE = 20  # ticks that come due while nobody looks

pytestmark = pytest.mark.usefixtures("former_owner")


def counted_threads():
    """As CPython counts them after a fork."""
    with open("/proc/self/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[17])


class Paused(World):
    """A world with one thread, and a session of either mode with a sink."""

    def __init__(self, library):
        super().__init__(library)
        self.thread = self.birth()
        self.thread.image.push("enter")
        self.thread.image.push("call")
        self.without_session = counted_threads()
        self.delivered = []
        self.sink = SINK(lambda _, sample: self.delivered.append(sample_of(sample[0])))

    def begin(self, mode=CPU):
        config = synthetic.Config(
            size=ctypes.sizeof(synthetic.Config),
            interval=TICK if mode == WALL else INTERVAL,
            max_depth=20,
            ring_bytes=1 << 16,
            runtime=ctypes.addressof(self.runtime),
            code_type=ctypes.addressof(self.code_type),
            thread_state=self.thread.image.subject.state,
            sink=synthetic.address_of(self.sink),
            mode=mode,
        )
        return ERRORS[self.library.spprof_start(ctypes.byref(config))]

    def pause(self):
        self.library.spprof_pause()

    def resume(self):
        self.library.spprof_resume()

    def tick(self):
        """One of the thread's timer, in the first slot that is the thread's."""
        seat = next((n, slot.lease) for n, slot in enumerate(self.slots()) if slot.tid == self.thread.tid)
        self.thread.worker.do(lambda: self.signal(seat))

    def counted_ticks(self):
        """Without spprof_get_stats, which may look itself."""
        return sum(slot.counters.ticks for slot in self.slots())

    def own_threads(self):
        return counted_threads() - self.without_session

    def end(self):
        self.stop()
        self.thread.worker.end()
        self.close()


@pytest.fixture
def world(harness):
    world = Paused(harness)
    yield world
    world.end()


@pytest.mark.parametrize("mode", [CPU, WALL])
def test_no_thread_is_counted_between_pause_and_resume(world, mode):
    assert world.begin(mode) == session.OK
    for _ in range(200):
        world.pause()
        assert world.own_threads() == 0
        world.resume()
        assert world.own_threads() == 1


class Tracer:
    """A process that keeps a dead thread of this one in the kernel's list, until it is told to let go."""

    SEIZE, SET_TRACER, ANY_CHILD = 0x4206, 0x59616D61, 0x40000000  # PTRACE_, PR_, __WALL

    def __init__(self, tid):
        ready, say_ready = os.pipe()
        wait_for_leave, self._leave = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                os.close(self._leave)
                os.read(wait_for_leave, 1)
                seized = synthetic.libc.ptrace(self.SEIZE, tid, None, None)
                os.write(say_ready, b"no" if seized else b"yes")
                os.read(wait_for_leave, 1)
                os.waitpid(tid, self.ANY_CHILD)
            finally:
                os._exit(0)
        os.close(say_ready)
        os.close(wait_for_leave)
        synthetic.libc.prctl(self.SET_TRACER, self._process, 0, 0, 0)
        os.write(self._leave, b"-")
        self.is_there = os.read(ready, 3) == b"yes"
        os.close(ready)

    def let_go(self):
        os.close(self._leave)
        os.waitpid(self._process, 0)


def is_dead(tid):
    with open(f"/proc/self/task/{tid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "Z"


def test_pause_waits_until_the_kernel_counts_the_thread_no_more(world):
    before = set(os.listdir("/proc/self/task"))
    assert world.begin() == session.OK
    (tid,) = map(int, set(os.listdir("/proc/self/task")) - before)
    tracer = Tracer(tid)
    if not tracer.is_there:
        tracer.let_go()
        pytest.skip("no process may trace another here")
    pausing = threading.Thread(target=world.pause)
    pausing.start()
    wait_until(lambda: is_dead(tid))
    pausing.join(0.1)
    waits = pausing.is_alive()
    tracer.let_go()
    pausing.join(HANG_SECONDS)
    assert waits
    wait_until(lambda: world.own_threads() == 0)  # the thread that paused is counted for a moment, too
    world.resume()


def test_no_thread_is_counted_after_a_stop(world):
    for _ in range(200):
        assert world.begin() == session.OK
        assert world.own_threads() == 1
        assert world.stop() == session.OK
        assert world.own_threads() == 0


def test_the_thread_is_back_when_each_pause_has_been_answered(world):
    assert world.begin() == session.OK
    world.pause()
    world.pause()
    world.resume()
    assert world.own_threads() == 0
    world.resume()
    assert world.own_threads() == 1
    world.resume()  # answers none
    world.pause()
    assert world.own_threads() == 0
    world.resume()
    assert world.own_threads() == 1


def test_session_that_is_started_in_a_pause_has_no_thread_before_its_end(world):
    world.pause()
    assert world.begin() == session.OK
    assert world.own_threads() == 0
    world.resume()
    assert world.own_threads() == 1


@pytest.mark.parametrize("mode", [CPU, WALL])
def test_stop_in_a_pause(world, mode):
    assert world.begin(mode) == session.OK
    world.pause()
    assert world.stop() == session.OK
    world.resume()
    assert world.own_threads() == 0
    assert world.begin(mode) == session.OK
    assert world.own_threads() == 1


def test_ticks_of_a_pause_are_handed_over_after_it(world):
    assert world.begin() == session.OK
    world.pause()
    world.tick()
    assert world.delivered == []
    world.resume()
    wait_until(lambda: len(world.delivered) == 1)


def test_where_pauses_overlap_whoever_resumes_hands_over_and_finds_threads(world):
    assert world.begin() == session.OK
    world.pause()
    world.pause()
    world.tick()
    born = world.birth()
    time.sleep(0.02)  # more than a look is apart from the next
    world.resume()
    assert world.own_threads() == 1, "there is the session's thread, besides the one that was born"
    assert len(world.delivered) == 1 and world.stats().threads == 2
    world.unlink(born)
    born.worker.end()
    world.resume()


def ticks_of_a_pause(world, answer):
    """Fewest and counted ticks, where the pause ends by `answer`."""
    first = time.monotonic_ns()
    assert world.begin(WALL) == session.OK
    began = time.monotonic_ns()
    world.pause()
    before = world.counted_ticks()
    while time.monotonic_ns() < began + (DUE + 1) * TICK:
        time.sleep(0.001)
    assert world.counted_ticks() == before, "somebody looked"
    fewest = (time.monotonic_ns() - began) // TICK
    answer()
    counted = world.counted_ticks()
    most = (time.monotonic_ns() - first) // TICK
    return fewest, counted, most


def test_first_look_after_a_pause_stands_for_all_ticks_that_came_due(world):
    fewest, counted, most = ticks_of_a_pause(world, world.resume)
    assert DUE <= fewest <= counted <= most


def test_stop_in_a_pause_looks_for_the_ticks_that_came_due(world):
    fewest, counted, most = ticks_of_a_pause(world, world.stop)
    assert DUE <= fewest <= counted <= most
    world.resume()


@contextlib.contextmanager
def no_room_for_threads():
    """Every pthread_create of this process fails with EAGAIN: it would have stacks of 2^47 bytes."""
    usual, large = (ctypes.create_string_buffer(64) for _ in range(2))
    synthetic.libc.pthread_getattr_default_np(usual)
    synthetic.libc.pthread_getattr_default_np(large)
    assert synthetic.libc.pthread_attr_setstacksize(large, ctypes.c_size_t(1 << 47)) == 0
    assert synthetic.libc.pthread_setattr_default_np(large) == 0
    try:
        yield
    finally:
        assert synthetic.libc.pthread_setattr_default_np(usual) == 0


@pytest.mark.parametrize("mode", [CPU, WALL])
def test_where_no_thread_can_be_started_its_work_is_done_and_it_is_tried_again(world, mode):
    assert world.begin(mode) == session.OK
    world.pause()
    with no_room_for_threads():
        world.tick()
        time.sleep(0.02)  # more than a look is apart from the next
        world.resume()
        assert world.own_threads() == 0
        assert len(world.delivered) == 1 or (mode == WALL and world.counted_ticks() > 0)
        looked = world.counted_ticks()
        world.tick()
        time.sleep(0.02)
        world.stats()
        assert world.own_threads() == 0
        assert len(world.delivered) == 2 or (mode == WALL and world.counted_ticks() > looked)
    world.stats()
    assert world.own_threads() == 1


def test_forked_child_has_no_pause(world):
    assert world.begin() == session.OK
    world.pause()

    def check():
        world.without_session = counted_threads()
        world.thread.tid = os.getpid()
        world.thread.put_field("thread.native_thread_id", os.getpid())
        assert world.begin() == session.OK
        assert world.own_threads() == 1
        world.pause()
        assert world.own_threads() == 0
        world.resume()
        assert world.stop() == session.OK

    assert forked(check) == ""
    world.resume()
    assert world.own_threads() == 1


def test_pauses_beside_starts_and_stops(world):
    """From three threads, in any order."""
    over = threading.Event()

    def pause_and_resume():
        while not over.is_set():
            world.pause()
            world.resume()

    pausing = [threading.Thread(target=pause_and_resume, daemon=True) for _ in range(2)]
    for thread in pausing:
        thread.start()
    for round in range(100):
        assert world.begin(round % 2) == session.OK
        world.stats()
        assert world.stop() == session.OK
    over.set()
    for thread in pausing:
        thread.join(HANG_SECONDS)
        assert not thread.is_alive()
    assert world.begin() == session.OK
    wait_until(lambda: world.own_threads() == 1)

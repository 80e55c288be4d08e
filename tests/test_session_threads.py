"""Which threads a session has found, and when (spprof_thread_found)."""

import ctypes
import os
import time

import pytest
from test_model_session import (
    INTERVAL,
    SINK,
    World,
    forked,
    former_owner,  # noqa: F401 (a fixture)
    wait_until,
)

from model import session

pytestmark = pytest.mark.usefixtures("former_owner")


class Finding(World):
    def __init__(self, library):
        super().__init__(library)
        library.spprof_thread_found.argtypes = [ctypes.c_uint64, *[ctypes.c_void_p] * 3]
        library.spprof_thread_found.restype = ctypes.c_bool
        self.sink = SINK(lambda *_: None)
        self.thread = self.birth()

    def begin(self):
        config = session.Config(INTERVAL, ring_bytes=1 << 16, has_sink=True)
        assert self.start(config, self.thread, self.sink) == session.OK

    def found(self):
        """(kernel id, after, before) by number."""
        tid, after, before = ctypes.c_int32(), ctypes.c_uint64(), ctypes.c_uint64()
        all = []
        while self.library.spprof_thread_found(len(all), *map(ctypes.byref, (tid, after, before))):
            all.append((tid.value, after.value, before.value))
        return all


@pytest.fixture
def world(harness):
    world = Finding(harness)
    yield world
    world.stop()
    for thread in world.threads:
        thread.worker.end()
    world.close()


def test_threads_are_found_at_the_start_and_later(world):
    first = time.monotonic_ns()
    world.begin()
    started = time.monotonic_ns()
    ((tid, after, before),) = world.found()
    assert tid == world.thread.tid and first <= after <= before <= started
    born = [world.birth().tid for _ in range(4)]
    linked = time.monotonic_ns()
    wait_until(lambda: len(world.found()) == 5)
    ended = time.monotonic_ns()
    found = world.found()
    assert {tid for tid, _, _ in found} == {world.thread.tid, *born}
    assert all(started <= after <= before <= ended for _, after, before in found[1:])
    assert found[-1][2] >= linked
    assert world.stop() == session.OK
    assert world.found() == found


def test_next_session_finds_its_threads_anew(world):
    world.begin()
    other = world.birth()
    wait_until(lambda: len(world.found()) == 2)
    assert world.stop() == session.OK
    world.unlink(other)
    other.worker.end()
    stopped = time.monotonic_ns()
    world.begin()
    ((tid, after, _),) = world.found()
    assert tid == world.thread.tid and after >= stopped


def test_many_threads_are_noted(world):
    """More than the room that there is at first; one id after the other."""
    world.begin()
    for number in range(1, 70):
        thread = world.birth()
        wait_until(lambda number=number: len(world.found()) == number + 1)
        assert world.found()[number][0] == thread.tid
        world.unlink(thread)
        thread.worker.end()
        wait_until(lambda: all(slot.lease for slot in world.slots()[1:2]))


def state_known(world):
    """That of the first thread."""
    return next(slot.thread_state for slot in world.slots() if slot.tid == world.thread.tid)


def test_state_that_passes_does_not_take_the_place_of_one_that_stays(world):
    """CPython makes one in the main interpreter for a moment while a thread imports in another."""
    world.begin()
    own = world.thread.image.subject.state
    passing = world.birth()
    passing.put_field("thread.native_thread_id", world.thread.tid)
    passing.put_field("thread.thread_id", world.thread.identity)
    later = world.birth()
    wait_until(lambda: later.tid in [tid for tid, _, _ in world.found()])
    assert state_known(world) == own
    world.unlink(world.thread)
    wait_until(lambda: state_known(world) == passing.image.subject.state)
    for thread in (passing, later):
        world.unlink(thread)
        thread.worker.end()


def test_thread_that_is_not_in_the_list_is_known_by_no_state(world):
    """What was its own is freed: it may be anything, or nothing."""
    world.begin()
    own = world.thread.image.subject.state
    world.unlink(world.thread)
    wait_until(lambda: state_known(world) == 0)
    world.link(world.thread)
    wait_until(lambda: state_known(world) == own)
    assert len(world.found()) == 1


def test_thread_is_let_go_when_it_has_ended(world):
    """And not because it has no state."""
    world.begin()
    thread = world.birth()
    wait_until(lambda: len(world.found()) == 2)
    (slot,) = (slot for slot in world.slots() if slot.tid == thread.tid)
    lease = slot.lease
    world.unlink(thread)
    wait_until(lambda: slot.thread_state == 0)
    assert slot.lease == lease
    thread.worker.end()
    wait_until(lambda: slot.lease == lease + 1)


def test_forked_child_has_found_none(world):
    world.begin()

    def check():
        assert world.found() == []
        assert os.getpid() != world.thread.tid

    assert forked(check) == ""
    assert len(world.found()) == 1

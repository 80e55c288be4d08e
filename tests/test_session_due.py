"""Ticks that were laid on a slot and that nobody has taken when it is closed: each is counted."""

import pytest
import synthetic
from fresh import check as in_child
from fresh import forked
from test_model_session import wait_until
from test_stuck import Stage


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "stuck.c", "-shared")


def left_at_the_stop(path):
    stage = Stage(path)
    stage.slot_of(stage.threads[0]).due = 5
    stage.tick(stage.threads[0])
    assert stage.stop_in_time().outcomes == {"captured": 6}
    stage.start()
    assert stage.stop_in_time().outcomes == {}


def test_ticks_that_are_left_at_the_stop(library):
    """Their thread stands, and is looked at once more."""
    in_child(left_at_the_stop, library)


def left_to_a_stuck_handler(path):
    stage = Stage(path)
    slot = stage.slot_of(stage.threads[0])
    slot.inside += 1
    slot.due = 5
    stats = stage.stop_in_time()
    assert (stats.slots_abandoned, stats.outcomes) == (1, {"busy": 5})


def test_ticks_that_are_left_beside_a_handler_that_does_not_come_out(library):
    in_child(left_to_a_stuck_handler, library)


def left_by_a_thread(path):
    stage = Stage(path)
    thread = stage.threads[1]
    slot = stage.slot_of(thread)
    slot.due = 4
    stage.world.unlink(thread)
    thread.worker.end()
    wait_until(lambda: slot.due == 0)
    assert stage.stop_in_time().outcomes == {"detached": 4}


def test_ticks_that_an_ended_thread_has_left(library):
    in_child(left_by_a_thread, library)


def in_a_child(path):
    stage = Stage(path)
    first = stage.threads[0]
    slot = stage.slot_of(first)
    slot.due = 3

    def check():
        assert slot.due == 0
        assert stage.world.stats().outcomes == {}

    complaint = first.worker.do(lambda: forked(check))
    assert not complaint, complaint
    assert stage.stop_in_time().outcomes == {"captured": 3}


def test_forked_child_has_none_of_its_parents(library):
    in_child(in_a_child, library)

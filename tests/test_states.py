"""The interpreter's list of thread states: whose is whose, and a thread that is known by one that it has given up."""

import ctypes

import pytest
import synthetic
from synthetic import put_int, put_word
from test_handler_side import Rig

STATES_MOST = 4 * synthetic.SLOTS_MAX
BOUND, UNBOUND, ACTIVE = 2, 4, 16


class Listed(Rig):
    """A thread with a stack, and its interpreter's list: newest first."""

    def __init__(self, path):
        super().__init__(path)
        self.stack_up()
        fields = self.image.fields
        self.interpreter = synthetic.Area(fields["interpreter.size"])
        self.sampler.interpreter = self.interpreter.start
        self.head = self.interpreter.start + fields["interpreter.threads_head"]
        self.library.states_find.restype = ctypes.c_bool
        self.own = self.image.state
        self.list(self.own)

    def other(self, tid, status=1 | BOUND, like=None):
        """A state of some thread, with the stack of `like`."""
        size = self.image.fields["thread.size"]
        state = self.image.heap.take(size)
        ctypes.memmove(state, like or self.own, size)
        self.image.put("thread.native_thread_id", state, tid)
        put_int(self.image.at("thread.status", state), status)
        return state

    def list(self, *states):
        put_word(self.head, states[0] if states else 0)
        for state, following in zip(states, (*states, 0)[1:], strict=True):
            self.image.put("thread.next", state, following)
            self.image.put("thread.interpreter", state, self.interpreter.start)

    def find(self, tid=None):
        """(whether the list was read to its end, the state)."""
        found = ctypes.c_size_t(0xDEAD)
        reader = synthetic.Reader()
        tid = ctypes.c_uint64(self.image.tid if tid is None else tid)
        return self.library.states_find(ctypes.byref(reader), tid, ctypes.byref(found)), found.value

    def give_up(self, state):
        put_int(self.image.at("thread.status", state), 1 | BOUND | UNBOUND)


@pytest.fixture
def listed(ticks):
    made = Listed(ticks)
    with synthetic.fault_handler(made.library):
        yield made


def test_states_of_others_are_passed_over(listed):
    first, last = listed.other(1), listed.other(2)
    listed.list(first, listed.own, last)
    assert [listed.find(), listed.find(1), listed.find(2)] == [(True, listed.own), (True, first), (True, last)]
    assert listed.find(3) == (True, 0)


def test_state_that_is_taken_comes_before_newer_ones(listed):
    newer = listed.other(listed.image.tid)
    listed.list(newer, listed.own)
    assert listed.find() == (True, listed.own)


def test_newest_where_none_is_taken(listed):
    newer = listed.other(listed.image.tid)
    listed.image.set_status(bound=True)
    listed.list(newer, listed.own)
    assert listed.find() == (True, newer)


@pytest.mark.parametrize("status", [1, 1 | ACTIVE, 1 | BOUND | UNBOUND, 1 | BOUND | UNBOUND | ACTIVE])
def test_state_that_is_not_bound_is_nobodys(listed, status):
    put_int(listed.image.at("thread.status", listed.own), status)
    assert listed.find() == (True, 0)


def test_empty_list(listed):
    listed.list()
    assert listed.find() == (True, 0)


def test_state_of_another_interpreter_ends_the_reading(listed):
    """It was freed and used for something else while the list was read."""
    freed = listed.other(1)
    listed.list(freed, listed.own)
    listed.image.put("thread.interpreter", freed, listed.interpreter.start + 8)
    assert not listed.find()[0]


@pytest.mark.parametrize("link", [12, 1 << 46, (1 << 64) - 8])
def test_link_that_leads_nowhere(listed, link):
    first = listed.other(1)
    listed.list(first)
    listed.image.put("thread.next", first, link)
    assert not listed.find()[0]


def test_link_that_is_not_aligned(listed):
    """Though what it leads to passes for a state."""
    first, second = listed.other(1), listed.other(2)
    listed.list(first)
    listed.image.put("thread.next", first, second + 4)
    listed.image.put("thread.next", second + 4, 0)
    listed.image.put("thread.interpreter", second + 4, listed.interpreter.start)
    assert not listed.find()[0]


def test_list_that_goes_round(listed):
    first = listed.other(1)
    listed.list(first)
    listed.image.put("thread.next", first, first)
    assert not listed.find()[0]


def test_list_that_cannot_be_read(listed):
    listed.sampler.interpreter = 0
    assert not listed.find()[0]


def test_longest_list(listed):
    """As long as one may be, and one more."""
    size = -(-listed.image.fields["thread.size"] // 8) * 8
    area = synthetic.Area(size * STATES_MOST)
    states = [area.start + size * number for number in range(STATES_MOST)]
    for state in states:
        ctypes.memmove(state, listed.own, size)
        listed.image.put("thread.native_thread_id", state, 1)
    listed.list(*states)
    assert listed.find() == (True, 0)
    listed.list(*states, listed.own)
    assert not listed.find()[0]


# --- looks --------------------------------------------------------------------------------------------------------


def test_thread_with_another_state_is_looked_at_by_that(listed):
    """As one of C code has for each of its calls into Python. What it was known by is not asked again."""
    frames = listed.image.whole().frames
    present = listed.other(listed.image.tid, 1 | BOUND | ACTIVE)
    listed.list(present)
    listed.give_up(listed.own)
    listed.tick()
    head, found = listed.pop()
    assert (found, head.flags, listed.slot.thread_state) == (frames, 0, present)
    listed.list()
    listed.tick()
    head, found = listed.pop()
    assert (found, head.flags) == (frames, 0)
    assert listed.stats.outcomes == {"captured": 2}


def test_thread_that_no_state_was_known_of(listed):
    listed.slot.thread_state = 0
    listed.tick()
    assert listed.pop()[1] == listed.image.whole().frames
    assert listed.slot.thread_state == listed.own


def test_thread_without_a_state_runs_without_python(listed):
    listed.give_up(listed.own)
    listed.list(listed.other(1))
    listed.tick(overrun=2)
    head, frames = listed.pop()
    assert (head.weight, head.depth, frames, head.flags) == (3, 0, (), synthetic.DETACHED)
    assert (listed.slot.thread_state, listed.stats.outcomes) == (0, {"captured": 3})


def test_what_the_present_state_shows_wrong_is_the_ticks_outcome(listed):
    present = listed.other(listed.image.tid, 1 | BOUND | ACTIVE)
    listed.image.put("thread.current_frame", present, listed.image.chain[-1] + 4)
    listed.list(present)
    listed.give_up(listed.own)
    listed.tick()
    assert listed.stats.outcomes == {"alignment": 1}


def test_list_that_does_not_say_leaves_the_tick_lost(listed):
    listed.give_up(listed.own)
    listed.sampler.interpreter = 0
    listed.tick()
    listed.slot.thread_state = 0
    listed.tick()
    assert listed.stats.outcomes == {"detached": 1, "no_thread_state": 1}


def test_state_that_can_be_walked_is_not_looked_for(listed):
    """The list may be long, and is of another moment."""
    listed.list()
    listed.tick()
    assert listed.pop()[1] == listed.image.whole().frames
    listed.image.set_current(listed.image.chain[-1] + 4)
    listed.tick()
    assert listed.stats.outcomes == {"captured": 1, "alignment": 1}
    assert listed.slot.thread_state == listed.own

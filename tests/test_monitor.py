"""The monitor's side of a look: who stands still is looked at, who runs is asked, and each tick is counted once."""

import ctypes
import errno
import os

import pytest
import synthetic
from synthetic import put_byte
from test_handler_side import COOKIE, LEASE, SI_TIMER, VALUE_ASKS, Rig

TIMER, NO_TIMER = 7, -1
ASKED = 1 << 31
ASKED_MOST = 20_000_000  # ns of CPU time, after which a signal counts as not deliverable
UNASKED, DETACHED = 4, 1
MS = 1_000_000
LEFT_MOST = 1_000_000_000  # ns, that ticks stay due on a thread that is not met running
SOUGHT_APART = 1_000_000_000  # ns, at least, between two searches for one thread's stack
LATE = 10**18  # ns
AGES = 5_000_000_000  # ns of CPU time that the thread has used


class Monitor(ctypes.Structure):
    _fields_ = [
        ("observer", ctypes.c_void_p),
        ("reader", synthetic.Reader),
        ("interval", ctypes.c_uint64),
        ("ticks", ctypes.c_uint32),
        ("apart", ctypes.c_uint64),
        ("now", ctypes.c_uint64),
        ("is_last", ctypes.c_bool),
        ("turn", ctypes.c_uint32),
        ("turns", ctypes.c_uint32),
        ("met", ctypes.c_uint32),
        ("finds_stack", ctypes.c_bool),
        ("wait", ctypes.c_uint64),
    ]


class InStep(ctypes.Structure):
    _fields_ = [("address", ctypes.c_size_t), ("seen", ctypes.c_uint64), ("otherwise", ctypes.c_uint64)]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "monitor.c", "-shared")


class Watched(Rig):
    """A thread with a stack, its slot, and the monitor's looks at it."""

    def __init__(self, path):
        super().__init__(path)
        self.stack_up()
        self.room = (synthetic.Look * 256)()
        self.observer = synthetic.Observer(looks=ctypes.addressof(self.room), room=256)
        self.monitor = Monitor(observer=ctypes.addressof(self.observer), ticks=1, turns=1, apart=MS)
        self.slot.watch.timer = TIMER
        self.slot.watch.waits_at = -1
        self.slot.watch.next = -LATE  # it has been there for ever
        self.slot.stack_low, self.slot.stack_high = self.image.stack.start, self.image.stack.end
        watch = self.slot.watch
        watch.stack_low, watch.stack_high = self.slot.stack_low, self.slot.stack_high
        self.library.monitor_slot.restype = ctypes.c_bool
        for name in ("asked", "asked_later", "ask_error", "has_fired", "maps_opened"):
            ctypes.c_uint.in_dll(self.library, name).value = 0
        self.hide_maps(False)

    def look(self, *readings, **changes):
        """One look, during which the thread's CPU clock reads so. Whether the thread is there."""
        for name, value in {"ticks": 1, **changes}.items():
            setattr(self.monitor, name, value)
        told = (ctypes.c_int64 * 3).in_dll(self.library, "cpu_times")
        told[3 - len(readings) :] = readings
        ctypes.c_uint.in_dll(self.library, "cpu_times_left").value = len(readings)
        return self.library.monitor_slot(ctypes.byref(self.slot), ctypes.byref(self.monitor))

    def stands(self, used=AGES, **changes):
        assert self.look(used, used, used, **changes)

    def runs(self, used=AGES, **changes):
        assert self.look(used, used + 100, **changes)

    def hide_maps(self, hidden):
        ctypes.c_bool.in_dll(self.library, "no_maps").value = hidden

    @property
    def stack_known(self):
        """Whether the monitor has it, and has it right."""
        watch = self.slot.watch
        bounds = watch.stack_low, watch.stack_high
        assert bounds in [(0, 0), (self.image.stack.start, self.image.stack.end)]
        return bounds != (0, 0)

    @property
    def sought(self):
        """Whether the kernel's mappings have been asked for since the last time."""
        opened = ctypes.c_uint.in_dll(self.library, "maps_opened")
        is_sought = opened.value > 0
        opened.value = 0
        return is_sought

    @property
    def asked(self):
        """How often a timer has been set."""
        count = ctypes.c_uint.in_dll(self.library, "asked").value
        assert count == 0 or ctypes.c_uint.in_dll(self.library, "asked_timer").value == self.slot.watch.timer
        return count

    @property
    def asked_later(self):
        """Whether the timer was last set to signal once the thread runs."""
        return bool(ctypes.c_uint.in_dll(self.library, "asked_later").value)

    def answer(self):
        """The signal arrives."""
        value = synthetic.tick_value(3, LEASE, COOKIE) | VALUE_ASKS
        self.library.deliver(SI_TIMER, value, 0, self.image.stack.start + 128, 0)
        assert self.slot.inside == 0

    def records(self):
        """(weight, flags, frames) of all that wait."""
        return [(head.weight, head.flags, frames) for head, frames in iter(self.pop, None)]

    @property
    def outcomes(self):
        return self.stats.outcomes

    @property
    def frames(self):
        return self.image.whole().frames


@pytest.fixture
def thread(library):
    made = Watched(library)
    with synthetic.fault_handler(made.library):
        yield made


def test_thread_that_stands_is_looked_at(thread):
    thread.stands(ticks=3)
    assert thread.records() == [(3, 0, thread.frames)]
    assert (thread.outcomes, thread.slot.due, thread.asked) == ({"captured": 3}, 0, 0)


def test_what_a_look_finds_wrong_is_the_ticks_outcome(thread):
    put_byte(thread.image.at("frame.owner", thread.image.chain[0]), 7)
    thread.stands(ticks=2)
    assert (thread.records(), thread.outcomes) == ([], {"owner": 2})


def test_thread_that_runs_is_asked_and_looks_itself(thread):
    thread.runs(ticks=2)
    assert (thread.slot.due, thread.asked, thread.outcomes) == (ASKED | 2, 1, {})
    thread.answer()
    assert thread.records() == [(2, 0, thread.frames)]
    assert (thread.outcomes, thread.slot.due) == ({"captured": 2}, 0)
    thread.runs()
    assert (thread.slot.due, thread.asked) == (ASKED | 1, 2)


def test_thread_is_not_asked_again_before_it_has_answered(thread):
    for round in range(4):
        thread.runs(AGES + round * MS)
    assert (thread.slot.due, thread.asked, thread.outcomes) == (ASKED | 4, 1, {})
    thread.answer()
    assert [weight for weight, _, _ in thread.records()] == [4]


def test_thread_that_was_asked_and_stands_is_looked_at(thread):
    """It may block the signal. When that comes there is nothing to take."""
    thread.runs()
    thread.stands()
    assert thread.records() == [(2, 0, thread.frames)]
    assert thread.slot.due == ASKED
    thread.answer()
    assert (thread.records(), thread.slot.due, thread.outcomes) == ([], 0, {"captured": 2})


def test_signal_that_was_not_meant_for_what_is_due_takes_it(thread):
    """One that comes late, from the look before: what it finds is due now."""
    thread.runs()
    thread.stands()
    thread.runs()
    assert (thread.slot.due, thread.asked) == (ASKED | 1, 1)
    thread.answer()
    assert [weight for weight, _, _ in thread.records()] == [2, 1]


def test_thread_that_does_not_take_the_signal_is_looked_at_from_outside(thread):
    thread.runs()
    thread.runs(AGES + ASKED_MOST - 1)
    assert (thread.slot.due, thread.outcomes) == (ASKED | 2, {})
    thread.runs(AGES + ASKED_MOST)
    assert thread.records() == [(3, UNASKED, thread.frames)]
    assert (thread.slot.due, thread.asked) == (ASKED, 2), "the signal may have been taken away: it is asked again"
    thread.runs(AGES + ASKED_MOST + MS)
    assert thread.records() == [(1, UNASKED, thread.frames)]
    assert (thread.slot.due, thread.asked, thread.outcomes) == (ASKED, 3, {"captured": 4})
    thread.answer()
    thread.runs(AGES + ASKED_MOST + 2 * MS)
    assert (thread.slot.due, thread.asked) == (ASKED | 1, 4)


def test_thread_without_a_timer_is_looked_at_from_outside(thread):
    thread.slot.watch.timer = NO_TIMER
    thread.runs()
    assert thread.records() == [(1, UNASKED, thread.frames)]
    assert (thread.slot.due, thread.asked) == (0, 0)


def test_ticks_seen_from_outside_are_counted(thread):
    thread.library.monitor_unasked.restype = ctypes.c_uint64
    thread.library.monitor_begin()
    thread.slot.watch.timer = NO_TIMER
    thread.stands(ticks=5)
    thread.runs(ticks=2)
    put_byte(thread.image.at("frame.owner", thread.image.chain[0]), 7)
    thread.runs(ticks=9)
    assert thread.library.monitor_unasked() == 2
    thread.library.monitor_begin()
    assert thread.library.monitor_unasked() == 0


@pytest.mark.parametrize("interval", [0, MS], ids=["by the clock", "by CPU time"])
def test_time_of_the_thread_is_counted_once(thread, interval):
    """Whether it stands, runs, has nothing due, or has ended: all that it has used until it was looked at last."""
    watched = thread.library.monitor_watched
    watched.restype = ctypes.c_uint64
    thread.library.monitor_begin()
    watch = thread.slot.watch
    watch.watched = watch.used = AGES
    watch.next = AGES + MS if interval else -LATE
    thread.stands(AGES + 7, interval=interval)
    assert watched() == 7
    thread.runs(AGES + 3 * MS, interval=interval)
    thread.stands(AGES + 3 * MS, interval=interval)
    assert watched() == 3 * MS
    assert not thread.look(-errno.EINVAL, interval=interval)
    assert watched() == 3 * MS
    thread.library.monitor_begin()
    assert watched() == 0


def test_clock_of_another_thread_with_its_id_takes_no_time_back(thread):
    """The thread has ended: what it used is counted, and the other is found as a new one."""
    thread.library.monitor_watched.restype = ctypes.c_uint64
    thread.library.monitor_begin()
    watch = thread.slot.watch
    watch.watched = watch.used = AGES
    watch.next = AGES + 10 * MS
    thread.stands(AGES + 3 * MS, interval=MS)
    assert not thread.look(5, interval=MS)
    assert thread.library.monitor_watched() == 3 * MS


def test_time_before_the_first_look_is_counted_though_the_thread_has_ended(thread):
    thread.library.monitor_watched.restype = ctypes.c_uint64
    thread.library.monitor_begin()
    thread.slot.watch.watched, thread.slot.watch.used = 0, 5 * MS
    assert not thread.look(-errno.EINVAL, interval=MS)
    assert thread.library.monitor_watched() == 5 * MS


def test_timer_that_cannot_be_set(thread):
    ctypes.c_int.in_dll(thread.library, "ask_error").value = errno.EINVAL
    thread.runs(ticks=2)
    assert thread.records() == [(2, UNASKED, thread.frames)]
    assert (thread.slot.due, thread.outcomes) == (0, {"captured": 2})


def test_slot_with_a_handler_inside_is_left_to_it(thread):
    """It may be pushing what it took before."""
    thread.slot.inside = 1
    thread.stands(ticks=2)
    assert (thread.records(), thread.outcomes, thread.slot.due, thread.asked) == ([], {}, 2, 0)
    thread.slot.inside = 0
    thread.stands()
    assert [weight for weight, _, _ in thread.records()] == [3]


def test_timer_that_a_handler_may_have_answered_is_set_again(thread):
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS)
    thread.slot.inside = 1
    thread.stands(AGES + MS)
    thread.slot.inside = 0
    thread.stands(AGES + MS)
    assert (thread.asked, thread.asked_later) == (2, True)


def test_thread_that_has_ended(thread):
    thread.runs()
    assert not thread.look(-errno.EINVAL)
    assert (thread.slot.due, thread.outcomes) == (ASKED | 1, {})


def test_calling_thread_stands(thread):
    """A stop looks as well, with its clock going on."""
    thread.slot.tid = os.getpid()
    thread.image.put("thread.native_thread_id", thread.image.state, os.getpid())
    thread.runs()
    assert thread.records() == [(1, 0, thread.frames)]


def test_clock_that_is_read_too_early_is_read_again(thread):
    """Of a thread that came and went during the look."""
    assert thread.look(AGES, AGES, AGES + 100)
    assert (thread.records(), thread.slot.due) == ([], ASKED | 1)


def test_thread_that_has_given_up_its_state_is_marked(thread):
    thread.image.set_status(bound=True)
    thread.stands()
    assert thread.records() == [(1, DETACHED, thread.frames)]


def test_thread_that_stands_without_a_state_is_outside_of_python(thread):
    interpreter = synthetic.Area(thread.image.fields["interpreter.size"])  # whose list is empty
    thread.sampler.interpreter = interpreter.start
    thread.slot.thread_state = 0
    thread.stands()
    assert thread.records() == [(1, DETACHED, ())]


def test_where_entry_frames_stand_is_learnt_from_a_thread_that_stands(thread):
    entry = 0x1234560
    thread.image.put("frame.instr_ptr", thread.image.chain[0], entry)
    thread.image.set_status(bound=True)
    thread.slot.watch.timer = NO_TIMER
    thread.runs()
    assert thread.sampler.entry_instr_ptr == 0
    thread.stands()
    assert thread.sampler.entry_instr_ptr == entry


def test_new_thread_is_not_charged_for_what_was_before_it(thread):
    thread.slot.watch.next = LATE
    thread.stands(ticks=220, now=LATE)
    thread.stands(ticks=201)  # a late look is followed at once by one for what was missed
    thread.stands(ticks=1, now=LATE + MS)
    thread.stands(ticks=20, now=LATE + 21 * MS)
    thread.stands(ticks=300, now=LATE + 221 * MS)  # a pause in its life is its own
    assert [weight for weight, _, _ in thread.records()] == [1, 1, 20, 200]


def test_ticks_of_cpu_time(thread):
    thread.slot.watch.next = AGES + MS
    thread.stands(AGES + MS - 1, interval=MS)
    assert thread.records() == []
    for used in AGES + MS, AGES + 2 * MS - 1, AGES + 5 * MS + 3:
        thread.runs(used)
        thread.answer()
    assert [weight for weight, _, _ in thread.records()] == [1, 4]
    assert thread.slot.watch.next == AGES + 6 * MS


def test_time_that_was_used_is_not_of_the_wait_that_follows(thread):
    """What is due stays so until the thread runs, and no look wakes it: it is not charged where it stands."""
    thread.slot.watch.next = AGES
    thread.image.set_status(bound=True)
    thread.stands(AGES, interval=MS)
    assert (thread.records(), thread.outcomes, thread.slot.due) == ([], {}, 1)
    thread.runs(AGES + MS)
    assert (thread.slot.due, thread.asked) == (ASKED | 2, 2)
    thread.image.set_status(bound=True, active=True)
    thread.answer()
    assert thread.records() == [(2, 0, thread.frames)]


def test_thread_that_waits_is_asked_once_it_runs(thread):
    """By a timer of its CPU time, which stays set until its signal has been answered."""
    thread.slot.watch.next = AGES
    thread.image.set_status(bound=True)
    for used in AGES, AGES, AGES + 5, AGES + MS:
        thread.stands(used, interval=MS)
        assert (thread.asked, thread.asked_later) == (1, True)
    thread.answer()
    assert [weight for weight, _, _ in thread.records()] == [2]
    thread.stands(AGES + 2 * MS)
    assert (thread.asked, thread.asked_later) == (2, True)


def test_timer_that_rests_is_set_again(thread):
    """What is due was left by a look before it rested: the thread did not answer then, and answered that signal late."""
    thread.slot.watch.next = AGES
    thread.slot.due = 3
    thread.stands(AGES, interval=MS)
    assert thread.asked_later
    assert (thread.slot.due, thread.slot.watch.waits_at) == (4, AGES)


def test_thread_that_stands_and_does_not_take_the_signal_is_looked_at_from_outside(thread):
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS)
    ctypes.c_uint.in_dll(thread.library, "has_fired").value = 1
    thread.stands(AGES + ASKED_MOST - 1)
    assert (thread.records(), thread.slot.due) == ([], 20)
    thread.stands(AGES + ASKED_MOST)
    assert thread.records() == [(21, UNASKED, thread.frames)]
    assert (thread.asked, thread.asked_later) == (2, True), "the signal may have been taken away"
    assert thread.slot.watch.waits_at == AGES + ASKED_MOST


def test_thread_that_works_between_the_kernels_ticks_is_not_taken_for_one_that_blocks_the_signal(thread):
    """Its bursts may be in step with them: the timer of its CPU time has not fired."""
    thread.slot.watch.next = AGES
    for used in AGES, AGES + ASKED_MOST, AGES + 10 * ASKED_MOST:
        thread.stands(used, interval=MS)
    assert (thread.records(), thread.outcomes, thread.slot.due) == ([], {}, 201)
    assert ctypes.c_uint.in_dll(thread.library, "asked").value == 1


def test_thread_that_was_asked_in_vain_and_stands_is_looked_at_from_outside(thread):
    thread.slot.watch.next = AGES
    thread.runs(AGES, interval=MS)
    thread.stands(AGES + ASKED_MOST - 1)
    assert (thread.records(), thread.slot.due, thread.asked_later) == ([], ASKED | 20, False)
    thread.stands(AGES + ASKED_MOST)
    assert thread.records() == [(21, UNASKED, thread.frames)]
    assert (thread.slot.due, thread.asked_later) == (ASKED, True), "no signal wakes it"


def test_thread_that_is_met_running_is_asked_now(thread):
    """And not once more when it runs again: one timer does both."""
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS)
    assert (thread.asked, thread.asked_later, thread.slot.watch.waits_at) == (1, True, AGES)
    thread.runs(AGES + 5)
    assert (thread.asked, thread.asked_later, thread.slot.watch.waits_at) == (2, False, -1)
    thread.answer()
    thread.stands(AGES + MS)
    assert (thread.asked, thread.asked_later, thread.slot.watch.waits_at) == (3, True, AGES + MS)


def test_thread_that_runs_and_was_asked_in_vain_is_not_waited_for(thread):
    """The timer was set to ask it once it runs, and is set again to ask it now."""
    thread.slot.watch.next = AGES
    thread.runs(AGES, interval=MS)
    thread.stands(AGES + ASKED_MOST)
    assert (thread.asked_later, thread.slot.watch.waits_at) == (True, AGES + ASKED_MOST)
    thread.runs(AGES + ASKED_MOST + MS)
    assert (thread.asked_later, thread.slot.watch.waits_at) == (False, -1)


def test_time_that_was_used_is_not_of_where_a_thread_is_kept_from_its_processor(thread):
    """A system call, mostly: there the kernel looks whether another's turn has come."""
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS)
    assert (thread.records(), thread.outcomes, thread.slot.due) == ([], {}, 1)


def test_thread_that_stands_and_can_have_no_timer_does_not_wait(thread):
    """It would be met running by chance alone. What it shows is from after the time that it used, and marked."""
    thread.slot.watch.timer = NO_TIMER
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS)
    assert thread.records() == [(1, UNASKED, thread.frames)]


def test_time_of_a_thread_that_is_not_met_running_is_shown_where_it_stands_after_a_while(thread):
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS, now=7)
    thread.stands(AGES + MS, now=7 + LEFT_MOST - 1)
    assert (thread.records(), thread.slot.due) == ([], 2)
    thread.stands(AGES + MS, now=7 + LEFT_MOST)
    assert (thread.records(), thread.slot.due) == ([(2, UNASKED, thread.frames)], 0)
    thread.stands(AGES + 2 * MS, now=7 + 2 * LEFT_MOST)
    assert (thread.records(), thread.slot.due) == ([], 1)


def test_thread_that_stands_before_it_can_answer_is_given_the_same_while(thread):
    """It was kept from its processor in the instant in which it was asked: most often by the monitor itself."""
    thread.slot.watch.next = AGES
    thread.runs(AGES, interval=MS, now=AGES)
    thread.stands(AGES + 100, now=AGES + LEFT_MOST - 1)
    assert (thread.records(), thread.slot.due) == ([], ASKED | 1)
    thread.stands(AGES + 100, now=AGES + LEFT_MOST)
    assert (thread.records(), thread.slot.due) == ([(1, UNASKED, thread.frames)], ASKED)


def test_time_that_is_due_at_the_end_is_shown_where_its_thread_stands(thread):
    thread.slot.watch.next = AGES
    thread.stands(AGES, interval=MS, is_last=True)
    assert (thread.records(), thread.slot.due) == ([(1, UNASKED, thread.frames)], 0)


def test_what_is_known_is_not_looked_for(thread):
    """In CPU mode a stack is read from outside only to learn where entry frames stand."""
    thread.slot.watch.next = AGES
    reads = []
    refuse = synthetic.READ_FUNCTION(lambda _, address, *__: reads.append(address))  # None is false: it cannot be read
    for entry in 0, 0x1234560:
        reads.clear()
        thread.sampler.entry_instr_ptr = entry
        thread.stands(AGES, interval=MS, reader=synthetic.Reader(through=synthetic.address_of(refuse)))
        assert bool(reads) == (entry == 0)


def test_calling_thread_has_used_its_time_itself(thread):
    """It calls for a stop, for which it has given up its thread state."""
    thread.slot.tid = os.getpid()
    thread.image.put("thread.native_thread_id", thread.image.state, os.getpid())
    thread.slot.watch.next = AGES
    thread.image.set_status(bound=True)
    thread.stands(AGES, interval=MS)
    assert thread.records() == [(1, DETACHED, thread.frames)]


def test_no_thread_can_be_in_step_with_looks_for_what_is_due(thread):
    thread.slot.watch.next = AGES
    thread.image.set_status(bound=True)
    waits = set()
    for used in range(AGES, AGES + 200):
        thread.stands(used, interval=MS, wait=MS)
        waits.add(thread.monitor.wait)
    assert all(MS / 4 <= wait < MS * 3 / 4 for wait in waits)
    assert max(waits) - min(waits) > MS / 3
    thread.stands(used, wait=MS)
    assert thread.monitor.wait == MS, "a thread that did not run is not looked for"


def test_wait_until_the_next_tick_can_be_due(thread):
    """A thread that did not run has none before it runs."""
    longest = (1 << 64) - 1
    thread.slot.watch.next = AGES + MS
    thread.stands(AGES + 1000, interval=MS, wait=longest)
    assert thread.monitor.wait == MS - 1000
    thread.stands(AGES + 1000, wait=longest)
    assert thread.monitor.wait == longest
    thread.stands(AGES + 2000, wait=500)
    assert thread.monitor.wait == 500


def test_more_ticks_than_a_word_holds_stay_at_the_most(thread):
    most = ASKED - 1
    for _ in range(3):
        thread.runs(ticks=most)
    assert (thread.slot.due, thread.asked) == (ASKED | most, 1)


# --- a thread whose C stack was not found ---------------------------------------------------------


BORN = 7_000_000_000  # CLOCK_MONOTONIC, ns


@pytest.fixture
def unplaced(thread):
    """Its stack was looked for when it was admitted, in vain."""
    thread.slot.stack_low = thread.slot.stack_high = 0
    thread.slot.watch.stack_low = thread.slot.watch.stack_high = 0
    thread.slot.watch.sought_at = BORN
    thread.hide_maps(True)
    return thread


def test_look_at_a_thread_whose_stack_is_not_known(unplaced):
    unplaced.stands(now=BORN + SOUGHT_APART, finds_stack=True)
    unplaced.slot.watch.timer = NO_TIMER
    unplaced.runs(ticks=2, now=BORN + 2 * SOUGHT_APART, finds_stack=True)
    assert (unplaced.records(), unplaced.outcomes) == ([], {"stack_unknown": 3})
    assert unplaced.sought and not unplaced.stack_known


def test_thread_whose_stack_is_not_known_looks_itself(unplaced):
    unplaced.runs()
    unplaced.answer()
    assert unplaced.records() == [(1, 0, unplaced.frames)]


@pytest.mark.parametrize("timer", [TIMER, NO_TIMER])
def test_stack_is_looked_for_again(unplaced, timer):
    """For the looks from outside alone: a handler reads its slot at any time."""
    unplaced.slot.watch.timer = timer
    look = unplaced.stands if timer == TIMER else unplaced.runs
    look(now=BORN + SOUGHT_APART, finds_stack=True)
    unplaced.hide_maps(False)
    look(now=BORN + 2 * SOUGHT_APART, finds_stack=True)
    assert unplaced.records() == [(1, 0 if timer == TIMER else UNASKED, unplaced.frames)]
    assert unplaced.outcomes == {"stack_unknown": 1, "captured": 1}
    assert unplaced.stack_known and (unplaced.slot.stack_low, unplaced.slot.stack_high) == (0, 0)


def test_stack_is_looked_for_once_in_a_while(unplaced):
    for last in (BORN + number * SOUGHT_APART for number in range(3)):
        unplaced.stands(now=last + SOUGHT_APART - 1, finds_stack=True)
        assert not unplaced.sought
        unplaced.stands(now=last + SOUGHT_APART, finds_stack=True)
        assert unplaced.sought


def test_one_stack_is_looked_for_in_a_look_at_all(unplaced):
    """On an older kernel the whole list of mappings is read for it."""
    unplaced.stands(now=BORN + SOUGHT_APART, finds_stack=True)
    assert unplaced.sought
    unplaced.slot.watch.sought_at = BORN  # as another thread's
    unplaced.stands()
    assert not unplaced.sought


def test_stack_is_not_looked_for_by_who_may_open_no_file(unplaced):
    unplaced.stands(now=BORN + SOUGHT_APART, finds_stack=False)
    assert not unplaced.sought


def test_stack_that_is_known_is_not_looked_for(thread):
    thread.stands(now=BORN + SOUGHT_APART, finds_stack=True)
    assert not thread.sought
    assert thread.monitor.finds_stack, "another thread's would not be looked for"
    assert thread.outcomes == {"captured": 1}


def test_stack_is_not_looked_for_where_there_is_no_look_from_outside(unplaced):
    """In CPU mode a thread that can be asked looks itself."""
    unplaced.slot.watch.next = AGES
    unplaced.sampler.entry_instr_ptr = 0x1234560
    unplaced.stands(AGES, interval=MS, now=BORN + SOUGHT_APART, finds_stack=True)
    assert not unplaced.sought


# --- a thread that goes round in step with the looks --------------------------------------------------------------


class Mixture:
    """A reader to which every look shows the same stack, which never stood: the top of one turn upon the frame of the
    other, where the thread is whenever that link is not being read."""

    def __init__(self, thread):
        image = thread.image
        link = image.at("frame.previous", image.chain[-1])
        self.frames = image.whole().frames
        entry, other = image.chain[0], image.code()
        frame = image.call(other, 3)
        image.put("frame.previous", frame, entry)
        image.set_current(image.chain[-2])
        image.chain.pop()
        self.shown = (self.frames[0], (other.address, 3, other.first_line))
        self.step = InStep(link, frame, synthetic.get_word(link))
        function = ctypes.cast(thread.library.read_in_step, ctypes.c_void_p)
        self.reader = synthetic.Reader(function, ctypes.addressof(self.step))


def test_looks_that_agree_are_no_argument(thread, by_syscall):
    """Two looks in the same order, or three, show the same of such a thread: so what they show is marked."""
    mixture = Mixture(thread)
    thread.slot.watch.timer = NO_TIMER
    thread.runs(reader=mixture.reader)
    assert thread.records() == [(1, UNASKED, mixture.shown)]


def test_mixture_is_not_shown_of_a_thread_that_can_be_asked(thread):
    mixture = Mixture(thread)
    thread.runs(reader=mixture.reader)
    assert (thread.records(), thread.outcomes, thread.slot.due) == ([], {}, ASKED | 1)
    thread.answer()
    assert thread.records() == [(1, 0, mixture.frames)]


# --- threads at rest ----------------------------------------------------------------------------------------------


def clock_readings(thread, rounds, **changes):
    """How many of so many looks read the clock of a thread that does not run."""
    left = ctypes.c_uint.in_dll(thread.library, "cpu_times_left")
    read = 0
    for turn in range(rounds):
        thread.stands(AGES, turn=turn, **changes)
        read += left.value < 3
    return read


def test_threads_at_rest_have_turns(thread):
    thread.slot.watch.used, thread.slot.watch.next = AGES, 2 * AGES
    thread.slot.thread = 7
    assert clock_readings(thread, 100, turns=5, interval=MS) == 16 + 84 // 5 + 1
    assert thread.monitor.met == 100
    assert clock_readings(thread, 100, turns=1) == 100


def test_thread_that_runs_is_visited_at_each_look(thread):
    thread.slot.watch.used, thread.slot.watch.next = AGES, 2 * AGES
    left = ctypes.c_uint.in_dll(thread.library, "cpu_times_left")
    for turn in range(100):
        thread.runs(AGES + turn * 1000, turn=turn, turns=50, interval=MS)
        assert left.value < 2

"""What is kept of samples: call tree, timeline and counts, within the memory that a recording may take."""

import ctypes
import random
import resource
import sys
from collections import Counter
from pathlib import Path

import pytest
import support
from fresh import check as in_child
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(support.ROOT / "fuzz"))

import resolve
from resolve import APART, BLOCK, COUNTS, TIMELINE, Frame

held = support.module_of(support.ROOT / "stress" / "chaos" / "held.py")

HERE = 0x7F00_0000_0000
ROOT = -1
MEBIBYTE = 1 << 20
PLENTY = 1 << 40
WEIGHT_MOST = (1 << 32) - 1


class Room:
    """A recording, and the table of code objects that it uses."""

    def __init__(self, library, form=TIMELINE, most=PLENTY, started=0, apart=APART):
        self.library = library
        self.codes = library.codes_new()
        self.kept = library.recording_new(self.codes, resolve.Config(started, apart, most, form))
        assert self.kept
        self.most = most

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.recording_free(self.kept)
        self.library.codes_free(self.codes)

    def add(self, stack=(HERE,), time=0, thread=0, weight=1, flags=0, generation=0):
        """`stack`: addresses of code objects, or with an instruction each, innermost first."""
        depth = len(stack)
        frames = (Frame * depth)()
        for at, frame in enumerate(stack):
            code, instruction = frame if isinstance(frame, tuple) else (frame, 0)
            frames[at] = Frame(code, generation, instruction, 1)
        self.library.recording_add(self.kept, resolve.Sample(time, thread, 1, weight, flags, depth, frames))

    @property
    def there(self):
        return self.kept[0]

    def records(self):
        """first, last, thread, node, weight, flags"""
        return [tuple(getattr(each, name) for name, _ in each._fields_) for each in self.there.records()]

    def lost(self):
        return self.there.lost_samples, self.there.lost_ticks

    def held(self):
        return self.library.budget_used(ctypes.byref(self.there.budget))


DIE = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)


class Death(ctypes.Structure):
    _fields_ = [("die", DIE), ("names", resolve.NAME)]


def die(room, address, generation):
    """The object there dies, at that generation."""
    death = Death(DIE(lambda _: generation), resolve.NAME(lambda *_: False))
    room.library.codes_died(room.codes, address, ctypes.byref(death))


def library_of(path):
    library = resolve.load(path)
    library.codes_died.restype = ctypes.c_bool
    library.codes_died.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(Death)]
    library.budget_used.restype = ctypes.c_uint64
    library.codes_bytes.restype = ctypes.c_uint64
    library.codes_bytes.argtypes = [ctypes.c_void_p]
    library.codes_limit.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    library.codes_identify.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    return library


@pytest.fixture(scope="module")
def core(harness):
    return library_of(harness._name)


# --- the call tree --------------------------------------------------------------------------------


def test_stacks_share_their_outer_frames(core):
    with Room(core) as room:
        room.add([HERE + 32, HERE + 16, HERE])
        room.add([(HERE + 32, 7), HERE + 16, HERE])
        room.add([HERE + 16, HERE])
        room.add([])
        assert [(node.parent, node.instruction) for node in room.there.nodes()] == [(-1, 0), (0, 0), (1, 0), (1, 7)]
        assert [node for _, _, _, node, *_ in room.records()] == [2, 3, 1, ROOT]


def test_many_nodes_lie_in_blocks_and_are_found_again(core):
    with Room(core) as room:
        stacks = [[(HERE + 16 * (number % 300), number), HERE] for number in range(3 * BLOCK)]
        for stack in stacks * 2:
            room.add(stack)
        nodes = [node for _, _, _, node, *_ in room.records()]
        assert room.there.tree.count == 3 * BLOCK + 1
        assert nodes == list(range(1, 3 * BLOCK + 1)) * 2
        assert [node.instruction for node in room.there.nodes()[1:]] == list(range(3 * BLOCK))


def test_stack_seen_lately_is_known_by_its_objects_and_not_by_addresses(core):
    """An object dies and another has its address: the same numbers are another stack."""
    with Room(core) as room:
        room.add([HERE], generation=0)
        die(room, HERE, generation=5)
        room.add([HERE], generation=0)  # taken before the death
        room.add([HERE], generation=5)
        room.add([HERE], generation=0)
        codes = [room.there.nodes()[node].code for _, _, _, node, *_ in room.records()]
        assert codes[0] == codes[2] != codes[1]
        assert [weight for *_, weight, _ in room.records()] == [2, 1, 1]


def test_stack_is_not_the_beginning_or_the_end_of_another(core):
    with Room(core) as room:
        for stack in ([HERE], [HERE, HERE], [HERE, HERE, HERE], [HERE, HERE], [HERE], []):
            room.add(stack)
        assert [node for _, _, _, node, *_ in room.records()] == [0, 1, 2, 1, 0, ROOT]


def test_stacks_with_one_hash_are_two(core):
    """One that is the inner part of the other, with the outer frame's address chosen for it."""

    def mixed(hash, word):
        hash = (hash ^ word) * 0x9E37_79B9_7F4A_7C15 & (1 << 64) - 1
        return hash ^ hash >> 29

    inner, outer = HERE, mixed(2, HERE) ^ 1 ^ HERE
    assert mixed(mixed(2, inner), outer) == mixed(1, inner), "the depth is what a hash begins with"
    with Room(core) as room:
        room.add([inner, outer])
        room.add([inner])
        assert [node.parent for node in room.there.nodes()] == [ROOT, 0, ROOT]
        assert [node for _, _, _, node, *_ in room.records()] == [1, 2]


# --- a timeline -----------------------------------------------------------------------------------


def test_equal_stacks_in_a_row_are_one_record(core):
    with Room(core, started=100) as room:
        for time in (110, 120, 150):
            room.add([HERE], time=time, thread=7, weight=2, flags=1)
        assert room.records() == [(10, 50, 7, 0, 6, 1)]


@pytest.mark.parametrize(
    "other", [{"stack": [HERE + 16]}, {"flags": 1}, {"thread": 2}, {"time": 10 + APART + 1}], ids=str
)
def test_what_differs_has_a_record_of_its_own(core, other):
    with Room(core) as room:
        room.add(time=10, thread=1)
        room.add(**{"time": 10, "thread": 1, **other})
        assert len(room.records()) == 2


def test_how_a_stack_was_seen_does_not_part_what_is_equal(core):
    with Room(core) as room:
        for flags in (0, 4, 1 | 4, 1):
            room.add(flags=flags)
        assert [(weight, flags) for *_, weight, flags in room.records()] == [(2, 0), (2, 1)]


def test_threads_do_not_part_what_is_equal(core):
    with Room(core) as room:
        for time in range(10):
            for thread in range(50):
                room.add([HERE + 16 * thread], time=time, thread=thread)
        assert len(room.records()) == 50
        assert {(last, weight) for _, last, _, _, weight, _ in room.records()} == {(9, 10)}


def test_gap_counts_from_the_last_of_a_record(core):
    with Room(core) as room:
        for time in (0, APART, 2 * APART):
            room.add(time=time)
        assert room.records() == [(0, 2 * APART, 0, 0, 3, 0)]


def test_no_weight_overflows(core):
    for form in (TIMELINE, COUNTS):
        with Room(core, form) as room:
            for weight in (WEIGHT_MOST - 5, 5, 1, 1):
                room.add(weight=weight)
            assert [weight for *_, weight, _ in room.records()] == [WEIGHT_MOST, 2]


def test_threads_far_apart_in_number_are_not_one(core):
    with Room(core) as room:
        for thread in (3, 3 + resolve.RECENT, 3):
            room.add(thread=thread)
        assert [thread for _, _, thread, *_ in room.records()] == [3, 3 + resolve.RECENT, 3]


# --- counts ---------------------------------------------------------------------------------------


def test_counts_have_one_record_for_each_stack_of_a_thread(core):
    with Room(core, COUNTS) as room:
        for time in range(1000):
            room.add([HERE + 16 * (time % 3)], time=time * APART * 2, thread=time % 2, weight=2, flags=time % 2)
        assert len(room.records()) == 6
        assert all(weight in (332, 334) for *_, weight, _ in room.records())
        assert room.records()[1][:2] == (2 * APART, 2 * APART * 997)


def test_counts_do_not_grow_with_time(core):
    with Room(core, COUNTS) as room:
        stacks = [[HERE + 16 * number] for number in range(20)]
        for stack in stacks:
            room.add(stack)
        before = room.held()
        for time in range(100_000):
            room.add(stacks[time % 20], time=time)
        assert room.held() == before
        assert sum(weight for *_, weight, _ in room.records()) == 100_020


# --- the bound ------------------------------------------------------------------------------------


def counted(room):
    found = Counter()
    for _, _, thread, node, weight, flags in room.records():
        found[thread, node, flags] += weight
    return found


def test_timeline_that_may_not_grow_becomes_counts(core):
    """And nothing of it is lost but the times."""
    with Room(core, most=2 * MEBIBYTE) as room:
        expected, dice, time = Counter(), random.Random(7), 0
        while room.there.form == TIMELINE:
            thread, number = dice.randrange(4), dice.randrange(500)
            room.add([HERE + 16 * number, HERE], time=time, thread=thread)
            expected[thread, number] += 1
            time += 1
            assert room.held() <= room.most and time < 100 * BLOCK
        assert time > 8 * BLOCK, "there was no timeline"
        assert room.lost() == (0, 0)
        assert sum(counted(room).values()) == time
        assert len(room.records()) == len(counted(room)) == len(expected)
        assert sorted(counted(room).values()) == sorted(expected.values())
        assert room.held() < MEBIBYTE
        first = min(first for first, *_ in room.records())
        last = max(last for _, last, *_ in room.records())
        assert (first, last) == (0, time - 1)


def folded(path, distinct):
    library = library_of(path)
    with Room(library, most=4 * MEBIBYTE) as room, Room(library, COUNTS) as fresh:
        places = [(number % distinct, number // distinct % 2) for number in range(200_000)]
        added = 0
        while room.there.form == TIMELINE and room.lost() == (0, 0):
            thread, flags = places[added]
            room.add([], time=added, thread=thread, flags=flags)
            fresh.add([], time=added, thread=thread, flags=flags)
            added += 1
        assert room.there.form == COUNTS
        if distinct <= 3 * BLOCK:
            assert room.lost() == (0, 0)
            assert room.records() == fresh.records()
            assert room.there.budget.used == fresh.there.budget.used, "a block too many is held"
        assert sum(weight for *_, weight, _ in room.records()) + room.lost()[1] == added
        assert room.held() <= room.most


@pytest.mark.parametrize("distinct", [1, BLOCK // 2, BLOCK // 2 + 1, 3 * BLOCK, 100_000])
def test_however_many_of_the_records_are_distinct(harness, distinct):
    """Where they lie close together and where hardly one can be folded, what was kept is kept."""
    in_child(folded, harness._name, distinct)


@pytest.mark.parametrize("form", [TIMELINE, COUNTS])
def test_records_alone_reach_the_bound(core, form):
    with Room(core, form, most=MEBIBYTE) as room:
        thread = 0
        while room.lost() == (0, 0):
            room.add([], thread=thread)
            thread += 1
            assert thread < MEBIBYTE // 32
        assert thread > 10_000 and room.held() <= room.most


def test_where_counts_may_not_grow_new_stacks_are_lost_and_known_ones_kept(core):
    with Room(core, COUNTS, most=MEBIBYTE) as room:
        number = 0
        while room.lost() == (0, 0):
            room.add([HERE + 16 * number], weight=3)
            number += 1
            assert number < 100_000, "there is no bound"
        kept = len(room.records())
        assert (kept, room.lost()) == (number - 1, (1, 3))
        for again in range(kept):
            room.add([HERE + 16 * again])
        assert room.lost() == (1, 3)
        assert {weight for *_, weight, _ in room.records()} == {4}
        assert room.held() <= room.most


def test_names_of_code_objects_are_within_the_bound(core):
    """Objects that samples mean keep their names, however many die."""
    with Room(core, COUNTS, most=4 * MEBIBYTE) as room:
        before = room.held()
        core.codes_identify(room.codes, HERE, 0)
        name = resolve.NAME(lambda _, names: bool(names.__setitem__(0, long_names())) or True)
        core.codes_name_living(room.codes, name)
        assert room.held() - before > 3 * MEBIBYTE
        held = [core.codes_identify(room.codes, HERE + 16 * number, 0) for number in range(1, 100_000)]
        assert -1 in held
        assert core.codes_identify(room.codes, HERE, 0) == 0


def long_names():
    text = bytes(MEBIBYTE)
    return resolve.Names(resolve.owned(text), resolve.owned(text), resolve.owned(text), 1)


def dies_unremembered(path):
    """The table of code objects is full when one dies, and has room again when its sample is met."""
    library = library_of(path)
    with Room(library) as room:
        held = resolve.NAME(lambda *_: False)
        for number in range(256):  # as many as the table begins with
            library.codes_identify(room.codes, HERE + 16 * number, 0)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size, most))
        death = Death(DIE(lambda _: 5), held)
        remembered = library.codes_died(room.codes, HERE - 16, ctypes.byref(death))
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
        assert not remembered
        assert library.codes_identify(room.codes, HERE - 16, 4) == -1, "it would have the name of whoever is there next"
        assert library.codes_identify(room.codes, HERE - 16, 5) == 256
        assert library.codes_identify(room.codes, HERE, 4) == 0


def test_death_that_there_was_no_memory_for_gives_no_wrong_name(harness, limits):
    in_child(dies_unremembered, harness._name)


def without_memory(path):
    """Of a thousand blocks of records at most fifty are to be had, and then more again."""
    with Room(library_of(path)) as room:
        time = 0
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + 50 * BLOCK * ctypes.sizeof(resolve.Recorded), most))
        while room.there.form == TIMELINE:
            room.add([], time=time, flags=time % 2, weight=3)
            time += 1
            assert time < 1000 * BLOCK, "memory did not run out"
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
        assert time > 40 * BLOCK, "there was no memory for a timeline"
        assert sum(weight for *_, weight, _ in room.records()) == 3 * time
        assert room.lost() == (0, 0)


def test_where_the_system_has_no_more_memory_nothing_is_lost_that_was_kept(harness, limits):
    in_child(without_memory, harness._name)


def test_what_is_recorded_is_not_in_the_heap(core):
    """A hundred thousand objects, nodes and records. In the C library's heaps they would stay with the process."""
    before = held.memory()
    with Room(core) as room:
        for number in range(100_000):
            room.add([HERE + 16 * number])
        assert (core.codes_count(room.codes), room.there.tree.count, room.there.count) == (100_000,) * 3
        recorded = held.memory()
        assert recorded["heap"] - before["heap"] < MEBIBYTE
        assert recorded["process"] - before["process"] <= room.held() + MEBIBYTE
    freed = held.memory()
    assert recorded["process"] - freed["process"] > 8 * MEBIBYTE
    assert freed["process"] - before["process"] < 4 * MEBIBYTE


# --- any order ------------------------------------------------------------------------------------

SAMPLE = st.tuples(
    st.lists(st.sampled_from([HERE, HERE + 16]), max_size=3),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 1),
    st.sampled_from([0, 1, APART, APART + 1]),
)


def timeline_of(samples):
    """As it is meant: (first, last, thread, stack, weight, flags)."""
    records, recent, now = [], {}, 0
    for stack, thread, weight, flags, pause in samples:
        now += pause
        former = recent.get(thread)
        if former and (former[3], former[5]) == (stack, flags) and now - former[1] <= APART:
            former[1], former[4] = now, former[4] + weight
        else:
            recent[thread] = [now, now, thread, stack, weight, flags]
            records.append(recent[thread])
    return records


@given(samples=st.lists(SAMPLE, max_size=60))
def test_any_samples(core, samples):
    with Room(core) as room, Room(core, COUNTS) as counts:
        now = 0
        for stack, thread, weight, flags, pause in samples:
            now += pause
            room.add(stack, now, thread, weight, flags)
            counts.add(stack, now, thread, weight, flags)
        nodes = room.there.nodes()
        codes = {}

        def stack_of(node):
            stack = []
            while node != ROOT:
                stack.append(nodes[node].code)
                node = nodes[node].parent
            return stack

        def numbered(stack):  # codes are numbered as they are met, the outermost first
            return [codes.setdefault(address, len(codes)) for address in reversed(stack)][::-1]

        expected = [[*found[:3], numbered(found[3]), *found[4:]] for found in timeline_of(samples)]
        found = [[*record[:3], stack_of(record[3]), *record[4:]] for record in room.records()]
        assert found == expected
        by_place = Counter()
        for stack, thread, weight, flags, _ in samples:
            by_place[thread, tuple(stack), flags] += weight
        assert sorted(weight for *_, weight, _ in counts.records()) == sorted(by_place.values())

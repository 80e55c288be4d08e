"""Threads by the lives of their kernel ids: whose name a thread has that was found at a moment."""

import ctypes

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

SECOND = 1_000_000_000
MOMENT = SECOND // 10  # for which a thread may be found after it took its name back
GOES_ON = (1 << 64) - 1

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]


class Text(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Life(ctypes.Structure):
    _fields_ = [
        ("tid", ctypes.c_int32),
        ("born", ctypes.c_uint64),
        ("ended", ctypes.c_uint64),
        ("name", Text),
        ("thread", ctypes.c_void_p),
    ]


class CLives(ctypes.Structure):
    _fields_ = [("of", ctypes.POINTER(Life)), ("count", ctypes.c_size_t), ("room", ctypes.c_size_t)]


TIME = ctypes.POINTER(ctypes.c_uint64)
FOUND = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint64, ctypes.POINTER(ctypes.c_int32), TIME, TIME)


class Lives:
    """The C table; a name is the number of the life, as text."""

    def __init__(self, library, lives):
        self.library = library
        library.lives_add.argtypes = [ctypes.c_void_p, Life]
        library.lives_add.restype = ctypes.c_bool
        library.lives_prune.argtypes = [ctypes.c_void_p, ctypes.c_uint64, FOUND]
        library.lives_find.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint64]
        library.lives_find.restype = ctypes.POINTER(Life)
        self.table = CLives()
        for number, (tid, born, ended) in enumerate(lives):
            name = b"%d" % number
            bytes = libc.malloc(len(name))
            ctypes.memmove(bytes, name, len(name))
            assert library.lives_add(ctypes.byref(self.table), Life(tid, born, ended, Text(bytes, len(name)), None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.lives_free(ctypes.byref(self.table))
        assert (bool(self.table.of), self.table.count) == (False, 0)

    def prune(self, now, found):
        def at(number, tid, after, before):
            if number >= len(found):
                return False
            tid[0], after[0], before[0] = found[number]
            return True

        self.library.lives_prune(ctypes.byref(self.table), now, FOUND(at))

    def numbers(self):
        return sorted(self.number(self.table.of[index]) for index in range(self.table.count))

    def number(self, life):
        return int(ctypes.string_at(life.name.bytes, life.name.length))

    def find(self, tid, after, before):
        self.library.lives_sort(ctypes.byref(self.table))
        found = self.library.lives_find(ctypes.byref(self.table), tid, after, before)
        return self.number(found[0]) if found else None


def may_be(life, tid, after, before):
    return life[0] == tid and life[1] <= before and (life[2] == GOES_ON or after <= life[2] + MOMENT)


def expected(lives, tid, after, before):
    """Numbers of the lives that may be found: those that ended last."""
    fitting = [number for number, life in enumerate(lives) if may_be(life, tid, after, before)]
    last = max((lives[number][2] for number in fitting), default=None)
    return [number for number in fitting if lives[number][2] == last] or [None]


TICKS = st.integers(0, 40).map(lambda time: time * MOMENT // 2)
LIVES = st.lists(
    st.tuples(st.integers(1, 4), TICKS, TICKS | st.none()).map(
        lambda life: (life[0], life[1], GOES_ON if life[2] is None else life[1] + life[2])
    ),
    max_size=90,
)
FINDING = st.tuples(st.integers(0, 5), TICKS, TICKS).map(lambda one: (one[0], one[1], one[1] + one[2] // 8))


@examples(2)
@given(lives=LIVES, finding=FINDING)
def test_found_life_is_that_of_the_moment(lives, finding):
    with Lives(support.harness(), lives) as table:
        assert table.find(*finding) in expected(lives, *finding)


@examples(2)
@given(lives=LIVES, found=st.lists(FINDING, max_size=30), now=TICKS)
def test_lives_of_threads_that_nobody_found_are_dropped_a_moment_after_their_end(lives, found, now):
    kept = [
        number
        for number, life in enumerate(lives)
        if life[2] == GOES_ON or now <= life[2] + MOMENT or any(may_be(life, *finding) for finding in found)
    ]
    with Lives(support.harness(), lives) as table:
        table.prune(now, found)
        assert table.numbers() == kept


@pytest.mark.parametrize(
    ("after", "before", "number"),
    [
        (0, 0, 0),
        (8 * SECOND + MOMENT, 9 * SECOND, 0),
        (8 * SECOND + MOMENT + 1, 11 * SECOND - 1, None),  # of one that told nobody its name
        (8 * SECOND + MOMENT + 1, 11 * SECOND, 1),
        (8 * SECOND, 11 * SECOND - 1, 0),
        (12 * SECOND, 12 * SECOND, 1),
        (20 * SECOND + MOMENT, 21 * SECOND, 1),
        (20 * SECOND + MOMENT + 1, 21 * SECOND, None),
        (21 * SECOND, 31 * SECOND - 1, None),
        (21 * SECOND, 31 * SECOND, 2),
        (99 * SECOND, 99 * SECOND, 2),
    ],
)
def test_id_that_is_used_again(harness, after, before, number):
    lives = [
        (7, 0, 8 * SECOND),
        (8, 0, GOES_ON),
        (7, 11 * SECOND, 20 * SECOND),
        (7, 31 * SECOND, GOES_ON),
        (6, 0, GOES_ON),
    ]
    with Lives(harness, lives) as table:
        assert table.find(7, after, before) == (None if number is None else [0, 2, 3][number])


def test_thread_that_told_several_names_has_the_last(harness):
    with Lives(harness, [(7, 0, 5 * SECOND), (7, 5 * SECOND, GOES_ON), (7, 2 * SECOND, 3 * SECOND)]) as table:
        assert table.find(7, 2 * SECOND, 2 * SECOND) == 0
        assert table.find(7, 5 * SECOND, 5 * SECOND) == 1

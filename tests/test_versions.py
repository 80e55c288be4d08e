"""Structs that say how large they are: program and library may be of different versions."""

import ctypes
import errno

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from test_model_session import INTERVAL, World, former_owner  # noqa: F401 - a fixture

from model import session

TAKEN, WRONG_SIZE, UNKNOWN = range(3)
MOST = 4096
GUARD = b"\xa5" * 64
WORD = 8


class Versions(ctypes.Structure):
    C_NAME = "struct versions"
    _fields_ = [("first", ctypes.c_size_t), ("own", ctypes.c_size_t)]


@pytest.fixture(scope="module")
def library(harness):
    harness.versioned_take.argtypes = [ctypes.c_char_p, ctypes.c_char_p, Versions]
    harness.versioned_give.argtypes = [ctypes.c_char_p, ctypes.c_char_p, Versions]
    harness.versioned_give.restype = ctypes.c_bool
    return harness


def sized(size, content):
    """A struct of that size, or what there is of it."""
    return (size.to_bytes(WORD, "little") + content)[: max(size, WORD)]


SIZES = st.integers(WORD, 64).flatmap(lambda first: st.tuples(st.just(first), st.integers(first, 96)))
BYTES = st.binary(min_size=160, max_size=160)


# --- taking and giving -------------------------------------------------------------------------------------


@given(SIZES, st.integers(0, 160) | st.sampled_from([MOST + 1, (1 << 64) - 1]), BYTES, st.booleans())
def test_struct_of_a_program_is_taken(library, sizes, size, content, zeros):
    first, own = sizes
    content = content[: max(own - WORD, 0)] + (bytes(160) if zeros else content)
    theirs = sized(size, content) if size <= 160 else size.to_bytes(WORD, "little") + content
    ours = ctypes.create_string_buffer(GUARD * 4)
    taken = library.versioned_take(ours, theirs, Versions(first, own))
    if size < first or size > MOST:
        assert taken == WRONG_SIZE
    elif any(theirs[own:size]):
        assert taken == UNKNOWN
    else:
        assert taken == TAKEN
        assert ours.raw[:own] == theirs[:size][:own].ljust(own, b"\0")
    written = own if taken == TAKEN else 0
    assert ours.raw[written : len(GUARD) * 4] == (GUARD * 4)[written:]


@given(SIZES, st.integers(0, 160) | st.sampled_from([MOST + 1, (1 << 64) - 1]), BYTES)
def test_struct_of_a_program_is_filled(library, sizes, size, content):
    first, own = sizes
    before = size.to_bytes(WORD, "little") + GUARD * 4
    theirs = ctypes.create_string_buffer(before)
    given_back = library.versioned_give(theirs, content, Versions(first, own))
    if size < first or size > MOST:
        assert not given_back and theirs.raw[: len(before)] == before
        return
    assert given_back
    assert theirs.raw[:WORD] == before[:WORD], "its size is the program's to say"
    assert theirs.raw[WORD:size] == content[WORD:own][: size - WORD].ljust(size - WORD, b"\0")
    assert theirs.raw[size : len(before)] == before[size:], "written past its end"


# --- the library's own ----------------------------------------------------------------------------------------


class Stage:
    def __init__(self, library):
        self.library = library
        self.library.spprof_error.restype = ctypes.c_char_p
        self.world = World(library)
        self.thread = self.world.birth()

    def start(self, size, behind=b"", **changes):
        """The answer to a configuration that says that it is so large."""
        config = self.world.make_config(session.Config(INTERVAL), self.thread)
        for name, value in changes.items():
            setattr(config, name, value)
        config.size = size
        content = bytes(config)[: min(size, ctypes.sizeof(config))] + behind
        return self.library.spprof_start(ctypes.create_string_buffer(content, max(len(content), size % MOST, 64)))

    def close(self):
        self.world.stop()
        self.thread.worker.end()
        self.world.close()


@pytest.fixture
def stage(harness, former_owner):  # noqa: F811
    made = Stage(harness)
    yield made
    made.close()


CONFIG, STATS = ctypes.sizeof(synthetic.Config), ctypes.sizeof(synthetic.Stats)
# What the first versions of the structs that had a size were; a later one is never smaller, nor differs in these bytes.
FIRST_CONFIG, FIRST_STATS = 80, 336


@pytest.mark.parametrize("size", [0, 1, FIRST_CONFIG - 1, MOST + 1, 1 << 63])
def test_configuration_of_no_version_is_refused(stage, size):
    assert stage.start(size) == -errno.EINVAL
    message = stage.library.spprof_error().decode()
    assert message == f"the configuration's size is {size}; set .size = sizeof(struct spprof_config)"


@pytest.mark.parametrize("size", sorted({FIRST_CONFIG, CONFIG}))
def test_configuration_of_an_older_program_is_taken(stage, size):
    assert stage.start(size) == 0


def test_configuration_of_a_newer_program_that_asks_for_nothing_new_is_taken(stage):
    assert stage.start(CONFIG + 24, bytes(24)) == 0


@pytest.mark.parametrize("at", [0, 7, 23])
def test_configuration_of_a_newer_program_that_asks_for_something_new_is_refused(stage, at):
    assert stage.start(CONFIG + 24, bytes(at) + b"\1" + bytes(23 - at)) == -errno.EINVAL
    message = stage.library.spprof_error().decode()
    assert message == (
        "the configuration sets what this library does not know; leave it 0, or use the library of that header"
    )
    assert not stage.library.spprof_is_active()


def stats_of(library, size):
    """(answer, the bytes that were filled in, what is behind them) of statistics that say that they are so large."""
    buffer = ctypes.create_string_buffer(size.to_bytes(WORD, "little") + GUARD * 16)
    answer = library.spprof_get_stats(buffer)
    room = size if size <= MOST else WORD
    return answer, buffer.raw[WORD : max(room, WORD)], buffer.raw[max(room, WORD) : WORD + len(GUARD) * 16]


@pytest.mark.parametrize("size", sorted({FIRST_STATS, STATS, STATS + 40}))
def test_statistics_are_filled_as_far_as_the_program_knows_them(stage, size):
    assert stage.start(CONFIG) == 0
    assert stage.world.stop() == session.OK
    whole = bytes(stage.world.stats())
    answer, filled, behind = stats_of(stage.library, size)
    assert answer == 0
    assert filled == whole[WORD:size].ljust(size - WORD, b"\0")
    assert behind == (GUARD * 17)[: len(behind)], "written past its end"
    assert stage.world.stats().threads == 1


@pytest.mark.parametrize("size", [0, 8, FIRST_STATS - 1, MOST + 1])
def test_statistics_of_no_version_are_refused(stage, size):
    answer, filled, behind = stats_of(stage.library, size)
    assert answer == -errno.EINVAL
    assert filled + behind == GUARD * 16, "something was written"
    message = stage.library.spprof_error().decode()
    assert message == f"the statistics' size is {size}; set .size = sizeof(struct spprof_stats)"


def test_statistics_have_room_for_reasons_to_come():
    """An older program's members must not move when there is one more."""
    assert synthetic.REASONS_ROOM == 32 > len(synthetic.REASONS)
    assert synthetic.Stats.samples.offset == 16 + 8 * 32

"""A recording in a file: what the core appends while a session runs, and what the package reads of any part of it.

The core writes through ctypes, step by step; the package's reader (formats/recording.py) reads.
"""

import binascii
import ctypes
import errno
import json
import os
import random
import resource
import signal
import struct
import zlib
from pathlib import Path

import pytest
import test_recording
from fresh import check as in_child
from hypothesis import given
from hypothesis import strategies as st
from test_output_roundtrip import profile_of, recordings
from test_profile import formats, records, spprof
from test_recording import APART, COUNTS, HERE, TIMELINE, Room, resolve

recording = formats.recording
MEBIBYTE = 1 << 20
PAUSE = 500_000_000
FIELDS = [name for name, _ in resolve.Recorded._fields_]
THREAD = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint64, ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_char))


class Start(ctypes.Structure):
    _fields_ = [("path", ctypes.c_char_p), *((name, ctypes.c_uint64) for name in ("device", "inode", "size"))]


class Sources(ctypes.Structure):
    _fields_ = [("names", resolve.NAME), ("thread", THREAD)]


class Counters(ctypes.Structure):
    _fields_ = [
        ("threads", ctypes.c_uint64), ("ticks", ctypes.c_uint64), ("text", ctypes.c_char_p), ("size", ctypes.c_size_t)
    ]  # fmt: skip


def library_of(path):
    library = test_recording.library_of(path)
    pointer = ctypes.c_void_p
    library.recording_file_new.restype = pointer
    library.recording_file_new.argtypes = [pointer, ctypes.POINTER(Start), ctypes.POINTER(Sources)]
    library.recording_file_free.argtypes = library.recording_file_failures.argtypes = [pointer]
    library.recording_file_error.argtypes = [pointer]
    library.recording_file_is_due.argtypes = [pointer, ctypes.c_uint64]
    library.recording_file_append.argtypes = [pointer, ctypes.POINTER(Counters), ctypes.c_uint64]
    library.recording_file_finish.argtypes = [pointer, ctypes.POINTER(Counters)]
    library.recording_file_end.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t]
    library.checksum.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
    library.checksum.restype = ctypes.c_uint32
    for name in ("is_due", "append", "finish", "end"):
        getattr(library, f"recording_file_{name}").restype = ctypes.c_bool
    return library


@pytest.fixture(scope="module")
def core(harness):
    return library_of(harness._name)


def name_of(address, names):
    """What each code object is called, by its address."""
    name, table = f"f{address - HERE:x} \udc80", bytes([0x80 | 11 << 3 | 2, 0, 0])  # three units of the next line
    if address % 32:
        return False
    texts = (name.encode("utf-8", "surrogatepass"), b"/there/f.py", table)
    names[0] = resolve.Names(*map(resolve.owned, texts), 10)
    return True


def thread_of(number, tid, name):
    tid[0] = 100 + number
    for at, byte in enumerate(f"thread-{number}".encode()[:15] + b"\0"):
        name[at] = byte
    return number != 3


class Written(Room):
    """A recording with a file."""

    def __init__(self, library, path, form=TIMELINE, most=1 << 30, **settings):
        super().__init__(library, form, most, **settings)
        self.path = Path(path)
        self.threads, self.ticks = 5, 0
        asked = recording.Settings("cpu", 10.0, ("timeline", "counts")[form], 100, ["/launcher/", "/script"])
        self.head = recording.head(asked)
        self.path.write_bytes(self.head)
        found = self.path.stat()
        start = Start(os.fsencode(self.path), found.st_dev, found.st_ino, len(self.head))
        self.sources = Sources(resolve.NAME(name_of), THREAD(thread_of))
        self.file = library.recording_file_new(self.kept, start, self.sources)
        assert self.file
        self.now = 0

    def __exit__(self, *_):
        self.library.recording_file_free(self.file)
        super().__exit__()

    def add(self, stack=(HERE,), time=0, thread=0, weight=1, flags=0):
        super().add(stack, time, thread, weight, flags)
        self.ticks += weight

    def counters(self):
        said = {**zeros(), "ticks": self.ticks, "captured": self.ticks, "threads": self.threads}
        text = json.dumps({**said, "duration_ns": self.now, "dropped": {"torn": 0}}).encode()
        return Counters(self.threads, self.ticks, text, len(text))

    def append(self, pause=PAUSE):
        self.now += pause
        return self.library.recording_file_append(self.file, self.counters(), self.now)

    def finish(self):
        return self.library.recording_file_finish(self.file, self.counters())

    def end(self, names=None):
        names = [f"named {number}" for number in range(self.threads)] if names is None else names
        text = recording.end_text([records.Thread(number, 0, name) for number, name in enumerate(names)])
        return self.library.recording_file_end(self.file, text, len(text))

    def failures(self):
        return self.library.recording_file_failures(self.file)

    def error(self):
        return self.library.recording_file_error(self.file)

    def read(self):
        return recording.read(self.path.read_bytes())

    def check(self):
        """The file has what the recording has."""
        found = self.read()
        assert packed(found) == self.records()
        assert nodes_of(found) == self.tree()
        return found

    def tree(self):
        """Each node's parent, name, and line."""
        found = []
        for node in self.there.nodes():
            names = self.library.codes_get(self.codes, node.code)
            found.append((node.parent, *resolve.described(names), 11 if names and node.instruction < 3 else 0))
        return found


def zeros():
    return {name: 0 for name in spprof.counters.zero_counters() if name != "dropped"}


def packed(contents):
    return [each for block in contents.native["samples"] for each in struct.iter_unpack("=qqIiII", block)]


def nodes_of(contents):
    found = [each for block in contents.native["nodes"] for each in struct.iter_unpack("=iii", block)]
    return [(parent, *contents.native["codes"][code], line) for parent, code, line in found]


@pytest.fixture
def room(core, tmp_path):
    with Written(core, tmp_path / "session.spprof") as written:
        yield written


def fill(room, number, dice):
    """So many samples of a few threads, with stacks that are shared, known and new."""
    for _ in range(number):
        depth = dice.randrange(4)
        stack = [(HERE + 16 * dice.randrange(40), dice.randrange(5)) for _ in range(depth)]
        room.time = getattr(room, "time", 0) + dice.choice([0, 1, 1000, APART + 1])
        room.add(stack, room.time, dice.randrange(room.threads), dice.randrange(1, 4), dice.randrange(3))


# --- what is appended ------------------------------------------------------------------------------


@given(data=st.binary(max_size=200), before=st.binary(max_size=50))
def test_checksum_is_that_of_zlib(core, data, before):
    found = core.checksum(core.checksum(0, before, len(before)), data, len(data))
    assert found == zlib.crc32(before + data) == binascii.crc32(before + data)


@pytest.mark.parametrize("form", [TIMELINE, COUNTS])
def test_each_append_has_what_is_new(core, tmp_path, form):
    with Written(core, tmp_path / "a.spprof", form) as room:
        dice = random.Random(3)
        for number in (0, 1, 50, 0, 3, 400, 2):
            fill(room, number, dice)
            assert room.append()
            found = room.check()
            assert not found.is_whole and found.native["stats"]["captured"] == room.ticks
        assert room.finish() and room.end()
        assert room.check().is_whole
        assert room.failures() == 0


def test_what_changes_is_written_and_nothing_else(room):
    for number in range(10_000):
        room.add([HERE], time=number * 2 * APART, thread=number % 5)
    assert room.append() and len(room.records()) == 10_000
    size = room.path.stat().st_size
    room.add([HERE], time=9_999 * 2 * APART + 5, thread=4, weight=7)
    room.add([HERE], time=9_998 * 2 * APART + 6, thread=3)
    assert room.append()
    assert 0 < room.path.stat().st_size - size < 1000
    room.check()


def test_file_is_opened_each_time_and_left_closed(room):
    before = set(os.listdir("/proc/self/fd"))
    room.add()
    assert room.append()
    assert set(os.listdir("/proc/self/fd")) == before


def test_nothing_is_written_where_nothing_came_but_now_and_then(room):
    room.add()
    sizes = []
    for _ in range(50):
        assert room.append()
        sizes.append(room.path.stat().st_size)
    assert 2 <= len(set(sizes)) <= 5
    assert room.read().native["stats"]["duration_ns"] >= room.now - 11_000_000_000


def test_it_is_due_often_in_the_beginning_and_twice_a_second_later(core, tmp_path):
    with Written(core, tmp_path / "a.spprof", started=1000) as room:
        due = lambda now: core.recording_file_is_due(room.file, now)  # noqa: E731
        assert not due(1000) and due(10_001_000)
        for age, pause in ((10, 10), (100, 25), (1000, 250), (100_000, 500)):
            room.now = 1000 + age * 1_000_000
            room.append(pause=0)
            assert not due(room.now + pause * 1_000_000 - 1) and due(room.now + pause * 1_000_000)


def test_threads_are_those_until_now(room):
    room.add(thread=0)
    room.threads = 2
    assert room.append()
    assert [thread.name for thread in room.read().threads] == ["thread 100", "thread-1"], "the first has the process's"
    room.threads = 5
    assert room.append()
    found = room.read()
    assert found.threads[3].name == "thread 0", "nothing is known of this one"
    assert [thread.native_id for thread in found.threads] == [100, 101, 102, 0, 104]
    assert room.end(["a", "\udc80", "", "d", "e"])
    assert [thread.name for thread in room.read().threads] == ["a", "\udc80", "", "d", "e"]


def test_timeline_that_becomes_counts_is_read_as_counts(core, tmp_path):
    with Written(core, tmp_path / "a.spprof", most=4 * MEBIBYTE) as room:
        dice, appended = random.Random(5), 0
        while room.there.form == TIMELINE:
            fill(room, 2000, dice)
            if room.there.form == TIMELINE:
                appended += room.append()
        assert appended > 10
        before = len(room.read().native["samples"])
        assert room.append()
        found = room.check()
        assert len(found.native["samples"]) < before
        fill(room, 100, dice)
        assert room.append()
        room.check()


def test_large_file_takes_several_appends_and_reads_as_before_until_it_is_written(core, tmp_path):
    """So that whoever appends is not kept for long."""
    with Written(core, tmp_path / "a.spprof") as room:
        room.add([HERE])
        assert room.append()
        first = room.records()
        for number in range(300_000):
            room.add([], time=number * 2 * APART)
        size, steps = room.path.stat().st_size, 0
        while not room.append(pause=0):
            assert room.error() == 0
            assert room.library.recording_file_is_due(room.file, room.now), "there is more"
            assert packed(room.read()) == first
            assert room.path.stat().st_size - size < 5 * MEBIBYTE
            size, steps = room.path.stat().st_size, steps + 1
        assert steps >= 2
        room.check()


# --- the whole again -------------------------------------------------------------------------------


def grow(room, appends=2_000):
    """Counts that change all the time: a file of changes, one much like another."""
    for _ in range(appends):
        for number in range(300):
            room.add([HERE + 32 * number], time=room.now)
        assert room.append() or room.error() == 0


def test_file_that_has_come_to_be_large_is_written_again(core, tmp_path):
    """A program that runs for days does not fill the disk."""
    with Written(core, tmp_path / "a.spprof", COUNTS) as room:
        room.path.chmod(0o640)
        first = room.path.stat()
        grow(room, 5_000)
        assert room.failures() == 0
        assert room.path.stat().st_size < 6 * MEBIBYTE < 5_000 * 300 * 16
        assert room.path.stat().st_ino != first.st_ino and room.path.stat().st_mode == first.st_mode
        assert [path.name for path in room.path.parent.iterdir()] == ["a.spprof"]
        assert room.finish() and room.end()
        assert room.check().is_whole


def test_where_it_cannot_be_written_again_it_goes_on(core, tmp_path):
    with Written(core, tmp_path / "a.spprof", COUNTS) as room:
        (tmp_path / "a.spprof.part").mkdir()
        first = room.path.stat().st_ino
        grow(room)
        assert room.path.stat().st_size > 2_000 * 300 * 16
        assert room.path.stat().st_ino == first
        assert room.error() == 0
        assert room.finish() and room.end()
        assert room.check().is_whole


def test_what_is_put_in_the_place_of_the_file_is_left_alone(core, tmp_path):
    with Written(core, tmp_path / "a.spprof", COUNTS) as room:
        grow(room, 10)
        os.rename(room.path, tmp_path / "away")
        room.path.write_bytes(bytes(MEBIBYTE))
        room.add()
        assert not room.append() and room.error() == errno.ESTALE
        assert room.path.read_bytes() == bytes(MEBIBYTE)
        room.path.unlink()
        assert not room.append() and room.error() == errno.ENOENT
        assert room.failures() == 2
        room.path.symlink_to(tmp_path / "away")
        assert not room.append() and room.error() == errno.ELOOP
        room.path.unlink()
        os.mkfifo(room.path)
        assert not room.append() and room.error() == errno.ESTALE
        room.path.unlink()
        os.rename(tmp_path / "away", room.path)
        assert room.append() and room.error() == 0
        room.check()


def test_what_is_put_there_while_it_is_written_again_is_left_alone(core, tmp_path):
    """And the first file gets what has changed since, which had gone to the other."""
    with Written(core, tmp_path / "a.spprof", COUNTS) as room:
        for number in range(200_000):
            room.add([(HERE, number)])
        part = tmp_path / "a.spprof.part"
        while not part.exists():
            assert not room.append(pause=0) and room.error() == 0
            room.add([(HERE, 0)], time=5)
        os.rename(room.path, tmp_path / "away")
        room.path.write_text("the program's own")
        while room.error() == 0:
            assert not room.append(pause=0)
        assert room.error() == errno.ESTALE and not part.exists()
        assert room.path.read_text() == "the program's own"
        os.rename(tmp_path / "away", room.path)
        assert room.finish() and room.end()
        assert room.check().is_whole


# --- what cannot be written ------------------------------------------------------------------------


def limited(path, folder):
    """The file may have so many bytes and no more: each write stops after each byte in turn."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which ends the process
    library = library_of(path)
    with Written(library, Path(folder) / "whole.spprof") as whole:
        dice = random.Random(1)
        fill(whole, 12, dice)
        assert whole.append()
        size = whole.path.stat().st_size
        head = len(whole.head)
    for limit in range(head, size + 1, 1):
        with Written(library, Path(folder) / "a.spprof") as room:
            fill(room, 12, random.Random(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            fits = room.append()
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert fits == (limit == size), (limit, size)
            if not fits:
                assert room.error() == errno.EFBIG and room.failures() == 1
                assert room.path.stat().st_size <= limit
                assert packed(room.read()) == []
            fill(room, 3, random.Random(2))
            assert room.append() and room.error() == 0
            assert room.finish() and room.end() and room.check().is_whole
            room.path.unlink()
    assert signal.SIGXFSZ not in signal.sigpending()


def test_write_that_stops_after_any_byte_leaves_whole_blocks_and_is_made_up_for(harness, tmp_path):
    in_child(limited, harness._name, tmp_path)


def test_half_a_block_that_could_not_be_cut_off_is_cut_off_later(room):
    """What follows the last whole block was left by a write that failed."""
    room.add()
    assert room.append()
    with room.path.open("ab") as file:
        file.write(b"half a block")
    room.add([HERE])
    assert room.append()
    assert room.finish() and room.end() and room.check().is_whole


def test_file_that_was_shortened_is_given_up(room):
    room.add()
    assert room.append()
    os.truncate(room.path, len(room.head))
    room.add([HERE])
    assert not room.append() and room.error() == errno.ESTALE
    assert room.path.stat().st_size == len(room.head)


def test_end_is_written_once(room):
    assert room.finish() and room.end()
    size = room.path.stat().st_size
    assert room.end() and room.path.stat().st_size == size
    assert room.read().is_whole


# --- any part of a file ----------------------------------------------------------------------------


def steps(core, path):
    """A file, and after each append its size and what had been recorded."""
    with Written(core, path) as room:
        dice, moments = random.Random(9), [(len(room.head), [])]
        for number in (5, 9, 2):
            fill(room, number, dice)
            assert room.append()
            moments.append((room.path.stat().st_size, room.records()))
        assert room.finish() and room.end()
        moments.append((room.path.stat().st_size, room.records()))
        return room.path.read_bytes(), moments


def test_file_that_was_cut_anywhere_has_all_until_some_append(core, tmp_path):
    data, moments = steps(core, tmp_path / "a.spprof")
    for size in range(len(data) + 1):
        if size < moments[0][0]:
            with pytest.raises(recording.Unreadable):
                recording.read(data[:size])
            continue
        found = recording.read(data[:size])
        expected = next(held for until, held in reversed(moments) if until <= size)
        assert packed(found) == expected or packed(found) in [held for _, held in moments]
        assert found.is_whole == (size == len(data))
        assert found.native["stats"]["ticks"] == sum(weight for *_, weight, _ in packed(found))


def test_any_bit_that_is_wrong_is_noticed(core, tmp_path):
    data, _ = steps(core, tmp_path / "a.spprof")
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(recording.Unreadable) as told:
                recording.read(bytes(damaged))
            assert "\n" not in str(told.value)


BLOCKS = st.lists(st.tuples(st.integers(1, 10), st.one_of(st.binary(max_size=80), st.integers(0, 40))), max_size=12)


@pytest.fixture(scope="module")
def parts(core, tmp_path_factory):
    """Kind and contents of the blocks of a real file."""
    data, _ = steps(core, tmp_path_factory.mktemp("parts") / "a.spprof")
    return data, [(kind, bytes(payload)) for kind, payload in recording._Reader(data)._blocks()]


@given(chosen=BLOCKS, first=st.booleans())
def test_blocks_in_any_order_and_with_any_contents_are_read_or_refused(parts, chosen, first):
    """With checksums that are right."""
    data, known = parts
    blocks = [known[0]] if first else []
    blocks += [known[what % len(known)] if isinstance(what, int) else (kind, what) for kind, what in chosen]
    made = data[:16] + b"".join(recording._block(kind, payload) for kind, payload in blocks)
    try:
        found = recording.read(made)
    except recording.Unreadable as error:
        assert str(error).count("\n") == 0
        return
    profile = spprof.Profile(found.native, mode="cpu", interval_ms=1, threads=found.threads)
    assert sum(sample.weight for sample in profile) == profile.stats["captured"]
    assert list(formats.get("speedscope").write(profile.tree))
    assert list(formats.get("collapsed").write(profile.tree)) or not profile.stats["ticks"]


@given(data=st.binary(max_size=300), head=st.booleans())
def test_any_bytes_are_refused(parts, data, head):
    with pytest.raises(recording.Unreadable):
        recording.read(parts[0][:16] + data if head else data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: b"", "is not a recording of spprof"),
        (lambda data: b"\x7fELF" + data, "is not a recording of spprof"),
        (lambda data: data[:12] + struct.pack("=I", 2) + data[16:], "is a recording of version 2, and this spprof"),
        (lambda data: data[:16], "is a recording that was cut before its session began"),
        (lambda data: data + recording._block(8, b"{}"), "is damaged: it goes on after its end"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "a block does not have its checksum"),
    ],
)
def test_refusal_says_what_is_wrong(parts, change, told):
    with pytest.raises(recording.Unreadable) as refusal:
        recording.read(change(parts[0]))
    assert told in str(refusal.value)


# --- saved and loaded ------------------------------------------------------------------------------


def same(profile, loaded):
    for name in ("mode", "interval_ms", "threads", "stats"):
        assert getattr(loaded, name) == getattr(profile, name)
    assert list(loaded) == list(profile)
    return True


@given(given_recording=recordings())
def test_saved_recording_is_loaded_as_it_was(given_recording):
    profile = profile_of(*given_recording)
    data = b"".join(formats.get("recording").write(profile.tree))
    contents = recording.read(data)
    assert contents.is_whole and contents.settings.launchers == []
    loaded = spprof.Profile(
        contents.native,
        mode=contents.settings.mode,
        interval_ms=contents.settings.interval_ms,
        threads=contents.threads,
    )
    assert same(profile, loaded)


def swapped(data):
    """The file as a machine of the other byte order would have written it."""
    other = ">" if recording._own_order() == "<" else "<"
    forms = {2: None, 3: "iii", 4: "qqIiII", 5: "qII", 7: "i16s"}
    made = struct.pack(other + "8sII", *struct.unpack("=8sII", data[:16]))
    for kind, payload in recording._Reader(data)._blocks():
        text = bytes(payload)
        if kind == 2:
            at, text = 0, b""
            while at < len(payload):
                entry = struct.unpack_from("=iII", payload, at)
                end = at + 12 + entry[1] + entry[2]
                text += struct.pack(other + "iII", *entry) + bytes(payload[at + 12 : end])
                at = end
        elif forms.get(kind):
            text = b"".join(
                struct.pack(other + forms[kind], *each) for each in struct.iter_unpack("=" + forms[kind], text)
            )
        head = struct.pack(other + "III", kind, len(text), zlib.crc32(text))
        made += head + struct.pack(other + "I", zlib.crc32(head)) + text
    return made


def test_file_of_a_machine_of_the_other_byte_order_is_read(parts):
    own, other = recording.read(parts[0]), recording.read(swapped(parts[0]))
    assert packed(own) == packed(other) != []
    assert nodes_of(own) == nodes_of(other) != []
    assert own.threads == other.threads and own.native["stats"] == other.native["stats"]


def test_loaded_profile_is_saved_in_every_format(tmp_path):
    profile = profile_of([("f", "f.py", 1)], [(-1, 0, 3)], [(5, 0, 0, 2, 0)], [(1, "t")], {"busy": 3}, 10)
    profile.save(tmp_path / "a.spprof")
    assert (tmp_path / "a.spprof").read_bytes().startswith(b"\x89spprof\n")
    loaded = spprof.load(tmp_path / "a.spprof")
    assert same(profile, loaded) and loaded.is_whole
    for name in ("b.json", "b.txt", "b.spprof"):
        loaded.save(tmp_path / name)
        profile.save(tmp_path / f"own-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"own-{name}").read_bytes()


def test_launcher_is_trimmed_by_who_reads(tmp_path):
    codes = [("main", "/launcher/cli.py", 1), ("start", "/script", 1), ("f", "f.py", 1), ("g", "/scripts", 1)]
    nodes = [(-1, 0, 1), (0, 1, 1), (1, 2, 1), (2, 0, 1), (-1, 3, 1), (1, 3, 1)]
    samples = [(0, 0, node, 1, 0) for node in range(6)]
    profile = profile_of(codes, nodes, samples, [(1, "t")], {}, 10)
    first, *rest = formats.get("recording").write(profile.tree)
    head = recording.head(recording.Settings("cpu", 10, "timeline", 1, ["/launcher/", "/script"]))
    (tmp_path / "a.spprof").write_bytes(head + b"".join(rest))
    stacks = [[frame.name for frame in sample.stack] for sample in spprof.load(tmp_path / "a.spprof")]
    assert stacks == [["main"], ["main", "start"], ["f"], ["f", "main"], ["g"], ["g"]]


def test_ticks_that_were_on_their_way_are_in_progress_and_no_law_is_broken():
    stats = {
        **spprof.counters.zero_counters(),
        **zeros(),
        "captured": 7,
        "samples": 9,
        "ticks": 10,
        "dropped": {"busy": 3},
    }
    for captured, on_their_way in ((5, 2), (7, 0), (8, 0)):
        agreed = recording._agreed(stats, captured)
        assert agreed["captured"] == captured and agreed["ticks"] == captured + 3
        assert agreed["ticks_in_progress"] == on_their_way and agreed["samples"] <= captured

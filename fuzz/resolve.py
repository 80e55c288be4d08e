"""The core's way from samples to what the extension hands to the package: codes, call tree and recording, by ctypes.

The extension itself (core/python/native) needs an interpreter with a session; what it adds between these calls is done
here alike.
"""

import ctypes
from ctypes import c_bool, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

HARNESS = Path(__file__).resolve().parent.parent / "build" / "libspprof-harness.so"
ADDRESS = 0x10000  # of the first code object; nothing looks there


class Text(ctypes.Structure):
    _fields_ = [("bytes", c_void_p), ("length", c_size_t)]

    def copied(self):
        return ctypes.string_at(self.bytes, self.length)


class Names(ctypes.Structure):
    _fields_ = [("qualname", Text), ("filename", Text), ("linetable", Text), ("first_line", c_int32)]


NAME = ctypes.CFUNCTYPE(c_bool, c_void_p, ctypes.POINTER(Names))

libc = ctypes.CDLL(None)
libc.malloc.restype = c_void_p
libc.malloc.argtypes = [c_size_t]


def owned(data):
    """A text of malloc'ed memory, as the table of codes takes over."""
    memory = libc.malloc(len(data) + 1)
    ctypes.memmove(memory, data, len(data))
    return Text(memory, len(data))


class Frame(ctypes.Structure):
    _fields_ = [("code", c_uint64), ("generation", c_uint64), ("instruction", c_uint32), ("first_line", c_int32)]


class Sample(ctypes.Structure):
    _fields_ = [
        ("time", c_uint64), ("thread", c_uint64), ("tid", c_int32), ("weight", c_uint32), ("flags", c_uint32),
        ("depth", c_uint32), ("frames", ctypes.POINTER(Frame)),
    ]  # fmt: skip


class Node(ctypes.Structure):
    _fields_ = [("parent", c_int32), ("code", c_int32), ("instruction", c_uint32)]


class Recorded(ctypes.Structure):
    _fields_ = [
        ("first", c_int64), ("last", c_int64), ("thread", c_uint32), ("node", c_int32), ("weight", c_uint32),
        ("flags", c_uint32),
    ]  # fmt: skip


BLOCK = 4096  # nodes, records
RECENT = 4096  # threads whose last record is known
APART = 1_000_000_000  # nanoseconds between equal stacks, from which on they are two records
TIMELINE, COUNTS = range(2)


class Config(ctypes.Structure):
    _fields_ = [("started", c_uint64), ("apart", c_uint64), ("most", c_uint64), ("form", ctypes.c_int)]


class Budget(ctypes.Structure):
    _fields_ = [("codes", c_void_p), ("most", c_uint64), ("used", c_uint64)]


class Index(ctypes.Structure):
    _fields_ = [("places", c_void_p), ("size", c_uint64), ("count", c_uint64)]


class CallTree(ctypes.Structure):
    _fields_ = [
        ("codes", c_void_p), ("budget", c_void_p), ("blocks", ctypes.POINTER(ctypes.POINTER(Node))),
        ("block_room", c_uint32), ("count", c_int32), ("index", Index), ("memo", c_void_p),
    ]  # fmt: skip


class Recording(ctypes.Structure):
    _fields_ = [
        ("config", Config), ("budget", Budget), ("tree", CallTree),
        ("blocks", ctypes.POINTER(ctypes.POINTER(Recorded))), ("block_room", c_uint32), ("count", c_uint32),
        ("recent", c_uint32 * RECENT), ("index", Index), ("form", c_uint64), ("lost_samples", c_uint64),
        ("lost_ticks", c_uint64),
    ]  # fmt: skip

    def nodes(self):
        return [self.tree.blocks[number // BLOCK][number % BLOCK] for number in range(self.tree.count)]

    def records(self):
        return [self.blocks[number // BLOCK][number % BLOCK] for number in range(self.count)]


def load(path=HARNESS):
    library = ctypes.CDLL(str(path))
    library.codes_new.restype = c_void_p
    library.codes_free.argtypes = library.codes_count.argtypes = [c_void_p]
    library.codes_name_living.argtypes = [c_void_p, NAME]
    library.codes_get.argtypes = [c_void_p, c_int32]
    library.codes_get.restype = ctypes.POINTER(Names)
    library.recording_new.argtypes = [c_void_p, ctypes.POINTER(Config)]
    library.recording_new.restype = ctypes.POINTER(Recording)
    library.recording_free.argtypes = [ctypes.POINTER(Recording)]
    library.recording_add.argtypes = [ctypes.POINTER(Recording), ctypes.POINTER(Sample)]
    library.calltree_find_lines.argtypes = [ctypes.POINTER(CallTree)]
    return library


class Resolver:
    """Resolves one recording after another with one library."""

    def __init__(self, path=HARNESS):
        self.library = load(path)
        self.present = []  # the code objects of the recording that is resolved
        self.on_names = NAME(self._on_names)

    def _on_names(self, address, names):
        code = self.present[address - ADDRESS]
        if code.name is None:
            return False
        name, file = (text.encode("utf-8", "surrogatepass") for text in (code.name, code.file))
        names[0] = Names(owned(name), owned(file), owned(code.table), code.first_line)
        return True

    def native(self, recording):
        """What the extension's stop() would return."""
        self.present = recording.codes
        codes = self.library.codes_new()
        kept = self.library.recording_new(codes, Config(apart=APART, most=1 << 40, form=TIMELINE))
        try:
            for sample in recording.samples:
                self._add(kept, sample, recording)
            self.library.codes_name_living(codes, self.on_names)
            self.library.calltree_find_lines(kept[0].tree)
            return {**self._resolved(codes, kept[0]), "threads": list(recording.threads), "stats": stats(recording)}
        finally:
            self.library.recording_free(kept)
            self.library.codes_free(codes)

    def _add(self, kept, sample, recording):
        depth = len(sample.stack)
        frames = (Frame * depth)()
        for at, call in zip(range(depth - 1, -1, -1), sample.stack, strict=True):
            frames[at] = Frame(ADDRESS + call.code, 0, call.instruction, recording.codes[call.code].first_line)
        tid = recording.threads[sample.thread].tid
        self.library.recording_add(
            kept, Sample(sample.time, sample.thread, tid, sample.weight, sample.flags, depth, frames)
        )

    def _resolved(self, codes, kept):
        numbers = range(self.library.codes_count(codes))
        return {
            "codes": [described(self.library.codes_get(codes, number)) for number in numbers],
            "nodes": blocks_of(kept.nodes()),
            "samples": blocks_of(kept.records()),
        }


def blocks_of(records):
    """As the extension has them: so many in each but the last."""
    return [b"".join(map(bytes, records[at : at + BLOCK])) for at in range(0, len(records), BLOCK)]


def described(names):
    if not names:
        return "[unknown]", "", 0
    name, file = (text.copied().decode("utf-8", "surrogatepass") for text in (names[0].qualname, names[0].filename))
    return name, file, names[0].first_line


def stats(recording):
    captured, lost = sum(sample.weight for sample in recording.samples), sum(recording.losses.values())
    return {
        "ticks": captured + lost,
        "captured": captured,
        "dropped": dict(recording.losses),
        "samples": len(recording.samples),
        "handler_runs": len(recording.samples) + lost,
        "threads": len(recording.threads),
        "threads_refused": 0,
        "unguarded_ticks": 0,
        "ticks_in_progress": 0,
        "slots_abandoned": 0,
        "unasked_ticks": 0,
        "clock_step_ns": 0,
        "process_cpu_ns": 0,
        "watched_cpu_ns": 0,
        "own_cpu_ns": 0,
        "recording": TIMELINE,
        "recording_bytes": 0,
        "file_failures": 0,
        "file_error": 0,
        "duration_ns": recording.samples[-1].time if recording.samples else 0,
    }

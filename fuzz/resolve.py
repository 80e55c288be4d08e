"""The core's way from samples to what the extension hands to the package: codes, profile and location, by ctypes.

The extension itself (core/python/native) needs an interpreter with a session; what it adds between these calls is done
here alike.
"""

import ctypes
import struct
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


class Kept(ctypes.Structure):
    _fields_ = [("time", c_uint64), ("thread", c_uint32), ("node", c_int32), ("weight", c_uint32), ("flags", c_uint32)]


BLOCK = 4096  # samples


class Profile(ctypes.Structure):
    _fields_ = [
        ("codes", c_void_p), ("nodes", ctypes.POINTER(Node)), ("node_count", c_int32), ("node_room", c_int32),
        ("blocks", ctypes.POINTER(ctypes.POINTER(Kept))), ("sample_count", c_int64), ("block_count", c_int32),
        ("block_room", c_int32), ("index", c_void_p), ("index_size", c_int32), ("lost_samples", c_uint64),
        ("lost_ticks", c_uint64),
    ]  # fmt: skip


def load(path=HARNESS):
    library = ctypes.CDLL(str(path))
    library.codes_new.restype = c_void_p
    library.codes_free.argtypes = library.codes_count.argtypes = [c_void_p]
    library.codes_name_living.argtypes = [c_void_p, NAME]
    library.codes_get.argtypes = [c_void_p, c_int32]
    library.codes_get.restype = ctypes.POINTER(Names)
    library.profile_new.argtypes = [c_void_p]
    library.profile_new.restype = ctypes.POINTER(Profile)
    library.profile_free.argtypes = [ctypes.POINTER(Profile)]
    library.profile_add.argtypes = [ctypes.POINTER(Profile), ctypes.POINTER(Sample)]
    library.location_line.argtypes = [c_void_p, c_size_t, c_int32, c_uint32]
    library.location_line.restype = c_int32
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
        profile = self.library.profile_new(codes)
        try:
            for sample in recording.samples:
                self._add(profile, sample, recording)
            self.library.codes_name_living(codes, self.on_names)
            return {**self._resolved(codes, profile[0]), "threads": list(recording.threads), "stats": stats(recording)}
        finally:
            self.library.profile_free(profile)
            self.library.codes_free(codes)

    def _add(self, profile, sample, recording):
        depth = len(sample.stack)
        frames = (Frame * depth)()
        for at, call in zip(range(depth - 1, -1, -1), sample.stack, strict=True):
            frames[at] = Frame(ADDRESS + call.code, 0, call.instruction, recording.codes[call.code].first_line)
        tid = recording.threads[sample.thread].tid
        self.library.profile_add(
            profile, Sample(sample.time, sample.thread, tid, sample.weight, sample.flags, depth, frames)
        )

    def _resolved(self, codes, profile):
        names = [self.library.codes_get(codes, number) for number in range(self.library.codes_count(codes))]
        nodes = (profile.nodes[number] for number in range(profile.node_count))
        samples = (profile.blocks[number // BLOCK][number % BLOCK] for number in range(profile.sample_count))
        return {
            "codes": [described(found) for found in names],
            "nodes": b"".join(
                struct.pack("=iii", node.parent, node.code, self._line(names[node.code], node.instruction))
                for node in nodes
            ),
            "samples": b"".join(
                struct.pack("=qIiII", kept.time, kept.thread, kept.node, kept.weight, kept.flags) for kept in samples
            ),
        }

    def _line(self, names, instruction):
        if not names:
            return 0
        table = names[0].linetable
        return self.library.location_line(table.bytes, table.length, names[0].first_line, instruction)


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
        "duration_ns": recording.samples[-1].time if recording.samples else 0,
    }

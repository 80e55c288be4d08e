"""A synthetic process image: the memory of an interpreter that the C core walks, built word by word.

Nothing here is taken from the core but the shapes of its structs, which test_handler_side.py compares with the
compiler's. Where an interpreter keeps each field is written down here a second time, so that a mistake in the core's
own list is seen.

    image = Image("3.14t")
    image.enter()                         # the interpreter's own frame, on the C stack
    image.call(image.code(), 3)           # a function's frame, on the data stack, at its instruction 3
    image.resume(image.code(), 1)         # a generator's
    assert image.walk(harness) == image.whole()

The innermost frame is the last that was pushed.
"""

import contextlib
import ctypes
import functools
import itertools
import mmap
import os
import platform
import shlex
import signal
import subprocess
import weakref
from ctypes import c_bool, c_int, c_int32, c_int64, c_size_t, c_ubyte, c_uint, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

import support

PAGE = mmap.PAGESIZE
LOW, HIGH = 0x10000, 1 << {"x86_64": 47, "aarch64": 52}[platform.machine()]  # user space, as core/load.h has it
MEGABYTE = 1 << 20

REASONS = (
    "captured", "bounds", "alignment", "type", "owner", "progress", "cycle", "fault", "code_range", "torn",
    "incomplete", "detached", "no_thread_state", "ring_full", "busy", "throttled", "stack_unknown", "no_memory",
)  # fmt: skip
REASONS_ROOM = 32  # for those to come, in what a program reads
DETACHED, TRUNCATED = 1, 2  # flags of a sample

# --- the core's structs -----------------------------------------------------------------------------


def _group(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": [(field, c_uint32) for field in fields]})


class Layout(ctypes.Structure):
    C_NAME = "struct layout"
    _fields_ = [
        ("version", c_uint32),
        ("free_threaded", c_bool),
        ("runtime", _group("Runtime", "interpreters_head")),
        ("interpreter", _group("Interpreter", "size", "next", "threads_head")),
        (
            "thread",
            _group(
                "Thread", "size", "next", "interpreter", "current_frame", "base_frame", "thread_id",
                "native_thread_id", "datastack_chunk", "status", "status_bound", "status_unbound", "status_active",
            ),
        ),
        ("chunk", _group("Chunk", "previous", "size", "data")),
        ("frame", _group("Frame", "size", "previous", "executable", "instr_ptr", "owner", "tlbc_index")),
        (
            "code",
            _group("Code", "size", "units", "filename", "qualname", "first_line", "code_adaptive", "tlbc"),
        ),
        ("tlbc_array", _group("TlbcArray", "size", "entries")),
        ("object_type", c_uint32),
        ("executable_tag_mask", c_uint64),
    ]  # fmt: skip


class Reader(ctypes.Structure):
    C_NAME = "struct reader"
    _fields_ = [("through", c_void_p), ("context", c_void_p)]


class WalkFrame(ctypes.Structure):
    C_NAME = "struct walk_frame"
    _fields_ = [("code", c_uint64), ("instruction", c_uint32), ("first_line", c_int32)]


class Walk(ctypes.Structure):
    C_NAME = "struct walk"
    _fields_ = [
        ("layout", ctypes.POINTER(Layout)),
        ("reader", Reader),
        ("code_type", c_size_t),
        ("thread_state", c_size_t),
        ("tid", c_uint64),
        ("stack_low", c_size_t),
        ("stack_high", c_size_t),
        ("frames", ctypes.POINTER(WalkFrame)),
        ("max_depth", c_uint32),
        ("entry_instr_ptr", c_size_t),
        ("looks", c_void_p),
        ("looks_room", c_uint32),
        ("depth", c_uint32),
        ("flags", c_uint32),
        ("looks_count", c_uint32),
        ("top_hidden", c_bool),
    ]


class Look(ctypes.Structure):
    C_NAME = "struct look"
    _fields_ = [("frame", c_uint64), ("executable", c_uint64), ("instr_ptr", c_uint64)]


class Observer(ctypes.Structure):
    C_NAME = "struct observer"
    _fields_ = [
        ("looks", c_void_p),
        ("room", c_uint32),
        ("generation", c_uint64),
        ("dice", c_uint32),
        ("met", c_uint64 * len(REASONS)),
    ]


class Ring(ctypes.Structure):
    C_NAME = "struct ring"
    _fields_ = [
        ("words", ctypes.POINTER(c_uint64)),
        ("capacity", c_uint64),
        ("_1", c_uint64 * 6),
        ("head", c_uint64),
        ("_2", c_uint64 * 7),
        ("tail", c_uint64),
        ("_3", c_uint64 * 7),
    ]


class Counters(ctypes.Structure):
    C_NAME = "struct counters"
    _fields_ = [
        ("ticks", c_uint64),
        ("by_reason", c_uint64 * len(REASONS)),
        ("samples", c_uint64),
        ("handler_runs", c_uint64),
        ("unguarded_ticks", c_uint64),
    ]


class StrayCounters(ctypes.Structure):
    C_NAME = "struct stray_counters"
    _fields_ = [("by_reason", c_uint64 * len(REASONS))]


class Stats(ctypes.Structure):
    C_NAME = "struct spprof_stats"
    _fields_ = [
        ("size", c_size_t),
        ("ticks", c_uint64),
        ("by_reason", c_uint64 * REASONS_ROOM),
        ("samples", c_uint64),
        ("handler_runs", c_uint64),
        ("threads", c_uint64),
        ("threads_refused", c_uint64),
        ("unguarded_ticks", c_uint64),
        ("duration", c_uint64),
        ("ticks_in_progress", c_uint64),
        ("slots_abandoned", c_uint64),
        ("unasked_ticks", c_uint64),
        ("clock_step", c_uint64),
        ("process_cpu", c_uint64),
        ("watched_cpu", c_uint64),
        ("own_cpu", c_uint64),
    ]

    @property
    def outcomes(self):
        """The reasons that have a count."""
        return {name: count for name, count in zip(REASONS, self.by_reason, strict=False) if count}


class RecordHead(ctypes.Structure):
    C_NAME = "struct record_head"
    _fields_ = [
        ("time", c_uint64),
        ("thread", c_uint64),
        ("generation", c_uint64),
        ("tid", c_int32),
        ("weight", c_uint32),
        ("flags", c_uint32),
        ("depth", c_uint32),
    ]


class Watch(ctypes.Structure):
    C_NAME = "struct watch"
    _fields_ = [
        ("timer", c_int),
        ("idle_visits", c_uint32),
        ("asked_at", c_int64),
        ("waits_at", c_int64),
        ("left_at", c_uint64),
        ("used", c_int64),
        ("watched", c_int64),
        ("time", c_uint64),
        ("next", c_int64),
        ("stack_low", c_size_t),
        ("stack_high", c_size_t),
        ("sought_at", c_uint64),
    ]


class Slot(ctypes.Structure):
    C_NAME = "struct slot"
    _fields_ = [
        ("thread", c_uint64),
        ("tid", c_int32),
        ("thread_id", c_size_t),
        ("scratch", c_void_p),
        ("stack_low", c_size_t),
        ("stack_high", c_size_t),
        ("thread_state", c_size_t),
        ("lease", c_uint32),
        ("watch", Watch),
        ("_1", c_uint64 * 5),
        ("inside", c_uint32),
        ("due", c_uint32),
        ("rest_until", c_int64),
        ("counters", Counters),
        ("_2", c_uint64 * (-(2 + ctypes.sizeof(Counters) // 8) % 8)),
        ("ring", Ring),
    ]


def aligned(structure, **fields):
    """One that begins on a cache line, as the core has it."""
    memory = ctypes.create_string_buffer(ctypes.sizeof(structure) + 64)
    made = structure.from_buffer(memory, -ctypes.addressof(memory) % 64)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


SLOTS_MAX = 16384
LEASES = 1 << 25  # that one slot has in its life


def tick_value(slot, lease, cookie):
    """What a timer's signal carries."""
    return cookie << 40 | lease << 15 | slot


class Sampler(ctypes.Structure):
    C_NAME = "struct sampler"
    _fields_ = [
        ("active", c_bool),
        ("layout", Layout),
        ("code_type", c_size_t),
        ("interpreter", c_size_t),
        ("max_depth", c_uint32),
        ("long_look", c_int64),
        ("main_stack_high", c_size_t),
        ("entry_instr_ptr", c_size_t),
        ("slots", c_void_p * SLOTS_MAX),
        ("strays", StrayCounters),
        ("deaths", c_uint64),
    ]


class Frame(ctypes.Structure):
    C_NAME = "struct spprof_frame"
    _fields_ = [("code", c_uint64), ("generation", c_uint64), ("instruction", c_uint32), ("first_line", c_int32)]


class Sample(ctypes.Structure):
    C_NAME = "struct spprof_sample"
    _fields_ = [
        ("time", c_uint64),
        ("thread", c_uint64),
        ("tid", c_int32),
        ("weight", c_uint32),
        ("flags", c_uint32),
        ("depth", c_uint32),
        ("frames", ctypes.POINTER(Frame)),
    ]


class Config(ctypes.Structure):
    C_NAME = "struct spprof_config"
    _fields_ = [
        ("size", c_size_t),
        ("interval", c_uint64),
        ("max_depth", c_uint32),
        ("ring_bytes", c_uint32),
        ("runtime", c_void_p),
        ("code_type", c_void_p),
        ("thread_state", c_void_p),
        ("sink", c_void_p),
        ("sink_context", c_void_p),
        ("caught_up", c_void_p),
        ("mode", c_int),
        ("flags", c_uint64),
    ]


MIRRORS = (
    Layout, Reader, WalkFrame, Walk, Look, Observer, Ring, Counters, StrayCounters, Stats, RecordHead, Watch, Slot, Sampler,
    Frame, Sample, Config,
)  # fmt: skip

READ_FUNCTION = ctypes.CFUNCTYPE(c_bool, c_void_p, c_size_t, c_uint, ctypes.POINTER(c_uint64))

# --- where interpreters keep their fields -------------------------------------------------------------
#
# Read off CPython 3.13.15, 3.14.7 and 3.15.0rc2 on x86-64. `t` is the free-threaded build: its object header is 16
# bytes longer.

_THREAD_13 = {
    "thread.size": 312, "thread.next": 8, "thread.interpreter": 16, "thread.current_frame": 72,
    "thread.thread_id": 152, "thread.native_thread_id": 160, "thread.datastack_chunk": 232, "thread.status": 32,
}  # fmt: skip
_THREAD_14 = {**_THREAD_13, "thread.size": 832}
_THREAD_15 = {
    "thread.size": 888, "thread.next": 8, "thread.interpreter": 16, "thread.current_frame": 72,
    "thread.base_frame": 80, "thread.thread_id": 176, "thread.native_thread_id": 184, "thread.datastack_chunk": 256,
    "thread.status": 32,
}  # fmt: skip
_FRAME_13 = {
    "frame.size": 80, "frame.previous": 8, "frame.executable": 0, "frame.instr_ptr": 56, "frame.owner": 70,
}  # fmt: skip
_FRAME_14 = {**_FRAME_13, "frame.size": 88, "frame.owner": 74}
_FRAME_14T = {**_FRAME_14, "frame.owner": 78, "frame.tlbc_index": 72}
_CODE = {
    "code.size": 208, "code.filename": 112, "code.qualname": 128, "code.first_line": 68, "code.code_adaptive": 200,
    "code.units": 16, "object_type": 8,
}  # fmt: skip
_CODE_14 = {**_CODE, "code.size": 216, "code.code_adaptive": 208}
_CODE_13T = {name: offset + 16 for name, offset in _CODE.items()}
_CODE_14T = {**_CODE_13T, "code.size": 240, "code.code_adaptive": 232, "code.tlbc": 224}
_INTERPRETER_13 = {
    "runtime.interpreters_head": 632, "interpreter.size": 194984, "interpreter.next": 7264,
    "interpreter.threads_head": 7344,
}  # fmt: skip
_INTERPRETER_14 = {
    "runtime.interpreters_head": 808, "interpreter.size": 225864, "interpreter.next": 7272,
    "interpreter.threads_head": 7344,
}  # fmt: skip
_INTERPRETER_15 = {
    "runtime.interpreters_head": 936, "interpreter.size": 247104, "interpreter.next": 7264,
    "interpreter.threads_head": 7336,
}  # fmt: skip
# The table of offsets does not say these.
_FIXED = {
    "thread.status_bound": 2, "thread.status_unbound": 4, "thread.status_active": 16,
    "chunk.previous": 0, "chunk.size": 8, "chunk.data": 24, "tlbc_array.size": 0, "tlbc_array.entries": 8,
}  # fmt: skip
_TAGGED = {"executable_tag_mask": 3}

FIELDS = {
    "3.13": {**_INTERPRETER_13, **_THREAD_13, **_FRAME_13, **_CODE, **_FIXED},
    "3.13t": {**_INTERPRETER_13, **_THREAD_13, **_FRAME_13, **_CODE_13T, **_FIXED},
    "3.14": {**_INTERPRETER_14, **_THREAD_14, **_FRAME_14, **_CODE_14, **_FIXED, **_TAGGED},
    "3.14t": {**_INTERPRETER_14, **_THREAD_14, **_FRAME_14T, **_CODE_14T, **_FIXED, **_TAGGED},
    "3.15": {**_INTERPRETER_15, **_THREAD_15, **_FRAME_14, **_CODE_14, **_FIXED, **_TAGGED},
    "3.15t": {**_INTERPRETER_15, **_THREAD_15, **_FRAME_14T, **_CODE_14T, **_FIXED, **_TAGGED},
}
VERSIONS = {"3.13": 0x030D, "3.14": 0x030E, "3.15": 0x030F}


def has_tlbc(name):
    return "code.tlbc" in FIELDS[name]


def has_base_frame(name):
    return "thread.base_frame" in FIELDS[name]


def make_layout(name, fields=None):
    """The core's struct with the fields of that interpreter, or with `fields` in their place."""
    layout = Layout(version=VERSIONS[name.rstrip("t")], free_threaded=name.endswith("t"))
    for field, value in (fields or FIELDS[name]).items():
        group, _, member = field.rpartition(".")
        setattr(getattr(layout, group) if group else layout, member, value)
    return layout


# What the walker reads, and so what each get a page of their own from `spread`.
_READ = {
    "thread": ("native_thread_id", "status", "current_frame", "base_frame", "datastack_chunk"),
    "frame": ("executable", "previous", "instr_ptr", "owner", "tlbc_index"),
    "code": ("units", "filename", "qualname", "first_line", "tlbc", "code_adaptive"),
    "chunk": ("previous", "size", "data"),
    "tlbc_array": ("size", "entries"),
}
# Where something begins or ends: nothing is read there.
_EXTENTS = {"thread.size", "frame.size", "code.size", "chunk.data", "code.code_adaptive"}


def spread(name):
    """An interpreter like that one whose every field lies on a page of its own, so that one can be bad alone."""
    fields = dict(FIELDS[name])
    for group, members in _READ.items():
        for page, member in enumerate(members):
            if f"{group}.{member}" in fields:
                fields[f"{group}.{member}"] = page * PAGE
        if f"{group}.size" in fields and group in ("thread", "frame", "code"):
            fields[f"{group}.size"] = (len(members) + 1) * PAGE
    fields["object_type"] = len(_READ["code"]) * PAGE
    return fields


def fields_read(name):
    """The names of all that a walk through all kinds of frames reads."""
    names = {f"{group}.{member}" for group, members in _READ.items() for member in members}
    names = (names & FIELDS[name].keys() | {"object_type"}) - _EXTENTS
    return names if has_tlbc(name) else names - {"tlbc_array.size", "tlbc_array.entries"}


# --- memory -------------------------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = c_size_t
libc.mmap.argtypes = [c_size_t, c_size_t, c_int, c_int, c_int, ctypes.c_long]
libc.munmap.argtypes = [c_size_t, c_size_t]
libc.mprotect.argtypes = [c_size_t, c_size_t, c_int]
_PRIVATE, _FIXED_NOREPLACE, _ANONYMOUS, _NORESERVE = 0x02, 0x100000, 0x20, 0x4000
_NOTHING, _READ_WRITE = 0, 3


def _map(address, size, protection=_READ_WRITE):
    flags = _PRIVATE | _ANONYMOUS | _NORESERVE | (_FIXED_NOREPLACE if address else 0)
    got = libc.mmap(address, size, protection, flags, -1, 0)
    if got == (1 << 64) - 1 or (address and got != address):
        raise MemoryError(f"no {size} bytes at {address:#x}: {os.strerror(ctypes.get_errno())}")
    return got


class Area:
    """Fresh zeroed pages with a page on either side that nothing can read."""

    def __init__(self, size):
        self.size = -(-size // PAGE) * PAGE
        self.start = _map(0, self.size + 2 * PAGE) + PAGE
        self.end = self.start + self.size
        for edge in (self.start - PAGE, self.end):
            libc.mprotect(edge, PAGE, _NOTHING)
        self.top, self.bottom = self.start, self.end
        weakref.finalize(self, libc.munmap, self.start - PAGE, self.size + 2 * PAGE)

    def take(self, size, align=8):
        """The next `size` bytes from the start."""
        address = -(-self.top // align) * align
        self.top = address + size
        assert self.top <= self.bottom, "the area is full"
        return address

    def take_below(self, size, align=8):
        """The next `size` bytes from the end, as a C stack grows."""
        self.bottom = (self.bottom - size) // align * align
        assert self.top <= self.bottom, "the area is full"
        return self.bottom


@contextlib.contextmanager
def bad_page(address, way):
    """Takes the page with `address` away for a while: "protected" or "unmapped"."""
    page = address // PAGE * PAGE
    if way == "protected":
        assert libc.mprotect(page, PAGE, _NOTHING) == 0
        yield
        assert libc.mprotect(page, PAGE, _READ_WRITE) == 0
        return
    saved = ctypes.string_at(page, PAGE)
    assert libc.munmap(page, PAGE) == 0
    try:
        yield
    finally:
        _map(page, PAGE)
        ctypes.memmove(page, saved, PAGE)


def put(kind, address, value):
    kind.from_address(address).value = value


put_word = functools.partial(put, c_uint64)
put_int = functools.partial(put, c_uint32)
put_byte = functools.partial(put, c_ubyte)


def get_word(address):
    return c_uint64.from_address(address).value


# --- the image ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    address: int
    units: int
    first_line: int
    copies: tuple  # addresses of the bytecode by thread-local index; the first is in the object itself
    array: int  # of thread-local bytecodes, or 0


@dataclass(frozen=True)
class Verdict:
    reason: str
    frames: tuple = ()  # of (code, instruction, first line), innermost first
    flags: int = 0


class Image:
    """One thread of a synthetic interpreter, attached and bound, with an empty stack."""

    def __init__(self, name="3.14t", fields=None, tid=4711, heap=4 * MEGABYTE, stack=4 * MEGABYTE, align=8):
        self.name = name
        self.fields = fields or FIELDS[name]
        self.layout = make_layout(name, self.fields)
        self.tid = tid
        self.distance = 0
        self.align = align
        self.heap, self.stack = Area(heap), Area(stack)
        self.chunks = []  # addresses, oldest first
        self.chunk_areas = []
        self.objects = []  # (group, address) of everything that has fields
        self.chain = []  # addresses of frames, outermost first
        self.expected = []  # what a walk must find of them
        self.tlbc_index = 2 if has_tlbc(name) else 0
        self.code_type = self._object(None, 64)
        self.state = self._object("thread", self.fields["thread.size"])
        self.put("thread.native_thread_id", self.state, tid)
        self.set_status(bound=True, active=True)
        self.root = 0
        if has_base_frame(name):
            self.root = self.heap.take(self.fields["frame.size"], align)
            self.put("thread.base_frame", self.state, self.root)
        self.set_current(self.root)
        self.lines = itertools.count(100)

    def _object(self, group, size):
        address = self.heap.take(size, self.align)
        self.objects.append((group, address))
        return address

    def at(self, field, address):
        """Where that field of the object at `address` is."""
        return address + self.fields[field]

    def put(self, field, address, value):
        put_word(self.at(field, address), value & (1 << 64) - 1)

    def get(self, field, address):
        return get_word(self.at(field, address))

    def set_status(self, bound=False, unbound=False, active=False):
        put_int(self.at("thread.status", self.state), 1 | bound << 1 | unbound << 2 | active << 4)

    def set_current(self, frame):
        self.put("thread.current_frame", self.state, frame)

    def code(self, units=8, first_line=None, copies=4, hidden=False):
        """A code object; a hidden one is an interpreter's trampoline, whose thread-local bytecode is not kept up."""
        fields = self.fields
        address = self._object("code", fields["code.size"] + 2 * units)
        first_line = 0 if hidden else first_line if first_line is not None else next(self.lines)
        bytecode, array = (address + fields["code.code_adaptive"],), 0
        self.put("object_type", address, self.code_type)
        self.put("code.units", address, units)
        put_int(self.at("code.first_line", address), first_line)
        self.put("code.filename", address, address + 8)
        self.put("code.qualname", address, address + (8 if hidden else 16))
        if has_tlbc(self.name) and not hidden:
            bytecode += tuple(self.heap.take(2 * units) for _ in range(copies - 1))
            array = self._tlbc_array(bytecode)
            self.put("code.tlbc", address, array)
        return Code(address, units, first_line, bytecode, array)

    def _tlbc_array(self, entries):
        array = self._object("tlbc_array", self.fields["tlbc_array.entries"] + 8 * len(entries))
        self.put("tlbc_array.size", array, len(entries))
        for number, entry in enumerate(entries):
            put_word(self.at("tlbc_array.entries", array) + 8 * number, entry)
        return array

    def chunk(self, size=16 * PAGE):
        """Begins a new chunk of the data stack."""
        area = Area(size)
        address = area.take(self.fields["chunk.data"])
        self.put("chunk.previous", address, self.chunks[-1] if self.chunks else 0)
        self.put("chunk.size", address, area.size)
        self.put("thread.datastack_chunk", self.state, address)
        self.chunks.append(address)
        self.chunk_areas.append(area)
        self.objects.append(("chunk", address))
        return address

    def write_frame(self, frame, owner, caller, code=None, instruction=0, tag=None):
        """Fills in a frame wherever it is."""
        put_byte(self.at("frame.owner", frame), owner)
        self.put("frame.previous", frame, caller)
        if code is None:
            return
        tag = self.fields.get("executable_tag_mask", 0) & (1 if tag is None else tag)
        self.put("frame.executable", frame, code.address | tag)
        index = self.tlbc_index if code.array else 0
        if has_tlbc(self.name):
            put_int(self.at("frame.tlbc_index", frame), index)
        self.put("frame.instr_ptr", frame, code.copies[index] + 2 * instruction)

    def _push(self, frame, owner, code=None, instruction=0, tag=None):
        caller = self.chain[-1] if self.chain else self.root
        self.write_frame(frame, owner, caller, code, instruction, tag)
        self.objects.append(("frame", frame))
        self.chain.append(frame)
        if code is not None and code.first_line != 0:
            self.expected.append((code.address, instruction, code.first_line))
        self.set_current(frame)
        return frame

    def enter(self, owner=3):
        """The interpreter's own frame, on the C stack."""
        return self._push(self.stack.take_below(self.fields["frame.size"], self.align), owner)

    def call(self, code, instruction=0, tag=None, room=24):
        """A function's frame, on the data stack; `room` is for its locals."""
        if not self.chunks:
            self.chunk()
        frame = self.chunk_areas[-1].take(self.fields["frame.size"], self.align)
        self.chunk_areas[-1].top += room
        return self._push(frame, 0, code, instruction, tag)

    def resume(self, code, instruction=0, tag=None):
        """A generator's frame, in its generator."""
        return self._push(self.heap.take(self.fields["frame.size"], self.align), 1, code, instruction, tag)

    def move(self, distance):
        """Lets the image be `distance` further up than it is: every pointer says so, and the reader that is returned
        finds it there."""
        areas = [self.heap, self.stack, *self.chunk_areas]
        for area in areas:
            for start, end in ((area.start, area.top), (area.bottom, area.end)):
                for address in range(start, end, 8):
                    value = get_word(address)
                    if any(other.start <= value <= other.end for other in areas):
                        put_word(address, value + distance)
        self.expected = [(code + distance, *rest) for code, *rest in self.expected]
        self.code_type += distance
        self.state += distance
        self.distance += distance

        def read(_, address, size, value):
            value[0] = int.from_bytes(ctypes.string_at(address - distance, size), "little")
            return True

        return READ_FUNCTION(read)

    def whole(self, flags=0, depth=None):
        """What a walk of the stack must find."""
        return Verdict("captured", tuple(self.expected[::-1][:depth]), flags)

    def name_of(self, address):
        """The field that a read at `address` reads."""
        for group, start in self.objects:
            for field, offset in self.fields.items():
                is_member = field.startswith(f"{group}.") or (group == "code" and field == "object_type")
                if is_member and field not in _EXTENTS and start + offset == address:
                    return field
            first = self.fields["tlbc_array.entries"]
            if group == "tlbc_array" and start + first <= address < start + first + PAGE:
                return "tlbc_array.entries"
        return None

    def walk(self, library, through=None, max_depth=1024, tid=None, state=None, stack_known=True):
        """Lets the core walk the thread; `through` is a reader of the core's or None for guarded loads."""
        frames = (WalkFrame * max(max_depth, 1))()
        walk = Walk(
            layout=ctypes.pointer(self.layout),
            reader=Reader(through=through),
            code_type=self.code_type,
            thread_state=self.state if state is None else state,
            tid=self.tid if tid is None else tid,
            stack_low=stack_known * (self.stack.start + self.distance),
            stack_high=stack_known * (self.stack.end + self.distance),
            frames=frames,
            max_depth=max_depth,
            depth=4096,
            flags=0xFFFF,  # what a former walk left behind must not count
        )
        reason = REASONS[library.walk_thread(ctypes.byref(walk))]
        if reason != "captured":
            return Verdict(reason)
        found = tuple((frame.code, frame.instruction, frame.first_line) for frame in frames[: walk.depth])
        return Verdict(reason, found, walk.flags)

    def reads(self, library):
        """What a walk reads, as (address, size), in order."""
        seen = []

        def read(_, address, size, value):
            seen.append((address, size))
            value[0] = int.from_bytes(ctypes.string_at(address, size), "little")
            return True

        function = READ_FUNCTION(read)
        assert self.walk(library, address_of(function)) == self.whole()
        return seen


def address_of(function):
    return ctypes.cast(function, c_void_p).value


@contextlib.contextmanager
def fault_handler(library):
    """Guarded loads work inside: the core's handler has the fault signals."""
    library.signals_take.argtypes = [c_int, c_void_p]
    claim = address_of(library.handler_on_fault)
    for number in (signal.SIGSEGV, signal.SIGBUS):
        assert library.signals_take(number, claim) == 0
    try:
        yield
    finally:
        for number in (signal.SIGSEGV, signal.SIGBUS):
            library.signals_give_back(number)


def shared(folder, source):
    """Compiles a file of tests/native by itself; returns the path of the shared library."""
    made = folder / source.replace(".c", ".so")
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra",
               "-Werror", str(support.ROOT / "tests" / "native" / source), "-o", str(made)]  # fmt: skip
    subprocess.run(command, check=True)
    return made


def preload(folder, source):
    """The environment in which a file of tests/native stands in for functions of libc."""
    return {"LD_PRELOAD": str(shared(folder, source))}


def build(folder, source, *flags):
    """Compiles a file of tests/native with the whole core; returns the path of what was made."""
    support.ninja("build/libspprof.a")
    made = folder / (source.removesuffix(".c") + (".so" if "-shared" in flags else ""))
    command = [
        *shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O2", "-g", "-fPIC", "-Wall", "-Wextra", "-Werror",
        f"-I{support.ROOT}/core", f"-I{support.ROOT}/core/include", *flags,
        str(support.ROOT / "tests" / "native" / source), "-o", str(made),
        *shlex.split(os.environ.get("CFLAGS", "")), "-Wl,--whole-archive", str(support.BUILD / "libspprof.a"),
        "-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lrt",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return made

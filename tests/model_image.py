"""Images of an interpreter's memory for core and model alike: words in a dictionary, and Hypothesis strategies for them.

An image is a sound chain at first. `DAMAGE` has the named ways to spoil one, each with the outcomes that it must be able
to produce. Both sides read through a `Tape`, which can change memory after a read, and remembers what was read.
"""

import mmap
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from synthetic import libc, put_word

from model.layout import LAYOUTS
from model.walker import USER_HIGH, Subject, walk

PAGE = 4096
WORD = (1 << 64) - 1
BASE = 0x2000_0000_0000  # nothing of a process is there unless it asks for it
CHUNKS, STACK, EXTENT = 4 << 20, 8 << 20, 9 << 20  # of an image, from its base; the heap is first
CHUNK_ROOM = 16 * PAGE
_FIXED, _FIXED_NOREPLACE, _NOTHING = 0x10, 0x100000, 0
NAMES = tuple(LAYOUTS)
WITH_TLBC = tuple(name for name in NAMES if LAYOUTS[name].tlbc)
WITH_ROOT = tuple(name for name in NAMES if LAYOUTS[name].base_frame)
TAGGED = tuple(name for name in NAMES if LAYOUTS[name].tag)


class Memory:
    """Little-endian memory of whole pages; what was not written is 0, what is on no page cannot be read."""

    def __init__(self, words=None, pages=None):
        self.words, self.pages = dict(words or {}), set(pages or ())

    def copy(self):
        return Memory(self.words, self.pages)

    def map(self, address, size):
        self.pages.update(range(address // PAGE, -(-(address + size) // PAGE)))

    def peek(self, address, size):
        if address // PAGE not in self.pages or (address + size - 1) // PAGE not in self.pages:
            return None
        first, shift = address // 8 * 8, address % 8 * 8
        both = self.words.get(first, 0) | self.words.get(first + 8, 0) << 64
        return both >> shift & (1 << 8 * size) - 1

    def put(self, address, value, size=8):
        first, shift = address // 8 * 8, address % 8 * 8
        mask = (1 << 8 * size) - 1 << shift
        both = self.words.get(first, 0) | self.words.get(first + 8, 0) << 64
        both = both & ~mask | (value << shift & mask)
        self.words[first] = both & WORD
        if both >> 64:
            self.words[first + 8] = both >> 64


class Arena:
    """A range of addresses really mapped, of which nothing can be read but what an image has on its pages."""

    def __init__(self, base, size):
        self.base, self.size = base, size
        self._map(_FIXED_NOREPLACE)

    def _map(self, fixed):
        flags = fixed | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        assert libc.mmap(self.base, self.size, _NOTHING, flags, -1, 0) == self.base

    def clear(self):
        self._map(_FIXED)

    def close(self):
        assert libc.munmap(self.base, self.size) == 0

    def holds(self, page):
        return self.base <= page * PAGE < self.base + self.size

    def allow(self, pages):
        for page in filter(self.holds, pages):
            assert libc.mprotect(page * PAGE, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == 0

    def fill(self, memory):
        self.clear()
        self.allow(memory.pages)
        for address, value in memory.words.items():
            if address // PAGE in memory.pages and self.holds(address // PAGE):
                put_word(address, value)


class RealMemory(Memory):
    """Memory whose words are in an arena as well, as soon as they are written."""

    def __init__(self, arena):
        super().__init__()
        self.arena = arena

    def map(self, address, size):
        before = set(self.pages)
        super().map(address, size)
        self.arena.allow(self.pages - before)

    def put(self, address, value, size=8):
        super().put(address, value, size)
        word = address // 8 * 8
        put_word(word, self.words[word])


class Tape:
    """Memory as one side reads it. `writes`: (k, address, value): after read k that word has that value.

    After `most` reads there is no more to read: a walk that does not end soon is a wrong one, and should fail soon."""

    def __init__(self, memory, writes=(), most=50_000):
        self.memory, self.reads, self.most = memory.copy(), [], most
        self.writes = {}
        for k, address, value in writes:
            self.writes.setdefault(k, []).append((address, value))

    def read(self, address, size):
        value = self.memory.peek(address, size)
        self.reads.append((address, size))
        if len(self.reads) > self.most:
            return None
        for at, new in self.writes.get(len(self.reads), ()):
            self.memory.put(at, new)
        return value


@dataclass
class Code:
    address: int
    units: int
    first_line: int
    bytecodes: list  # by thread-local index
    array: int = 0


@dataclass
class Frame:
    kind: str
    address: int
    code: Code | None = None
    instruction: int = 0

    @property
    def shown(self):
        return self.kind in ("call", "resume")


class Image:
    """One thread with a sound chain. `spread`: each object on pages of its own, so that one can be taken away alone."""

    def __init__(self, name="3.14t", spread=False, base=BASE, tid=4711, memory=None):
        self.name, self.layout, self.base = name, LAYOUTS[name], base
        self.align = PAGE if spread else 8
        self.memory = Memory() if memory is None else memory
        self.heap, self.stack = base, base + EXTENT
        self.frames, self.chunks, self.codes = [], [], []  # oldest first
        self.chunk_top = 0
        self.tlbc_index = 2 if self.layout.tlbc else 0
        layout = self.layout
        self.memory.map(base + STACK, EXTENT - STACK)
        code_type = self.take(64)
        state = self.take(layout.state_size)
        self.root = 0
        if layout.base_frame:
            self.root = self.take(layout.frame_size)
            self.put(state + layout.base_frame, self.root)
        self.subject = Subject(layout, code_type, state, tid, stack_low=base + STACK, stack_high=base + EXTENT)
        self.put(state + layout.native_thread_id, tid)
        self.put_status(layout.bound | layout.active)
        self.put(state + layout.current_frame, self.root)

    def put(self, address, value, size=8):
        self.memory.put(address, value & WORD, size)

    def get(self, address, size=8):
        return self.memory.peek(address, size)

    def put_status(self, bits):
        self.put(self.subject.state + self.layout.status, bits, 4)

    def set(self, **changes):
        self.subject = replace(self.subject, **changes)

    def take(self, size):
        address = -(-self.heap // self.align) * self.align
        self.heap = address + size
        assert self.heap <= self.base + CHUNKS
        self.memory.map(address, size)
        return address

    def code(self, hidden=False, units=8, first_line=None):
        layout = self.layout
        address = self.take(layout.code_size + 2 * units)
        first_line = 0 if hidden else 100 + len(self.codes) if first_line is None else first_line
        code = Code(address, units, first_line, [address + layout.bytecode])
        self.put(address + layout.object_type, self.subject.code_type)
        self.put(address + layout.units, units)
        self.put(address + layout.first_line, first_line, 4)
        self.put(address + layout.filename, address + 8)
        self.put(address + layout.qualname, address + (8 if hidden else 16))
        if layout.tlbc and not hidden:
            code.bytecodes += [self.take(2 * units) for _ in range(3)]
            code.array = self.take(layout.array_entries + 8 * len(code.bytecodes))
            self.put(address + layout.tlbc, code.array)
            self.put(code.array + layout.array_size, len(code.bytecodes))
            for number, bytecode in enumerate(code.bytecodes):
                self.put(code.array + layout.array_entries + 8 * number, bytecode)
        self.codes.append(code)
        return code

    def chunk(self):
        address = self.base + CHUNKS + len(self.chunks) * CHUNK_ROOM
        self.memory.map(address, CHUNK_ROOM)
        self.put(address + self.layout.chunk_previous, self.chunks[-1] if self.chunks else 0)
        self.put(address + self.layout.chunk_size, CHUNK_ROOM)
        self.put(self.subject.state + self.layout.datastack_chunk, address)
        self.chunks.append(address)
        self.chunk_top = address + self.layout.chunk_data

    def push(self, kind, instruction=0, room=24):
        """kind: enter, call, resume, hidden, or chunk, which begins one and pushes no frame."""
        if kind == "chunk" or (kind in ("call", "hidden") and not self.chunks):
            self.chunk()
        if kind == "chunk":
            return
        size = self.layout.frame_size
        if kind == "enter":
            self.stack -= size
            address, owner = self.stack, 3
        elif kind == "resume":
            address, owner = self.take(size), 1
        else:
            address, owner = self.chunk_top, 0
            self.chunk_top = address + size + room
        code = None if kind == "enter" else self.code(hidden=kind == "hidden")
        self.write_frame(address, owner, self.innermost, code, instruction)
        self.frames.append(Frame(kind, address, code, instruction))
        self.put(self.subject.state + self.layout.current_frame, address)

    @property
    def innermost(self):
        return self.frames[-1].address if self.frames else self.root

    def write_frame(self, address, owner, caller, code=None, instruction=0):
        layout = self.layout
        self.put(address + layout.owner, owner, 1)
        self.put(address + layout.previous, caller)
        if code is None:
            return
        self.put(address + layout.executable, code.address | (layout.tag & 1))
        index = self.tlbc_index if code.array else 0
        if layout.tlbc:
            self.put(address + layout.tlbc_index, index, 4)
        self.put(address + layout.instr_ptr, code.bytecodes[index] + 2 * instruction)

    def whole(self):
        """What was pushed, as a walk shows it. The image's own word, which neither core nor model has a part in."""
        shown = [frame for frame in reversed(self.frames) if frame.shown]
        return tuple((frame.code.address, frame.instruction, frame.code.first_line) for frame in shown)

    def links(self):
        """Addresses of the words that lead to each frame, innermost first."""
        current = self.subject.state + self.layout.current_frame
        return [current, *(frame.address + self.layout.previous for frame in reversed(self.frames))]

    def of_kind(self, *kinds):
        return [frame for frame in self.frames if frame.kind in kinds]


# --- strategies -----------------------------------------------------------------------------------------

KINDS = ("call", "resume", "enter", "chunk", "hidden")
kinds = st.lists(st.sampled_from(KINDS), max_size=5)
bad_addresses = st.sampled_from(
    (8, 0x8000, 0x10000 - 8, USER_HIGH - 8, USER_HIGH, 0x8000_0000_1000, 0xFFFF_8000_0000_0000, 0xDDDD_DDDD_DDDD_DDD8)
)


@st.composite
def images(draw, names=NAMES, needs=()):
    """A sound chain that has frames of the kinds it `needs` in a row."""
    image = Image(draw(st.sampled_from(names)), draw(st.booleans()))
    for kind in ["enter", *draw(kinds), *needs, *draw(kinds)]:
        image.push(kind, draw(st.integers(0, 7)), draw(st.sampled_from((0, 8, 24))))
    return image


@dataclass
class Case:
    """What is walked: an image, and what is written during the walk."""

    image: Image
    writes: tuple = ()


DAMAGE = {}  # name: (strategy of cases, the outcomes that it must be able to produce)


def damage(*outcomes, needs=(), names=NAMES):
    """Declares a way to spoil an image: a function of Hypothesis's draw and the image."""

    def declare(function):
        @st.composite
        def cases(draw):
            image = draw(images(names, needs))
            writes = function(draw, image)
            return Case(image, tuple(writes or ()))

        DAMAGE[function.__name__] = cases(), frozenset(outcomes)
        return function

    return declare


def some(draw, items):
    return draw(st.sampled_from(list(items)))


def python_frame(draw, image):
    return some(draw, image.of_kind("call", "resume"))


def reads_of(image):
    """What a walk of the image reads, by the model."""
    tape = Tape(image.memory)
    walk(image.subject, tape.read)
    return tape.reads


@damage("captured")
def nothing(draw, image):
    pass


@damage("captured", needs=("call",))
def deeper_than_max_depth(draw, image):
    image.set(max_depth=draw(st.integers(1, 3)))


@damage("captured")
def not_attached(draw, image):
    image.put_status(image.layout.bound | 1)


@damage("no_thread_state")
def no_state(draw, image):
    image.set(state=0)


@damage("detached")
def unbound(draw, image):
    layout = image.layout
    image.put_status(some(draw, (0, layout.active, layout.unbound, layout.bound | layout.unbound | layout.active)))


@damage("detached")
def bound_to_another_thread(draw, image):
    tid = some(draw, (0, 4712, 4711 | 1 << 32))
    image.put(image.subject.state + image.layout.native_thread_id, tid)


@damage("alignment")
def misaligned_state(draw, image):
    image.set(state=image.subject.state + draw(st.integers(1, 7)))


@damage("alignment")
def misaligned_frame(draw, image):
    link = some(draw, image.links()[:-1])
    image.put(link, image.get(link) + draw(st.integers(1, 7)))


@damage("alignment", needs=("call",))
def misaligned_code(draw, image):
    executable = python_frame(draw, image).address + image.layout.executable
    image.put(executable, image.get(executable) ^ some(draw, (4, 6)))


@damage("alignment", needs=("call",))
def misaligned_chunk(draw, image):
    """A chunk of which each word would do at that address."""
    layout = image.layout
    chunk, off = image.chunks[-1], draw(st.integers(1, 7))
    image.put(chunk + off + layout.chunk_size, CHUNK_ROOM)
    image.put(image.subject.state + layout.datastack_chunk, chunk + off)


@damage("alignment", needs=("call",), names=WITH_TLBC)
def misaligned_array(draw, image):
    code = python_frame(draw, image).code
    image.put(code.address + image.layout.tlbc, code.array + draw(st.integers(1, 7)))


@damage("bounds")
def state_out_of_bounds(draw, image):
    image.set(state=draw(bad_addresses))


@damage("bounds", "incomplete")
def frame_out_of_bounds(draw, image):
    image.put(some(draw, image.links()), draw(bad_addresses | st.just(0)))


@damage("bounds", needs=("call",))
def code_out_of_bounds(draw, image):
    image.put(python_frame(draw, image).address + image.layout.executable, draw(bad_addresses | st.just(0)))


@damage("bounds", needs=("call",))
def chunk_out_of_bounds(draw, image):
    link = some(draw, [image.subject.state + image.layout.datastack_chunk, *image.chunks[1:]])
    image.put(link, draw(bad_addresses | st.just(0)))


@damage("bounds", needs=("call",), names=WITH_TLBC)
def array_out_of_bounds(draw, image):
    image.put(python_frame(draw, image).code.address + image.layout.tlbc, draw(bad_addresses | st.just(0)))


@damage("bounds", "fault", needs=("call",))
def at_the_edge_of_user_space(draw, image):
    """The last address that an object fits at is let through to the read, the next is not; the first one too."""
    layout, frame = image.layout, image.of_kind("call")[-1]
    places = [
        (image.links()[0], layout.frame_size),
        (frame.address + layout.executable, layout.code_size),
        (image.subject.state + layout.datastack_chunk, layout.chunk_data),
    ]
    if layout.tlbc:
        places.append((frame.code.address + layout.tlbc, layout.array_entries))
    link, size = some(draw, places)
    image.put(link, some(draw, (USER_HIGH - size, USER_HIGH - size + 8, 0x10000, 0x10000 - 8)))


@damage("bounds", needs=("call", "call"))
def frame_in_no_chunk(draw, image):
    """A frame that is sound by itself, somewhere else."""
    moved, frame = image.take(image.layout.frame_size), image.of_kind("call")[-1]
    image.write_frame(moved, 0, some(draw, image.frames).address, frame.code)
    image.put(some(draw, image.links()[:-1]), moved)


@damage("bounds", "captured", needs=("chunk", "call", "call"))
def chunk_truncated(draw, image):
    chunk, size = some(draw, image.chunks), image.layout.frame_size
    inside = [frame.address - chunk for frame in image.of_kind("call", "hidden") if 0 < frame.address - chunk < PAGE]
    sizes = [0, 8, 23, 24, *(at + off for at in inside for off in (0, size - 8, size))]
    image.put(chunk + image.layout.chunk_size, some(draw, sizes))


@damage("bounds", "captured", needs=("call",))
def chunk_too_long(draw, image):
    sizes = (1 << 31, (1 << 31) + 8, 1 << 46, WORD - 7)
    image.put(some(draw, image.chunks) + image.layout.chunk_size, some(draw, sizes))


@damage("bounds", "captured", needs=("call",))
def chunk_at_the_end_of_user_space(draw, image):
    """The newest chunk, which no frame is in, may end there and not past it."""
    chunk, state = USER_HIGH - PAGE, image.subject.state
    image.memory.map(chunk, PAGE)
    image.put(chunk + image.layout.chunk_previous, image.chunks[-1])
    image.put(chunk + image.layout.chunk_size, some(draw, (PAGE, PAGE + 1, PAGE + 8)))
    image.put(state + image.layout.datastack_chunk, chunk)


@damage("cycle", needs=("chunk", "call", "chunk", "call"))
def chunks_in_a_circle(draw, image):
    """Some chunk's predecessor is a newer one, or itself."""
    number = draw(st.integers(0, len(image.chunks) - 1))
    image.put(image.chunks[number], some(draw, image.chunks[number:]))
    moved = image.take(image.layout.frame_size)
    image.write_frame(moved, 0, image.innermost, image.codes[-1])
    image.put(some(draw, image.links()[:-1]), moved)


@damage("cycle", needs=("chunk", "call", "chunk", "call"))
def frames_and_chunks_in_a_circle(draw, image):
    """Each chunk is entered again and again, so that its frames seem to fall for ever."""
    image.put(image.chunks[0], image.chunks[-1])
    calls = [frame for frame in image.frames if frame.kind in ("call", "hidden")]
    image.put(calls[0].address + image.layout.previous, calls[-1].address)
    for caller, frame in zip(calls, calls[1:], strict=False):
        image.put(frame.address + image.layout.previous, caller.address)
    image.put(image.links()[0], calls[-1].address)


@damage("bounds", needs=("enter", "call"))
def stack_ends_moved(draw, image):
    """An entry frame that is on the C stack no more, or just so."""
    size = image.layout.frame_size
    if draw(st.booleans()):
        image.set(stack_low=some(draw, image.of_kind("enter")).address + some(draw, (0, 8)))
    else:
        image.set(stack_high=some(draw, image.of_kind("enter")).address + size - some(draw, (0, 8)))


@damage("stack_unknown", needs=("enter",))
def stack_not_known(draw, image):
    image.set(stack_low=0, stack_high=0)


@damage("bounds", needs=("call",))
def entry_frame_off_the_c_stack(draw, image):
    moved = image.take(image.layout.frame_size)
    image.write_frame(moved, some(draw, (3, 4)), image.root)
    image.put(some(draw, image.links()), moved)


@damage("progress", "captured", needs=("enter", "call", "enter"))
def entry_frames_out_of_order(draw, image):
    """An entry frame leads to another, which may lie below it, or overlap it."""
    entries = image.of_kind("enter")
    frame, other = some(draw, entries), some(draw, entries).address
    off = some(draw, (0, 0, image.layout.frame_size - 8, image.layout.frame_size))
    if off:
        other = frame.address + off
        image.write_frame(other, 3, image.root)
        image.put(frame.address + image.layout.owner, 3, 1)
    image.put(frame.address + image.layout.previous, other)


@damage("owner", needs=("call",))
def entry_frame_elsewhere(draw, image):
    """The instruction of the interpreter's own frames is known, and one of them stands at another."""
    for frame in image.of_kind("enter"):
        image.put(frame.address + image.layout.instr_ptr, 0x1234560)
    image.put(some(draw, image.of_kind("enter")).address + image.layout.instr_ptr, 0x1234568)
    image.set(entry_instr_ptr=some(draw, (0x1234560, 0x1234568)))


@damage("captured", needs=("call",))
def entry_frames_known(draw, image):
    for frame in image.of_kind("enter"):
        image.put(frame.address + image.layout.instr_ptr, 0x1234560)
        image.put(frame.address + image.layout.owner, some(draw, (3, 4)), 1)
    image.set(entry_instr_ptr=0x1234560)


@damage("type", needs=("call",))
def wrong_type(draw, image):
    field = some(draw, image.of_kind("call", "resume", "hidden")).code.address + image.layout.object_type
    image.put(field, image.get(field) ^ some(draw, (1, 8, 1 << 32, 1 << 63)))


@damage("owner", "captured", needs=("call", "resume"))
def owner_changed(draw, image):
    frame = some(draw, image.frames)
    image.put(frame.address + image.layout.owner, draw(st.integers(0, 5) | st.integers(6, 255)), 1)


@damage("progress", "cycle", needs=("call", "resume"))
def self_loop(draw, image):
    frame = some(draw, image.frames)
    image.put(frame.address + image.layout.previous, frame.address)


@damage("progress", needs=("call", "resume", "call"))
def circle_of_frames(draw, image):
    """Some frame's caller is one that it called, at any distance."""
    number = draw(st.integers(0, len(image.frames) - 1))
    image.put(image.frames[number].address + image.layout.previous, some(draw, image.frames[number:]).address)


@damage("cycle", needs=("resume",) * 2)
def circle_of_generators(draw, image):
    """Of any length, with a tail of any length."""
    for _ in range(draw(st.integers(0, 20))):
        image.push("resume")
    first = next(number for number, frame in enumerate(image.frames) if frame.kind == "resume")
    run = [image.frames[first]]
    while first + len(run) < len(image.frames) and image.frames[first + len(run)].kind == "resume":
        run.append(image.frames[first + len(run)])
    image.put(run[0].address + image.layout.previous, some(draw, run).address)


@damage("captured", "cycle", "progress", needs=("call", "resume", "enter"))
def hop(draw, image):
    """A link leads to another frame of the chain: over some, or back."""
    image.put(some(draw, image.links()), some(draw, image.frames).address)


@damage("captured", "progress", needs=("call", "call"))
def frames_that_overlap(draw, image):
    """A caller that ends just below the frame it called, or in it."""
    for kind in ("call", "call"):
        image.push(kind, room=some(draw, (0, -8)))


@damage("code_range", needs=("call",))
def instruction_elsewhere(draw, image):
    frame = python_frame(draw, image)
    pointer = frame.address + image.layout.instr_ptr
    offs = (-(1 << 40), -2, -1, 1, 15, 16, 17, 18, 1 << 33)
    image.put(pointer, image.get(pointer) - 2 * frame.instruction + some(draw, offs))


@damage("captured", "code_range", needs=("call",))
def length_changed(draw, image):
    frame = python_frame(draw, image)
    lengths = (0, frame.instruction, frame.instruction + 1, 1 << 30, (1 << 30) + 1, 1 << 63, WORD)
    image.put(frame.code.address + image.layout.units, some(draw, lengths))


@damage("captured", "code_range", needs=("call",))
def far_instruction_of_long_code(draw, image):
    frame = python_frame(draw, image)
    pointer = frame.address + image.layout.instr_ptr
    image.put(frame.code.address + image.layout.units, some(draw, (1 << 29, 1 << 30, (1 << 30) + 1)))
    image.put(pointer, image.get(pointer) - 2 * frame.instruction + some(draw, ((1 << 30) - 2, 1 << 30, (1 << 31) - 2)))


@damage("captured", "alignment", needs=("call",))
def tag_bits(draw, image):
    frame = python_frame(draw, image)
    image.put(frame.address + image.layout.executable, frame.code.address | draw(st.integers(0, 7)))


@damage("captured", "code_range", needs=("call",), names=WITH_TLBC)
def bytecode_index(draw, image):
    index = draw(st.integers(0, 6) | st.sampled_from((1 << 20, (1 << 32) - 1)))
    frame = python_frame(draw, image)
    image.put(frame.address + image.layout.tlbc_index, index, 4)
    if index < 4 and draw(st.booleans()):
        image.put(frame.address + image.layout.instr_ptr, frame.code.bytecodes[index] + 2 * frame.instruction)


@damage("code_range", needs=("call",), names=WITH_TLBC)
def bytecode_not_made(draw, image):
    frame = python_frame(draw, image)
    image.put(frame.code.array + image.layout.array_entries + 8 * image.tlbc_index, 0)
    image.put(frame.address + image.layout.instr_ptr, 2 * draw(st.integers(0, 8)))


@damage("fault", "code_range", needs=("call",), names=WITH_TLBC)
def array_length(draw, image):
    frame = python_frame(draw, image)
    image.put(frame.code.array + image.layout.array_size, some(draw, (0, 1, 2, 3, WORD)))
    image.put(frame.address + image.layout.tlbc_index, some(draw, (2, 2, (1 << 32) - 8)), 4)


@damage("captured", "bounds", needs=("hidden",))
def trampoline_or_not(draw, image):
    """Line 0 and one string for both names make a trampoline, and only both together. Without either it is shown, if it
    has bytecode of its own."""
    layout, frame = image.layout, some(draw, image.of_kind("hidden", "call", "resume"))
    code = frame.code.address
    image.put(code + layout.first_line, some(draw, (0, 1, (1 << 32) - 1)), 4)
    image.put(code + layout.qualname, image.get(code + some(draw, (layout.filename, layout.qualname))))
    image.put(code + layout.filename, code + some(draw, (8, 16)))


@damage("incomplete", needs=("call",))
def cut_before_an_entry_frame(draw, image):
    image.put(python_frame(draw, image).address + image.layout.previous, image.root)


@damage("incomplete", names=WITH_ROOT)
def root_missing(draw, image):
    if draw(st.booleans()):
        image.put(image.subject.state + image.layout.base_frame, 0)
    image.put(image.frames[0].address + image.layout.previous, 0)


@damage("incomplete", "captured", names=WITH_ROOT)
def root_elsewhere(draw, image):
    image.put(image.subject.state + image.layout.base_frame, some(draw, image.frames).address)


@damage("fault", needs=("call",))
def page_missing(draw, image):
    address, _ = some(draw, reads_of(image))
    image.memory.pages.discard(address // PAGE)


@damage("captured", "code_range", "bounds", needs=("call", "resume"))
def any_word(draw, image):
    """One that is read becomes another that is read, or any other, or changes a little."""
    reads = reads_of(image)
    address, size = some(draw, reads)
    other, other_size = some(draw, reads)
    value = draw(
        st.just(image.get(other, other_size))
        | st.integers(0, (1 << 8 * size) - 1)
        | st.sampled_from((-8, -2, -1, 1, 2, 8)).map(lambda off: image.get(address, size) + off)
    )
    image.put(address, value % (1 << 8 * size), size)


@st.composite
def schedules(draw, image, reads, least=0, most=4):
    """Writes during a walk: words that it reads take values that others have, or nearly their own."""
    words = sorted({address // 8 * 8 for address, _ in reads})
    values = st.sampled_from([image.get(word) for word in words]) | st.sampled_from([0, *words])
    writes = []
    for _ in range(draw(st.integers(least, most))):
        address = draw(st.sampled_from(words))
        near = st.sampled_from((-8, -2, -1, 1, 2, 8, 16)).map(lambda off, at=address: (image.get(at) + off) & WORD)
        writes.append((draw(st.integers(1, 2 * len(reads))), address, draw(values | near)))
    return writes


@damage("captured", "bounds", "code_range", needs=("call", "resume"))
def writes_during_the_walk(draw, image):
    return draw(schedules(image, reads_of(image), least=1))


@damage("captured", "incomplete", needs=("call", "call"))
def pop_during_the_walk(draw, image):
    """The innermost frame is left and another takes its place, store by store, in any order."""
    layout, reads = image.layout, len(reads_of(image))
    frame, code = image.frames[-1], image.code()
    stores = [
        (image.links()[0], image.frames[-2].address),
        (frame.address + layout.previous, some(draw, (0, image.frames[-2].address, image.frames[0].address))),
        (frame.address + layout.executable, code.address | layout.tag & 1),
        (frame.address + layout.instr_ptr, code.bytecodes[image.tlbc_index] + 2),
        (image.links()[0], frame.address),
    ]
    times = sorted(draw(st.integers(1, reads)) for _ in stores)
    return [(k, *store) for k, store in zip(times, draw(st.permutations(stores)), strict=True)]

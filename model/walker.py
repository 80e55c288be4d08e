"""The walk of one thread's frame chain: one whole stack, or one reason.

The rules
1.  Memory is read through `read(address, size)` alone, which gives a number, or None where nothing can be read: `fault`.
2.  Every object lies in user space with its whole length (`bounds`), at a multiple of 8 (`alignment`).
3.  The thread state is there (`no_thread_state`), and bound to the thread it is thought to be of (`detached`). Where it is
    not attached, the stack says so.
4.  The chain leads from the current frame, caller by caller, to the thread's root: null, or from 3.15 the base frame,
    which is never null. The frame before the root is the interpreter's own (`incomplete`).
5.  A frame is owned by a thread, a generator, or the interpreter (`owner`).
6.  A thread's frame lies whole in one of the thread's data-stack chunks. Those are taken newest first and not gone back
    to; one that is missing, or of a length that cannot be or leads out of user space, is out of `bounds`. A circle of them is a `cycle`. Within a
    chunk the caller lies whole below the frame that it called (`progress`).
7.  The interpreter's frame lies whole on the thread's C stack (`bounds`), of which both ends are
    known (`stack_unknown`), the caller whole above the frame before it (`progress`). Where the
    instruction is known that all of them stand at, it stands there (`owner`).
8.  A generator's frame may lie anywhere. A circle of them is a `cycle`.
9.  What a thread's or generator's frame runs is a code object (`type`), at an instruction of the bytecode that the frame
    uses: the object's own, or from 3.14t that of the thread's number in its array (`code_range`).
10. A code object with line 0 and one string for both names is the interpreter's trampoline: not shown, and its
    instruction may be anywhere.
11. Frames past `max_depth` are walked but not shown, and a walk ends after 65,536 frames, before which it may go by all
    but the last of those that it notes for a second look: the stack is then `truncated`. Past 65,536 chunks the frame is
    in none (`bounds`).

How a circle is noticed (6 and 8). Of the objects met, the walk remembers the 1st, 3rd, 7th, 15th, ... and compares each
later one with the newest that it remembers. So a circle is noticed late but surely, in constant memory.

The order of the reads is part of the specification: where memory changes during a walk, it decides what is seen.

The second look (`confirm`) reads again, in the same order, what the first went by. Whatever changed makes the stack
`torn`, but for the innermost frame's instruction, which moves on: the one of the second look counts, and must be valid.
`observe` does both, up to 64 times, and takes no stack during which a code object died.
"""

import platform
from collections import Counter
from dataclasses import dataclass, replace

from model.layout import Layout

USER_LOW = 0x10000
USER_HIGH = 1 << (52 if platform.machine() == "aarch64" else 47)
MOST_STEPS = 65536
LARGEST_CHUNK = 1 << 31
MOST_UNITS = 1 << 30
ATTEMPTS = 64
MORE_LOOKS = 2  # after the walk, the last of them at a random distance

THREAD, GENERATOR, INTERPRETER, C_STACK = 0, 1, 3, 4  # owners; 2, a frame object, is of no running frame


@dataclass(frozen=True)
class Subject:
    """Whose stack is walked, and what is known of it before."""

    layout: Layout
    code_type: int
    state: int  # address of the thread state
    tid: int  # the kernel's id of the thread
    stack_low: int  # the C stack: lowest address in use
    stack_high: int  # and the first past its end; 0: not known
    max_depth: int = 1024
    entry_instr_ptr: int = 0  # where the interpreter's own frames stand; 0: not known
    looks_room: int = 0  # frames that are noted for a second look


@dataclass(frozen=True)
class Look:
    """What was seen at one frame."""

    frame: int
    caller: int
    executable: int
    instr_ptr: int


@dataclass(frozen=True)
class Verdict:
    """`frames`: of (code object, instruction, first line), innermost first."""

    outcome: str
    frames: tuple = ()
    detached: bool = False
    truncated: bool = False
    looks: tuple = ()


class Dropped(Exception):
    """There is no stack; the message is the reason."""


class Circle:
    """Remembers the 1st, 3rd, 7th, 15th, ... address that was met."""

    def __init__(self):
        self.met = 0
        self.remembered = None

    def comes_back_to(self, address):
        if address == self.remembered:
            return True
        self.met += 1
        if self.met & (self.met + 1) == 0:
            self.remembered = address
        return False


class Memory:
    """Loads that end the walk where nothing can be read."""

    def __init__(self, read):
        self.read = read

    def load(self, address, size=8):
        value = self.read(address, size)
        if value is None:
            raise Dropped("fault")
        return value


def check_object(address, size):
    """Rule 2."""
    if not USER_LOW <= address <= USER_HIGH - size:
        raise Dropped("bounds")
    if address % 8 != 0:
        raise Dropped("alignment")


def check_state(subject, memory):
    """Rule 3. Whether the thread has its state detached."""
    layout = subject.layout
    if subject.state == 0:
        raise Dropped("no_thread_state")
    check_object(subject.state, layout.state_size)
    tid = memory.load(subject.state + layout.native_thread_id)
    status = memory.load(subject.state + layout.status, 4)
    if tid != subject.tid or not status & layout.bound or status & layout.unbound:
        raise Dropped("detached")
    return not status & layout.active


class DataStack:
    """Rule 6: the thread's chunks, from the newest on."""

    def __init__(self, subject, memory):
        self.layout, self.memory = subject.layout, memory
        self.link = subject.state + subject.layout.datastack_chunk
        self.low, self.high, self.next_end = 0, 0, 0  # the present chunk, and where the next frame must end
        self.chunks = Circle()
        self.visited = 0

    def holds(self, frame):
        return self.low <= frame and frame + self.layout.frame_size <= self.high

    def go_to_older_chunk(self):
        chunk = self.memory.load(self.link)
        if self.chunks.comes_back_to(chunk):
            raise Dropped("cycle")
        self.visited += 1
        if self.visited > MOST_STEPS:
            raise Dropped("bounds")
        check_object(chunk, self.layout.chunk_data)
        size = self.memory.load(chunk + self.layout.chunk_size)
        if not self.layout.chunk_data <= size <= min(LARGEST_CHUNK, USER_HIGH - chunk):
            raise Dropped("bounds")
        self.link = chunk + self.layout.chunk_previous
        self.low, self.high = chunk + self.layout.chunk_data, chunk + size
        self.next_end = self.high

    def place(self, frame):
        while not self.holds(frame):
            self.go_to_older_chunk()
        if frame + self.layout.frame_size > self.next_end:
            raise Dropped("progress")
        self.next_end = frame


class CStack:
    """Rule 7."""

    def __init__(self, subject):
        self.subject = subject
        self.next_begin = subject.stack_low

    def place(self, frame):
        if self.subject.stack_high == 0:
            raise Dropped("stack_unknown")
        end = frame + self.subject.layout.frame_size
        if frame < self.subject.stack_low or end > self.subject.stack_high:
            raise Dropped("bounds")
        if frame < self.next_begin:
            raise Dropped("progress")
        self.next_begin = end


def find_bytecode(layout, memory, frame, code):
    """Rule 9: where the bytecode begins that the frame uses."""
    if layout.tlbc is None:
        return code + layout.bytecode
    array = memory.load(code + layout.tlbc)
    check_object(array, layout.array_entries)
    index = memory.load(frame + layout.tlbc_index, 4)
    if index >= memory.load(array + layout.array_size):
        raise Dropped("code_range")
    bytecode = memory.load(array + layout.array_entries + 8 * index)
    if bytecode == 0:
        raise Dropped("code_range")
    return bytecode


def find_instruction(layout, memory, frame, code):
    """Rule 9: the instruction pointer, and the index of the instruction."""
    bytecode = find_bytecode(layout, memory, frame, code)
    pointer = memory.load(frame + layout.instr_ptr)
    units = memory.load(code + layout.units)
    index, odd = divmod((pointer - bytecode) % (1 << 64), 2)
    if units > MOST_UNITS or odd or index >= units:
        raise Dropped("code_range")
    return pointer, index


def is_trampoline(layout, memory, code, first_line):
    """Rule 10."""
    if first_line != 0:
        return False
    filename = memory.load(code + layout.filename)
    return filename == memory.load(code + layout.qualname)


def read_code(subject, memory, frame):
    """Rules 9 and 10: the executable, the instruction pointer, and the entry to show or None."""
    layout = subject.layout
    executable = memory.load(frame + layout.executable)
    code = executable & ~layout.tag
    check_object(code, layout.code_size)
    if memory.load(code + layout.object_type) != subject.code_type:
        raise Dropped("type")
    first_line = memory.load(code + layout.first_line, 4)
    if is_trampoline(layout, memory, code, first_line):
        return executable, memory.load(frame + layout.instr_ptr), None
    pointer, index = find_instruction(layout, memory, frame, code)
    signed = first_line - (1 << 32) if first_line >> 31 else first_line
    return executable, pointer, (code, index, signed)


def read_entry(subject, memory, frame):
    """Rule 7: the same of one of the interpreter's own frames, which is not shown."""
    pointer = memory.load(frame + subject.layout.instr_ptr)
    executable = memory.load(frame + subject.layout.executable)
    if subject.entry_instr_ptr not in (0, pointer):
        raise Dropped("owner")
    return executable, pointer, None


class Chain:
    """One walk in progress."""

    def __init__(self, subject, memory):
        self.subject, self.memory = subject, memory
        self.data_stack, self.c_stack = DataStack(subject, memory), CStack(subject)
        self.generators = Circle()
        self.shown, self.looks = [], []
        self.truncated = False

    def visit(self, frame):
        """Rules 5 to 11 for one frame. Its caller, and whether it is the interpreter's own."""
        layout = self.subject.layout
        check_object(frame, layout.frame_size)
        owner = self.memory.load(frame + layout.owner, 1)
        if owner in (INTERPRETER, C_STACK):
            self.c_stack.place(frame)
            executable, pointer, entry = read_entry(self.subject, self.memory, frame)
        elif owner in (THREAD, GENERATOR):
            if owner == THREAD:
                self.data_stack.place(frame)
            elif self.generators.comes_back_to(frame):
                raise Dropped("cycle")
            executable, pointer, entry = read_code(self.subject, self.memory, frame)
        else:
            raise Dropped("owner")
        self.show(entry)
        caller = self.memory.load(frame + layout.previous)
        if len(self.looks) < self.subject.looks_room:
            self.looks.append(Look(frame, caller, executable, pointer))
        return caller, owner in (INTERPRETER, C_STACK)

    def show(self, entry):
        if entry is None:
            return
        if len(self.shown) < self.subject.max_depth:
            self.shown.append(entry)
        else:
            self.truncated = True

    def follow(self, frame, root):
        """Rule 4, and the end of rule 11."""
        own, left = True, MOST_STEPS + max(0, self.subject.looks_room - 1)
        while frame != root:
            if left == 0:
                self.truncated = True
                return
            if frame == 0:
                raise Dropped("incomplete")
            frame, own = self.visit(frame)
            left -= 1
        if not own:
            raise Dropped("incomplete")


def find_root(subject, memory):
    """Rule 4."""
    if subject.layout.base_frame is None:
        return 0
    root = memory.load(subject.state + subject.layout.base_frame)
    if root == 0:
        raise Dropped("incomplete")
    return root


def walk(subject, read):
    """The stack of the subject, or the reason why there is none."""
    memory = Memory(read)
    try:
        detached = check_state(subject, memory)
        frame = memory.load(subject.state + subject.layout.current_frame)
        root = find_root(subject, memory)
        chain = Chain(subject, memory)
        chain.follow(frame, root)
    except Dropped as reason:
        return Verdict(str(reason))
    return Verdict("captured", tuple(chain.shown), detached, chain.truncated, tuple(chain.looks))


# --- the second look, and the third ----------------------------------------------------------------------------------


def stands(read, address, value):
    return read(address, 8) == value


def frame_stands(layout, read, look, innermost):
    """The innermost frame's instruction may move on, and nothing else."""
    return (
        stands(read, look.frame + layout.executable, look.executable)
        and stands(read, look.frame + layout.previous, look.caller)
        and (innermost or stands(read, look.frame + layout.instr_ptr, look.instr_ptr))
    )


def renew_instruction(subject, memory, verdict):
    """The frames, with the present instruction of the innermost one if that is shown."""
    top = verdict.looks[0]
    code = top.executable & ~subject.layout.tag
    if not verdict.frames or verdict.frames[0][0] != code:
        return verdict.frames
    _, index = find_instruction(subject.layout, memory, top.frame, code)
    return ((code, index, verdict.frames[0][2]), *verdict.frames[1:])


def confirm(subject, read, verdict):
    """What becomes of a captured stack after one more look."""
    memory, frames = Memory(read), verdict.frames
    try:
        current = memory.load(subject.state + subject.layout.current_frame)
        if verdict.looks:
            if current != verdict.looks[0].frame:
                raise Dropped("torn")
            frames = renew_instruction(subject, memory, verdict)
        for number, look in enumerate(verdict.looks):
            if not frame_stands(subject.layout, read, look, innermost=number == 0):
                raise Dropped("torn")
        detached = check_state(subject, memory)
    except Dropped as reason:
        return Verdict(str(reason))
    return replace(verdict, frames=frames, detached=detached)


def observe(subject, read, deaths):
    """The stack of another thread, the number of deaths before it, and what each attempt came to.

    `deaths()`: how many code objects have died."""
    met = Counter()
    for _ in range(ATTEMPTS):
        before = deaths()
        verdict = walk(subject, read)
        for _ in range(MORE_LOOKS):
            if verdict.outcome == "captured":
                verdict = confirm(subject, read, verdict)
        if verdict.outcome == "captured" and deaths() != before:
            verdict = Verdict("torn")
        met[verdict.outcome] += 1
        if verdict.outcome in ("captured", "detached", "no_thread_state", "stack_unknown"):
            break
    return verdict, before, met

"""What an input of the target `output` says: the code objects, stacks, threads and losses of one session.

An input is a row of operations, and any bytes are one. A text is put together first: printable ASCII stands for
itself, a byte from 0x80 for one of PIECES, and POINT, RAW, REPEAT and MANY for the rest. NAME, FILE and TABLE give it to the next
CODE, THREAD to a thread. CALL and RETURN move a stack, and SAMPLE records it.
"""

import struct
from collections import namedtuple
from dataclasses import dataclass, field

from targets import REASONS

# What has a meaning in one of the formats, ends a line somewhere, or is no character at all.
PIECES = (
    "", " ", ";", "\\", '"', "'", "\n", "\r", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\x85", "\xa0", "\u2028", "\u2029",
    "\u200b", "\u202e", "\ufeff", "\ud800", "\udfff", "\udc80", "\ud83d\ude00", "\U0001f600", "\U0010ffff", "\\x3b", "\\n",
    "\\u0041", "%s", "{}", "</script>", "<b>&amp;", "[lost samples]", "[truncated]", "[C code, detached]", "[", "(", ") 7",
    " (a.py:1)", "null", "1", "-1", "1e9", "é", "日本",
)  # fmt: skip
LOSSES = REASONS[1:]
INTERVALS = (0.1, 1, 2.5, 10, 10_000)
DETACHED, TRUNCATED = 1, 2

MEGABYTE = 1 << 20
SHORT = 1 << 12
TEXT_MOST = MEGABYTE + SHORT  # characters of all texts of an input: one name of a megabyte, and some others
DEPTH_MOST = 200

(
    POINT, RAW, REPEAT, MANY, NAME, FILE, TABLE, CODE, NAMELESS, CALL, RETURN, SAMPLE, THREAD, LOSS, INTERVAL,
) = range(15)  # fmt: skip

Code = namedtuple("Code", "name file table first_line")  # name None: the object has died unnamed
Call = namedtuple("Call", "code instruction")
Sample = namedtuple("Sample", "time thread stack weight flags")  # the stack's outermost call first
Thread = namedtuple("Thread", "tid name")

NOBODY = Thread(11, "main")
NOTHING = Code("f", "a.py", b"", 1)


@dataclass
class Recording:
    codes: list = field(default_factory=list)
    samples: list = field(default_factory=list)
    threads: list = field(default_factory=list)
    losses: dict = field(default_factory=lambda: dict.fromkeys(LOSSES, 0))
    interval: float = INTERVALS[1]
    mode: str = "cpu"


class Reader:
    """Takes numbers from an input; past its end there are zeros."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def more(self):
        return self.at < len(self.data)

    def bytes(self, count):
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, width, signed=False):
        return int.from_bytes(self.bytes(width), "little", signed=signed)


class Decoder:
    def __init__(self, data):
        self.reader = Reader(data)
        self.recording = Recording()
        self.room = TEXT_MOST
        self.time = 0
        self.stack = []
        self.text = ""
        self.name, self.file, self.table = "", "", b""

    def decoded(self):
        while self.reader.more():
            byte = self.reader.number(1)
            if byte >= 0x80:
                self.add(PIECES[(byte - 0x80) % len(PIECES)])
            elif 0x20 <= byte < 0x7F:
                self.add(chr(byte))
            else:
                self.operate(byte % 16)
        return self.settled()

    def add(self, text):
        taken = text[: self.room]
        self.text += taken
        self.room -= len(taken)

    def repeat(self, times):
        """Up to a short text, or else repetitions of repetitions were megabytes too; see many()."""
        if times == 0:
            self.text = ""
        elif self.text:
            most = TEXT_MOST if times == MEGABYTE else SHORT
            more = min(times - 1, 1 + most // len(self.text)) * self.text
            self.add(more[: max(most - len(self.text), 0)])

    def taken(self):
        text, self.text = self.text, ""
        return text

    def operate(self, operation):
        reader, recording = self.reader, self.recording
        if operation == POINT:
            self.add(chr(reader.number(3) % 0x110000))
        elif operation == RAW:
            self.add(reader.bytes(reader.number(1)).decode("latin-1"))
        elif operation in (REPEAT, MANY):
            self.repeat(reader.number(1) if operation == REPEAT else many(reader.number(3)))
        elif operation == NAME:
            self.name = self.taken()
        elif operation == FILE:
            self.file = self.taken()
        elif operation == TABLE:
            self.table = bytes(ord(character) & 0xFF for character in self.taken()[:0xFFFF])
        elif operation == CODE:
            recording.codes.append(Code(self.name, self.file, self.table, reader.number(4, signed=True)))
        elif operation == NAMELESS:
            recording.codes.append(Code(None, "", b"", 0))
        elif operation == CALL:
            call = Call(reader.number(1), reader.number(2))
            if len(self.stack) < DEPTH_MOST:
                self.stack.append(call)
        elif operation == RETURN:
            del self.stack[-(1 + reader.number(1)) :]
        elif operation == SAMPLE:
            self.sample(reader.number(1), reader.number(1), reader.number(4))
        elif operation == THREAD:
            recording.threads.append(Thread(reader.number(1), self.taken() or "-"))
        elif operation == LOSS:
            recording.losses[LOSSES[reader.number(1) % len(LOSSES)]] = reader.number(4)
        elif operation == INTERVAL:
            number = reader.number(1)
            recording.interval, recording.mode = INTERVALS[number % len(INTERVALS)], ("cpu", "wall")[number >> 7]

    def sample(self, thread, flags, weight):
        self.time += 1 + weight
        sample = Sample(self.time, thread, tuple(self.stack), 1 + weight % 0xFFFF_FFFF, flags % 4)
        self.recording.samples.append(sample)

    def settled(self):
        """The recording, with every number of a thread or a code object one that there is."""
        recording = self.recording
        recording.codes = recording.codes or [NOTHING]
        recording.threads = recording.threads or [NOBODY]
        recording.samples = [
            sample._replace(
                thread=sample.thread % len(recording.threads),
                stack=tuple(Call(call.code % len(recording.codes), call.instruction) for call in sample.stack),
            )
            for sample in recording.samples
        ]
        return recording


def many(number):
    """A megabyte must be meant: nearly every number of three bytes would be one, and take the time of all others."""
    return number if number == MEGABYTE else number % SHORT


def decode(data):
    return Decoder(data).decoded()


# --- for whoever writes inputs ---------------------------------------------------------------------------


def operation(number, *values):
    """An operation with its values: (value, width in bytes) for each."""
    return bytes([number]) + b"".join(
        (value & (1 << 8 * width) - 1).to_bytes(width, "little") for value, width in values
    )


def text(characters):
    """A text, the short way where there is one."""
    return b"".join(
        character.encode() if " " <= character <= "~" else operation(POINT, (ord(character), 3))
        for character in characters
    )


def piece(number):
    return bytes([0x80 + number])


def raw(data):
    return bytes([RAW, len(data)]) + data


def code(name, file, first_line=1, table=b""):
    """Name and file are operations that make a text; the table is its bytes."""
    table = raw(table) + bytes([TABLE]) if table else bytes([TABLE])
    return name + bytes([NAME]) + file + bytes([FILE]) + table + operation(CODE, (first_line, 4))


def call(number, instruction=0):
    return operation(CALL, (number, 1), (instruction, 2))


def returned(levels=1):
    return operation(RETURN, (levels - 1, 1))


def sample(thread=0, weight=1, flags=0):
    return operation(SAMPLE, (thread, 1), (flags, 1), (weight - 1, 4))


def thread(tid, name):
    return name + operation(THREAD, (tid, 1))


def loss(number, ticks):
    return operation(LOSS, (number, 1), (ticks, 4))


def entry(form, units, *rest):
    """An entry of a location table."""
    return struct.pack("B", 128 | form << 3 | units - 1) + bytes(rest)

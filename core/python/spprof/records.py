"""What a session recorded, as the native extension hands it over.

Nothing is decoded before it is asked for: a session may have millions of samples.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from .counters import public_stats

if TYPE_CHECKING:
    from ._native import NativeProfile

Packed = tuple[int, int, int, int, int, int]
"""First and last time, thread, node, weight, flags."""

_NODE = struct.Struct("=iii")
_SAMPLE = struct.Struct("=qqIiII")
BLOCK = 4096  # samples, nodes: each of the extension's buffers but the last has so many
_PARENT = struct.Struct("=i")  # the first field of a node

DETACHED = 1  # flags of a sample
TRUNCATED = 2
ROOT = -1  # what an outermost frame has for its parent, and a stack without frames for its node


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that was sampled.

    `cpu_s` is its part of the counter `watched_cpu_s`: CPU seconds from its birth, or the session's
    start, to the last look at it.
    """

    index: int
    native_id: int
    name: str
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One level of a stack. `line` is the line being run, 0 where it is not known."""

    name: str
    filename: str
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded stack, outermost frame first, standing for `weight` ticks.

    `time_ns` and `last_ns` count from the session's start. Equal stacks of a thread that follow one
    another within a second (or two intervals) are one sample, which was seen from the one to the
    other; in a recording of counts, all equal ones of a thread are. `detached` means that the thread was inside C code
    that had given up its thread state; `truncated`, that the stack was deeper than the session's
    limit and the outer frames are missing.
    """

    time_ns: int
    thread: Thread
    weight: int
    detached: bool
    truncated: bool
    stack: tuple[Frame, ...]
    last_ns: int

    @property
    def state(self) -> str:
        """What the thread was doing.

        "idle" (no Python code), "blocked" (in C code, its state detached) or "running".
        """
        if not self.stack:
            return "idle"
        return "blocked" if self.detached else "running"


class Record(NamedTuple):
    """A sample as stored.

    `node` is the innermost frame's index in the call tree, -1 for a stack without frames.
    """

    time_ns: int
    thread: int
    node: int
    weight: int
    detached: bool
    truncated: bool
    last_ns: int


class Records:
    """The records of one session, with its settings, threads and counters.

    Never changes, so any thread may read it. Iterating gives each `Record` in the order of
    recording.
    """

    def __init__(
        self,
        native: NativeProfile,
        *,
        mode: str,
        interval_ms: float,
        threads: list[Thread],
        recording: str,
    ) -> None:
        """`threads` has an entry for each by its number; `recording` is the form asked for."""
        self.native = native
        self.mode = mode
        self.interval_ms = interval_ms
        self.threads = threads
        self.recording = recording
        self.stats = public_stats(native["stats"], mode=mode, interval_ms=interval_ms, recording=recording)

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles: the extension's buffers are pages of this process."""
        arrays = {name: [bytes(block) for block in self.native[name]] for name in ("nodes", "samples")}
        return {**self.__dict__, "native": {**self.native, **arrays}}

    def __iter__(self) -> Iterator[Record]:
        for first, last, thread, node, weight, flags in self.packed():
            detached, truncated = bool(flags & DETACHED), bool(flags & TRUNCATED)
            yield Record(first, thread, node, weight, detached, truncated, last)

    def packed(self) -> Iterator[Packed]:
        """The fields of each record with its flags in one number; cheaper than iterating."""
        return chain.from_iterable(map(_SAMPLE.iter_unpack, self.native["samples"]))

    def packed_at(self, number: int) -> Packed:
        """Those of one record, by its number from 0 on."""
        block, at = divmod(number, BLOCK)
        return _SAMPLE.unpack_from(self.native["samples"][block], at * _SAMPLE.size)

    def numbers_by_thread(self) -> list[array[int]]:
        """The numbers of the records of each thread, in their order."""
        numbers = [array("I") for _ in self.threads]
        for number, (_, _, thread, _, _, _) in enumerate(self.packed()):
            numbers[thread].append(number)
        return numbers

    def nodes(self) -> Iterator[tuple[int, Frame]]:
        """Parent and frame of each node of the call tree. Equal frames are one object."""
        codes = self.native["codes"]
        known: dict[tuple[int, int], Frame] = {}
        for parent, code, line in chain.from_iterable(map(_NODE.iter_unpack, self.native["nodes"])):
            frame = known.get((code, line))
            if frame is None:
                name, filename, first_line = codes[code]
                frame = known[code, line] = Frame(name, filename, line, first_line)
            yield parent, frame

    def rerooted(self, nodes: Iterable[int]) -> NativeProfile:
        """What the extension would have handed over, had these nodes been called by nothing."""
        blocks = list(self.native["nodes"])
        for node in nodes:
            block, at = divmod(node, BLOCK)
            if not isinstance(blocks[block], bytearray):
                blocks[block] = bytearray(blocks[block])
            _PARENT.pack_into(blocks[block], at * _NODE.size, ROOT)
        return {**self.native, "nodes": blocks}


def name_threads(
    found: Sequence[tuple[int, str, str | None, int]],
    living: Mapping[int, str],
    process_name: str,
    count: int = 0,
) -> list[Thread]:
    """Threads with the best name known: Python's, else the kernel's, else the thread id.

    There are `count` at least: of those that there was no memory to find out about, nothing is.

    `found` has the native id, the kernel's name, Python's where it is known, and CPU time. Else it may be in
    `living`, by native id: the kernel uses ids again, so of several threads with one id only the
    last can be the living one. A kernel name equal to the process's was inherited and says nothing.
    """
    last = {native_id: index for index, (native_id, _, _, _) in enumerate(found)}
    threads = []
    for index, (native_id, kernel_name, name, cpu_ns) in enumerate(found):
        if name is None:
            name = living.get(native_id) if last[native_id] == index else None
            name = name or (kernel_name if kernel_name != process_name else "")
        threads.append(Thread(index, native_id, name or f"thread {native_id}", cpu_ns / 1e9))
    threads.extend(Thread(index, 0, f"thread {index}, unknown") for index in range(len(found), count))
    return threads

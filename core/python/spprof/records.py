"""What a session recorded, as the native extension hands it over.

Nothing is decoded before it is asked for: a session may have millions of samples.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .counters import public_stats

if TYPE_CHECKING:
    from ._native import NativeProfile

_NODE = struct.Struct("=iii")
_SAMPLE = struct.Struct("=qIiII")
_PARENT = struct.Struct("=i")  # the first field of a node

DETACHED = 1  # flags of a sample
TRUNCATED = 2
ROOT = -1  # what an outermost frame has for its parent, and a stack without frames for its node


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that was sampled."""

    index: int
    native_id: int
    name: str


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

    `time_ns` counts from the session's start. `detached` means that the thread was inside C code
    that had given up its thread state; `truncated`, that the stack was deeper than the session's
    limit and the outer frames are missing.
    """

    time_ns: int
    thread: Thread
    weight: int
    detached: bool
    truncated: bool
    stack: tuple[Frame, ...]

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
    ) -> None:
        """`threads` has one entry for each of the native profile's, in its order."""
        self.native = native
        self.mode = mode
        self.interval_ms = interval_ms
        self.threads = threads
        self.stats = public_stats(native["stats"], mode=mode, interval_ms=interval_ms)

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles: the extension's buffers are pages of this process."""
        arrays = {name: bytes(self.native[name]) for name in ("nodes", "samples")}
        return {**self.__dict__, "native": {**self.native, **arrays}}

    def __iter__(self) -> Iterator[Record]:
        for time_ns, thread, node, weight, flags in self.packed():
            detached, truncated = bool(flags & DETACHED), bool(flags & TRUNCATED)
            yield Record(time_ns, thread, node, weight, detached, truncated)

    def packed(self) -> Iterator[tuple[int, int, int, int, int]]:
        """The fields of each record with its flags in one number; cheaper than iterating."""
        return _SAMPLE.iter_unpack(self.native["samples"])

    def nodes(self) -> Iterator[tuple[int, Frame]]:
        """Parent and frame of each node of the call tree. Equal frames are one object."""
        codes = self.native["codes"]
        known: dict[tuple[int, int], Frame] = {}
        for parent, code, line in _NODE.iter_unpack(self.native["nodes"]):
            frame = known.get((code, line))
            if frame is None:
                name, filename, first_line = codes[code]
                frame = known[code, line] = Frame(name, filename, line, first_line)
            yield parent, frame

    def rerooted(self, nodes: Iterable[int]) -> NativeProfile:
        """What the extension would have handed over, had these nodes been called by nothing."""
        packed = bytearray(self.native["nodes"])
        for node in nodes:
            _PARENT.pack_into(packed, node * _NODE.size, ROOT)
        return {**self.native, "nodes": bytes(packed)}


def name_threads(
    found: Sequence[tuple[int, str, str | None]],
    living: Mapping[int, str],
    process_name: str,
) -> list[Thread]:
    """Threads with the best name known: Python's, else the kernel's, else the thread id.

    `found` has the native id, the kernel's name, and Python's where it is known. Else it may be in
    `living`, by native id: the kernel uses ids again, so of several threads with one id only the
    last can be the living one. A kernel name equal to the process's was inherited and says nothing.
    """
    last = {native_id: index for index, (native_id, _, _) in enumerate(found)}
    threads = []
    for index, (native_id, kernel_name, name) in enumerate(found):
        if name is None:
            name = living.get(native_id) if last[native_id] == index else None
            name = name or (kernel_name if kernel_name != process_name else "")
        threads.append(Thread(index, native_id, name or f"thread {native_id}"))
    return threads

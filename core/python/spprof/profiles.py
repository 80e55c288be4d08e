"""What a session collected.

This module is not called `profile`: the decorator `spprof.profile` has that name.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

from . import files, formats
from .counters import public_stats

if TYPE_CHECKING:
    from ._native import NativeProfile

_NODE = struct.Struct("=iii")
_SAMPLE = struct.Struct("=qIiII")
_DETACHED = 1
_TRUNCATED = 2
_ROOT = -1


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

    `time_ns` counts from the session's start. `detached` means that the thread was inside C code that had given up
    its thread state; `truncated`, that the stack was deeper than the session's limit and the outer frames are missing.
    """

    time_ns: int
    thread: Thread
    weight: int
    detached: bool
    truncated: bool
    stack: tuple[Frame, ...]

    @property
    def state(self) -> str:
        """What the thread was doing: "idle" (no Python code), "blocked" (in C code, its state detached) or "running"."""
        if not self.stack:
            return "idle"
        return "blocked" if self.detached else "running"


@dataclass(frozen=True, slots=True)
class Function:
    """A function's share of the captured ticks.

    `self` counts the ticks with the function innermost, `total` those with the function anywhere in the stack.
    """

    name: str
    filename: str
    first_line: int
    self: int
    total: int


class Record(NamedTuple):
    """A sample as stored; `node` is the innermost frame's index in the call tree, -1 for a stack without frames."""

    time_ns: int
    thread: int
    node: int
    weight: int
    detached: bool
    truncated: bool


class CallTree(NamedTuple):
    """Stacks that share their outer frames. Node i is `frames[i]`, called from node `parents[i]`, -1 for none.

    A parent's index is lower than its child's.
    """

    parents: Sequence[int]
    frames: Sequence[Frame]

    def path(self, node: int) -> list[int]:
        """The nodes from the outermost frame to `node`; none for -1."""
        nodes = []
        while node != _ROOT:
            nodes.append(node)
            node = self.parents[node]
        nodes.reverse()
        return nodes


class Profile:
    """The samples and counters of one session. Never changes, so any thread may read it.

    Iterating gives each `Sample` in the order of recording. Stacks are decoded when first asked for.
    """

    def __init__(self, native: NativeProfile, *, mode: str, interval_ms: float, threads: list[Thread]) -> None:
        """`threads` has one entry for each of the native profile's, in its order."""
        self._native = native
        self.mode = mode
        self.interval_ms = interval_ms
        self.threads = threads
        self.stats = public_stats(native["stats"], mode=mode, interval_ms=interval_ms)

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles: the extension's buffers are pages of this process."""
        arrays = {name: bytes(self._native[name]) for name in ("nodes", "samples")}
        return {**self.__dict__, "_native": {**self._native, **arrays}}

    def __repr__(self) -> str:
        return (
            f"<spprof.Profile: {self.stats['samples']} samples, {len(self.threads)} threads, "
            f"{self.mode} mode, every {self.interval_ms:g} ms>"
        )

    def __iter__(self) -> Iterator[Sample]:
        tree = self.tree

        @cache
        def stack(node: int) -> tuple[Frame, ...]:
            return tuple(tree.frames[step] for step in tree.path(node))

        for record in self.records():
            thread = self.threads[record.thread]
            yield Sample(record.time_ns, thread, record.weight, record.detached, record.truncated, stack(record.node))

    def records(self) -> Iterator[Record]:
        """The samples as stored: cheaper than iterating where the call tree is what is wanted."""
        for time_ns, thread, node, weight, flags in _SAMPLE.iter_unpack(self._native["samples"]):
            yield Record(time_ns, thread, node, weight, bool(flags & _DETACHED), bool(flags & _TRUNCATED))

    def ticks_by_place(self) -> dict[tuple[int, int, bool, bool], int]:
        """Ticks by thread, node of the call tree, `detached` and `truncated`: what is left of the records without their times."""
        ticks: dict[tuple[int, int, int], int] = {}
        for _, thread, node, weight, flags in _SAMPLE.iter_unpack(self._native["samples"]):
            place = thread, node, flags & (_DETACHED | _TRUNCATED)
            ticks[place] = ticks.get(place, 0) + weight
        return {(*place, bool(flags & _DETACHED), bool(flags & _TRUNCATED)): n for (*place, flags), n in ticks.items()}

    @cached_property
    def tree(self) -> CallTree:
        """The call tree that the records point into. Equal frames are one object."""
        codes = self._native["codes"]
        known: dict[tuple[int, int], Frame] = {}
        parents: list[int] = []
        frames: list[Frame] = []
        for parent, code, line in _NODE.iter_unpack(self._native["nodes"]):
            frame = known.get((code, line))
            if frame is None:
                name, filename, first_line = codes[code]
                frame = known[code, line] = Frame(name, filename, line, first_line)
            parents.append(parent)
            frames.append(frame)
        return CallTree(parents, frames)

    def functions(self) -> list[Function]:
        """Every sampled function, hottest by its own ticks first.

        A recursive function counts once for each sample towards its total.
        """
        functions = [(frame.name, frame.filename, frame.first_line) for frame in self.tree.frames]
        own_by_node: Counter[int] = Counter()
        for record in self.records():
            if record.node != _ROOT:
                own_by_node[record.node] += record.weight
        own: Counter[tuple[str, str, int]] = Counter()
        for node, weight in own_by_node.items():
            own[functions[node]] += weight
        total = _totals(self.tree.parents, functions, own_by_node)
        found = [Function(*function, self=own[function], total=ticks) for function, ticks in total.items() if ticks]
        found.sort(key=lambda function: (-function.self, -function.total, function.name, function.filename))
        return found

    def trimmed(self, is_launcher: Callable[[Frame], bool]) -> Profile:
        """This profile without the outermost frames that started the program.

        Frames are removed from the outside up to the first for which `is_launcher` is false. A stack that has launcher
        frames only is the launcher's own work and stays whole, so no tick moves to a stack that was not there.
        """
        parents, frames = self.tree
        launching: list[bool] = []
        nodes = bytearray(self._native["nodes"])
        for node, (parent, frame) in enumerate(zip(parents, frames, strict=True)):
            below_launcher = parent == _ROOT or launching[parent]
            launching.append(below_launcher and is_launcher(frame))
            if below_launcher and not launching[node]:
                struct.pack_into("=i", nodes, node * _NODE.size, _ROOT)
        native: NativeProfile = {**self._native, "nodes": bytes(nodes)}
        return Profile(native, mode=self.mode, interval_ms=self.interval_ms, threads=self.threads)

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the profile to `path`, whole or not at all; an earlier file is replaced only by a whole new one.

        `format` is "speedscope" (JSON for speedscope.app) or "collapsed" (text for flame graph tools); None takes the
        second where the name ends in ".txt", else the first. Raises ValueError for another one, OSError when the file
        cannot be written.
        """
        files.write_whole(path, formats.get(formats.of_file(path) if format is None else format).write(self))


def _totals(
    parents: Sequence[int], functions: Sequence[tuple[str, str, int]], own: Mapping[int, int]
) -> Counter[tuple[str, str, int]]:
    """Ticks of each function's outermost calls with all that they called, in time linear in the nodes."""
    inclusive = [own.get(node, 0) for node in range(len(parents))]
    children: list[list[int]] = [[] for _ in parents]
    roots = []
    for node in range(len(parents) - 1, -1, -1):
        if parents[node] == _ROOT:
            roots.append(node)
        else:
            children[parents[node]].append(node)
            inclusive[parents[node]] += inclusive[node]
    totals: Counter[tuple[str, str, int]] = Counter()
    active: Counter[tuple[str, str, int]] = Counter()
    pending = roots
    while pending:
        node = pending.pop()
        if node < 0:  # the call of node ~node has been looked at with all that it called
            active[functions[~node]] -= 1
            continue
        if not active[functions[node]]:
            totals[functions[node]] += inclusive[node]
        active[functions[node]] += 1
        pending.append(~node)
        pending.extend(children[node])
    return totals


def name_threads(
    found: Sequence[tuple[int, str, str | None]], living: Mapping[int, str], process_name: str
) -> list[Thread]:
    """Threads with the best name known: Python's, else the kernel's, else the thread id.

    `found` has the native id, the kernel's name, and Python's where it is known. Else it may be in
    `living`, by native id: the kernel uses ids again, so of several threads with one id only the last
    can be the living one. A kernel name equal to the process's was inherited and says nothing.
    """
    last = {native_id: index for index, (native_id, _, _) in enumerate(found)}
    threads = []
    for index, (native_id, kernel_name, name) in enumerate(found):
        if name is None:
            name = living.get(native_id) if last[native_id] == index else None
            name = name or (kernel_name if kernel_name != process_name else "")
        threads.append(Thread(index, native_id, name or f"thread {native_id}"))
    return threads

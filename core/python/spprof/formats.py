"""The file formats of a profile.

Both keep every captured tick, and show the lost ones under `[lost samples]` with one frame for each reason. What is
not a Python frame has its label in brackets: `[truncated]` outermost where outer frames are missing, `[C code,
detached]` innermost where the thread was inside C code, `[no Python frame]` for a stack without frames.
"""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from . import __version__

if TYPE_CHECKING:
    from .profiles import Profile
    from .records import Frame, Thread

_LOST = "[lost samples]"
_TRUNCATED = "[truncated]"
_DETACHED = "[C code, detached]"
_EMPTY = "[no Python frame]"
_PIECE = 10_000  # texts that are put together at once


class Format(NamedTuple):
    """A way to write a profile as text, in pieces since the whole may be large; `suffix` ends the usual file name."""

    suffix: str
    write: Callable[[Profile], Iterator[str]]


def get(name: str) -> Format:
    """The format of that name. Raises ValueError with the valid names."""
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown format {name!r}; the formats are {', '.join(FORMATS)}") from None


def of_file(path: str | os.PathLike[str] | None) -> str:
    """The format whose file names end as this one does; "speedscope" where none does."""
    ending = os.path.splitext(os.fspath(path or ""))[1]
    return next(
        (name for name, format in FORMATS.items() if os.path.splitext(format.suffix)[1] == ending), "speedscope"
    )


def escaped(text: str, also: str = ";\\") -> str:
    r"""The text on one line: each unprintable character, and each of `also`, becomes \xNN, \uNNNN or \UNNNNNNNN.

    With the backslash among `also` no two texts become one, and Python's rules for string literals give a text back.
    """
    if text.isprintable() and not any(character in text for character in also):
        return text
    return "".join(
        character if character.isprintable() and character not in also else _escape_sequence(ord(character))
        for character in text
    )


def _escape_sequence(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Stacks:
    """Stacks as tuples of numbers, one number for each distinct label that was met; `labels[number]` is the label."""

    def __init__(self, profile: Profile, label: Callable[[Frame], str], pseudo_label: Callable[[str], str]) -> None:
        self.labels: list[str] = []
        self._numbers: dict[str, int] = {}
        self._of_frame: dict[int, int] = {}  # by id: equal frames are one object, which the tree keeps alive
        self._label = label
        self._pseudo_label = pseudo_label
        self._tree = profile.tree

    def _number(self, label: str) -> int:
        number = self._numbers.setdefault(label, len(self.labels))
        if number == len(self.labels):
            self.labels.append(label)
        return number

    def _frame(self, frame: Frame) -> int:
        number = self._of_frame.get(id(frame))
        if number is None:
            number = self._of_frame[id(frame)] = self._number(self._label(frame))
        return number

    def pseudo(self, name: str) -> int:
        """The number of a level that is not a Python frame."""
        return self._number(self._pseudo_label(name))

    def of(self, node: int, detached: bool, truncated: bool) -> tuple[int, ...]:
        """The stack that ends at a node of the call tree, outermost first, never empty."""
        frames = self._tree.frames
        stack = [self._frame(frames[step]) for step in self._tree.path(node)] or [self.pseudo(_EMPTY)]
        if truncated:
            stack.insert(0, self.pseudo(_TRUNCATED))
        if detached:
            stack.append(self.pseudo(_DETACHED))
        return tuple(stack)


def _losses(profile: Profile) -> Iterator[tuple[str, int]]:
    for reason, ticks in profile.stats["dropped"].items():
        if ticks:
            yield f"[lost: {reason}]", ticks


def _thread_labels(threads: Sequence[Thread]) -> list[str]:
    """Names of the threads, with the thread id where a name alone would not tell two threads apart."""
    often = Counter(thread.name for thread in threads)
    return [thread.name if often[thread.name] == 1 else f"{thread.name} ({thread.native_id})" for thread in threads]


def _speedscope(profile: Profile) -> Iterator[str]:
    """JSON of https://www.speedscope.app/file-format-schema.json: a timeline of samples for each thread.

    A frame is a function, with the line it begins at, so that a function is one box however many of its lines ran.
    All of it is ASCII: names may hold what UTF-8 cannot (lone surrogates).
    """
    stacks = _Stacks(profile, _speedscope_frame, lambda name: json.dumps({"name": name}))
    texts: list[str] = []  # of each distinct stack, by its number
    numbers: dict[tuple[int, bool, bool], int] = {}

    def number(node: int, detached: bool, truncated: bool) -> int:
        key = node, detached, truncated
        if (found := numbers.get(key)) is None:
            found = numbers[key] = len(texts)
            texts.append(json.dumps(stacks.of(*key), separators=(",", ":")))
        return found

    by_thread = [_Timeline(name) for name in _thread_labels(profile.threads)]
    for _, thread, node, weight, detached, truncated in profile.records():
        by_thread[thread].add(number(node, detached, truncated), weight)
    ticks = [sum(timeline.weights) for timeline in by_thread]
    losses = _Timeline(_LOST)
    for name, lost in _losses(profile):
        texts.append(f"[{stacks.pseudo(name)}]")
        losses.add(len(texts) - 1, lost)
    timelines = [*by_thread, losses] if losses.weights else by_thread
    header = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"spprof {__version__}",
        "name": f"{profile.mode} profile, a tick every {profile.interval_ms:g} ms",
        "activeProfileIndex": ticks.index(max(ticks)) if ticks else 0,
    }
    yield json.dumps(header)[:-1]
    yield ',\n"shared": {"frames": [\n'
    yield ",\n".join(stacks.labels)
    yield '\n]},\n"profiles": ['
    for index, timeline in enumerate(timelines):
        yield ",\n" if index else "\n"
        yield from _speedscope_timeline(timeline, texts, profile.interval_ms)
    yield "\n]}\n"


def _speedscope_frame(frame: Frame) -> str:
    described: dict[str, str | int] = {"name": frame.name, "file": frame.filename}
    if frame.first_line > 0:
        described["line"] = frame.first_line
    return json.dumps(described)


class _Timeline:
    """Samples of one thread in their order: the number of each stack, and the ticks that it stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stacks = array("I")
        self.weights = array("Q")

    def add(self, stack: int, weight: int) -> None:
        self.stacks.append(stack)
        self.weights.append(weight)


def _joined(texts: Iterator[str]) -> Iterator[str]:
    """With commas between, in pieces: a profile may have millions."""
    between = ""
    while piece := ",".join(islice(texts, _PIECE)):
        yield between + piece
        between = ","


def _speedscope_timeline(timeline: _Timeline, texts: Sequence[str], interval_ms: float) -> Iterator[str]:
    @cache
    def milliseconds(ticks: int) -> str:
        return json.dumps(round(ticks * interval_ms, 6))  # the interval is a whole number of nanoseconds

    header = {
        "type": "sampled",
        "name": timeline.name,
        "unit": "milliseconds",
        "startValue": 0,
    }
    yield json.dumps(header)[:-1]
    yield f', "endValue": {milliseconds(sum(timeline.weights))}, "samples": ['
    yield from _joined(texts[stack] for stack in timeline.stacks)
    yield '], "weights": ['
    yield from _joined(map(milliseconds, timeline.weights))
    yield "]}"


def _collapsed(profile: Profile) -> Iterator[str]:
    """Folded stacks: `thread;outermost;...;innermost ticks`, one line for each distinct stack of a thread.

    A frame is `name (file:line)` with the line that was running. Names are escaped, see `escaped`.
    """
    stacks = _Stacks(profile, _collapsed_frame, str)

    @cache
    def text(node: int, detached: bool, truncated: bool) -> str:
        return ";".join(stacks.labels[number] for number in stacks.of(node, detached, truncated))

    by_stack: Counter[tuple[int, str]] = Counter()  # places differ where equal code was loaded twice
    for (thread, *place), ticks in profile.ticks_by_place().items():
        by_stack[thread, text(*place)] += ticks
    roots = [_collapsed_root(name) for name in _thread_labels(profile.threads)]
    for (thread, stack), ticks in by_stack.items():
        yield f"{roots[thread]};{stack} {ticks}\n"
    for name, ticks in _losses(profile):
        yield f"{_LOST};{name} {ticks}\n"


def _collapsed_root(thread: str) -> str:
    """The thread's name, its first character escaped where the name could pass for `[lost samples]`."""
    return escaped(thread) if not thread.startswith("[") else f"\\x5b{escaped(thread[1:])}"


def _collapsed_frame(frame: Frame) -> str:
    place = f"{frame.filename}:{frame.line}" if frame.line else frame.filename
    return escaped(f"{frame.name} ({place})")


FORMATS = {
    "speedscope": Format(".speedscope.json", _speedscope),
    "collapsed": Format(".collapsed.txt", _collapsed),
}

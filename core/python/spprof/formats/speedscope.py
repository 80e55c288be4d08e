"""JSON of https://www.speedscope.app/file-format-schema.json: a timeline for each thread.

A frame is a function, with the line it begins at, so that a function is one box however many of its
lines ran. All of it is ASCII: names may hold what UTF-8 cannot (lone surrogates).
"""

from __future__ import annotations

import json
from array import array
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from ..version import __version__
from . import labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..calltree import CallTree
    from ..records import Frame

suffix = ".speedscope.json"

_PIECE = 10_000  # texts that are put together at once


class _Timeline:
    """Samples of one thread in their order: each stack's number, and the ticks it stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stacks = array("I")
        self.weights = array("Q")

    def add(self, stack: int, weight: int) -> None:
        self.stacks.append(stack)
        self.weights.append(weight)


def write(tree: CallTree) -> Iterator[str]:
    """The text of a file, in pieces."""
    records = tree.records
    stacks = labels.Stacks(tree, _frame, lambda name: json.dumps({"name": name}))
    texts: list[str] = []  # of each distinct stack, by its number
    numbers: dict[tuple[int, bool, bool], int] = {}

    def number(node: int, detached: bool, truncated: bool) -> int:
        key = node, detached, truncated
        if (found := numbers.get(key)) is None:
            found = numbers[key] = len(texts)
            texts.append(json.dumps(stacks.of(*key), separators=(",", ":")))
        return found

    by_thread = [_Timeline(name) for name in labels.thread_labels(records.threads)]
    for _, thread, node, weight, detached, truncated in records:
        by_thread[thread].add(number(node, detached, truncated), weight)
    ticks = [sum(timeline.weights) for timeline in by_thread]
    losses = _Timeline(labels.LOST)
    for name, lost in labels.losses(records.stats):
        texts.append(f"[{stacks.pseudo(name)}]")
        losses.add(len(texts) - 1, lost)
    timelines = [*by_thread, losses] if losses.weights else by_thread
    header = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"spprof {__version__}",
        "name": f"{records.mode} profile, a tick every {records.interval_ms:g} ms",
        "activeProfileIndex": ticks.index(max(ticks)) if ticks else 0,
    }
    yield json.dumps(header)[:-1]
    yield ',\n"shared": {"frames": [\n'
    yield ",\n".join(stacks.labels)
    yield '\n]},\n"profiles": ['
    for index, timeline in enumerate(timelines):
        yield ",\n" if index else "\n"
        yield from _timeline(timeline, texts, records.interval_ms)
    yield "\n]}\n"


def _frame(frame: Frame) -> str:
    described: dict[str, str | int] = {"name": frame.name, "file": frame.filename}
    if frame.first_line > 0:
        described["line"] = frame.first_line
    return json.dumps(described)


def _timeline(timeline: _Timeline, texts: Sequence[str], interval_ms: float) -> Iterator[str]:
    @cache
    def milliseconds(ticks: int) -> str:
        return json.dumps(round(ticks * interval_ms, 6))  # a whole number of nanoseconds

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


def _joined(texts: Iterator[str]) -> Iterator[str]:
    """With commas between, in pieces: a profile may have millions."""
    between = ""
    while piece := ",".join(islice(texts, _PIECE)):
        yield between + piece
        between = ","

"""JSON of https://www.speedscope.app/file-format-schema.json: a timeline for each thread.

A frame is a function, with the line it begins at, so that a function is one box however many of its
lines ran. All of it is ASCII: names may hold what UTF-8 cannot (lone surrogates).
"""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from ..records import DETACHED, TRUNCATED
from ..version import __version__
from . import labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..calltree import CallTree
    from ..records import Frame

suffix = ".speedscope.json"

_PIECE = 10_000  # texts that are put together at once


class _Timelines:
    """The samples of each thread in their order, and what JSON has for each distinct stack."""

    def __init__(self, tree: CallTree) -> None:
        self.records = tree.records
        self.stacks = labels.Stacks(tree, _frame, lambda name: json.dumps({"name": name}))
        self._texts: dict[tuple[int, int], str] = {}
        for _, _, _, node, _, flags in self.records.packed():
            if (node, flags) not in self._texts:
                stack = self.stacks.of(node, bool(flags & DETACHED), bool(flags & TRUNCATED))
                self._texts[node, flags] = json.dumps(stack, separators=(",", ":"))

    def text(self, number: int) -> str:
        """The stack of a record, by its number."""
        _, _, _, node, _, flags = self.records.packed_at(number)
        return self._texts[node, flags]

    def weight(self, number: int) -> int:
        return self.records.packed_at(number)[4]


def write(tree: CallTree) -> Iterator[str]:
    """The text of a file, in pieces."""
    records = tree.records
    timelines = _Timelines(tree)
    lost = [(timelines.stacks.pseudo(name), n) for name, n in labels.losses(records.stats)]
    numbers = records.numbers_by_thread()
    ticks = [sum(map(timelines.weight, of_thread)) for of_thread in numbers]
    header = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"spprof {__version__}",
        "name": f"{records.mode} profile, a tick every {records.interval_ms:g} ms",
        "activeProfileIndex": ticks.index(max(ticks)) if ticks else 0,
    }
    yield json.dumps(header)[:-1]
    yield ',\n"shared": {"frames": [\n'
    yield ",\n".join(timelines.stacks.labels)
    yield '\n]},\n"profiles": ['
    between = "\n"
    names = labels.thread_labels(records.threads)
    for name, of_thread, total in zip(names, numbers, ticks, strict=True):
        yield between
        between = ",\n"
        texts, weights = map(timelines.text, of_thread), map(timelines.weight, of_thread)
        yield from _timeline(name, total, texts, weights, records.interval_ms)
    if lost:
        yield between
        texts, weights = (f"[{frame}]" for frame, _ in lost), (n for _, n in lost)
        yield from _timeline(labels.LOST, sum(n for _, n in lost), texts, weights, records.interval_ms)
    yield "\n]}\n"


def _frame(frame: Frame) -> str:
    described: dict[str, str | int] = {"name": frame.name, "file": frame.filename}
    if frame.first_line > 0:
        described["line"] = frame.first_line
    return json.dumps(described)


def _timeline(name: str, total: int, texts: Iterator[str], weights: Iterator[int], interval_ms: float) -> Iterator[str]:
    """One thread's: `texts` of its stacks, `weights` in ticks, of which there are `total`."""

    @cache
    def milliseconds(ticks: int) -> str:
        return json.dumps(round(ticks * interval_ms, 6))  # a whole number of nanoseconds

    header = {"type": "sampled", "name": name, "unit": "milliseconds", "startValue": 0}
    yield json.dumps(header)[:-1]
    yield f', "endValue": {milliseconds(total)}, "samples": ['
    yield from _joined(texts)
    yield '], "weights": ['
    yield from _joined(map(milliseconds, weights))
    yield "]}"


def _joined(texts: Iterator[str]) -> Iterator[str]:
    """With commas between, in pieces: a profile may have millions."""
    between = ""
    while piece := ",".join(islice(texts, _PIECE)):
        yield between + piece
        between = ","

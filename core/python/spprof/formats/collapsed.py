"""Folded stacks: `thread;outermost;...;innermost ticks`, a line for each stack of a thread.

A frame is `name (file:line)` with the line that was running. Names are escaped, see `escaped`.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from . import labels
from .escapes import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..calltree import CallTree
    from ..records import Frame

suffix = ".collapsed.txt"


def write(tree: CallTree) -> Iterator[str]:
    """The text of a file, in pieces."""
    stacks = labels.Stacks(tree, _frame, str)

    @cache
    def text(node: int, detached: bool, truncated: bool) -> str:
        return ";".join(stacks.labels[number] for number in stacks.of(node, detached, truncated))

    # Places differ where equal code was loaded twice.
    by_stack: Counter[tuple[int, str]] = Counter()
    for (thread, *place), ticks in tree.ticks_by_place().items():
        by_stack[thread, text(*place)] += ticks
    roots = [_root(name) for name in labels.thread_labels(tree.records.threads)]
    for (thread, stack), ticks in by_stack.items():
        yield f"{roots[thread]};{stack} {ticks}\n"
    for name, ticks in labels.losses(tree.records.stats):
        yield f"{labels.LOST};{name} {ticks}\n"


def _root(thread: str) -> str:
    """The thread's name, its first character escaped where it could pass for `[lost samples]`."""
    return escaped(thread) if not thread.startswith("[") else f"\\x5b{escaped(thread[1:])}"


def _frame(frame: Frame) -> str:
    place = f"{frame.filename}:{frame.line}" if frame.line else frame.filename
    return escaped(f"{frame.name} ({place})")

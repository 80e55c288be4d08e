"""What every format shows under the same name: threads, losses, and what is not a Python frame."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..calltree import CallTree
    from ..counters import Stats
    from ..records import Frame, Thread

LOST = "[lost samples]"
_TRUNCATED = "[truncated]"
_DETACHED = "[C code, detached]"
_EMPTY = "[no Python frame]"


def losses(stats: Stats) -> Iterator[tuple[str, int]]:
    """The label of each reason for which ticks were lost, with how many."""
    for reason, ticks in stats["dropped"].items():
        if ticks:
            yield f"[lost: {reason}]", ticks


def thread_labels(threads: Sequence[Thread]) -> list[str]:
    """Names of the threads, with the thread id where a name alone would not tell two apart."""
    often = Counter(thread.name for thread in threads)

    def label(thread: Thread) -> str:
        return thread.name if often[thread.name] == 1 else f"{thread.name} ({thread.native_id})"

    return [label(thread) for thread in threads]


class Stacks:
    """Stacks as tuples of numbers, one for each distinct label; `labels` has them in order."""

    def __init__(
        self,
        tree: CallTree,
        label: Callable[[Frame], str],
        pseudo_label: Callable[[str], str],
    ) -> None:
        """`label` gives a frame's, `pseudo_label` that of a level which is not a Python frame."""
        self.labels: list[str] = []
        self._numbers: dict[str, int] = {}
        self._of_frame: dict[int, int] = {}  # by id: equal frames are one object, kept by the tree
        self._label = label
        self._pseudo_label = pseudo_label
        self._tree = tree

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
        path = self._tree.path(node)
        stack = [self._frame(frames[step]) for step in path] or [self.pseudo(_EMPTY)]
        if truncated:
            stack.insert(0, self.pseudo(_TRUNCATED))
        if detached:
            stack.append(self.pseudo(_DETACHED))
        return tuple(stack)

"""The call tree of a session's records: stacks, the ticks at each place in it, and functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .records import DETACHED, ROOT, TRUNCATED

if TYPE_CHECKING:
    from .records import Frame, Records

_Key = tuple[str, str, int]  # what tells functions apart: name, file and first line


@dataclass(frozen=True, slots=True)
class Function:
    """A function's share of the captured ticks.

    `self` counts the ticks with the function innermost, `total` those with the function anywhere in
    the stack.
    """

    name: str
    filename: str
    first_line: int
    self: int
    total: int


class CallTree:
    """Stacks that share their outer frames, decoded here once.

    Node i is `frames[i]`, called from node `parents[i]`, -1 for none. A parent's index is lower
    than its child's. Equal frames are one object. Never changes, so any thread may read it.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.parents: list[int] = []
        self.frames: list[Frame] = []
        for parent, frame in records.nodes():
            self.parents.append(parent)
            self.frames.append(frame)

    def path(self, node: int) -> list[int]:
        """The nodes from the outermost frame to `node`; none for -1."""
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        nodes.reverse()
        return nodes

    def stack(self, node: int) -> tuple[Frame, ...]:
        """The frames from the outermost to that of `node`; none for -1."""
        return tuple(self.frames[step] for step in self.path(node))

    def ticks_by_place(self) -> dict[tuple[int, int, bool, bool], int]:
        """Ticks by thread, node, `detached` and `truncated`: the records without their times."""
        ticks: dict[int, int] = {}  # a place in one number is less to hash than in a tuple
        for _, _, thread, node, weight, flags in self.records.packed():
            place = thread << 34 | node + 1 << 2 | flags & (DETACHED | TRUNCATED)
            ticks[place] = ticks.get(place, 0) + weight
        return {
            (
                place >> 34,
                (place >> 2 & 0xFFFF_FFFF) - 1,
                bool(place & DETACHED),
                bool(place & TRUNCATED),
            ): weight
            for place, weight in ticks.items()
        }

    def functions(self) -> list[Function]:
        """Every sampled function, hottest by its own ticks first.

        A recursive function counts once for each sample towards its total.
        """
        keys = [(frame.name, frame.filename, frame.first_line) for frame in self.frames]
        own_by_node = self._own_ticks()
        own: Counter[_Key] = Counter()
        for node, weight in own_by_node.items():
            own[keys[node]] += weight
        total = _totals(self.parents, keys, own_by_node)
        found = [Function(*key, self=own[key], total=n) for key, n in total.items() if n]
        found.sort(key=_hottest_first)
        return found

    def _own_ticks(self) -> Counter[int]:
        """The ticks with each node innermost."""
        ticks: Counter[int] = Counter()
        for _, _, _, node, weight, _ in self.records.packed():
            if node != ROOT:
                ticks[node] += weight
        return ticks

    def outermost(self, is_outside: Callable[[Frame], bool]) -> list[int]:
        """The first node inside on each path that begins outside: all above it are `is_outside`."""
        outside: list[bool] = []
        found = []
        for node, (parent, frame) in enumerate(zip(self.parents, self.frames, strict=True)):
            is_reached = parent == ROOT or outside[parent]
            outside.append(is_reached and is_outside(frame))
            if parent != ROOT and is_reached and not outside[node]:
                found.append(node)
        return found


def _hottest_first(function: Function) -> tuple[int, int, str, str]:
    return -function.self, -function.total, function.name, function.filename


def _totals(parents: Sequence[int], keys: Sequence[_Key], own: Mapping[int, int]) -> Counter[_Key]:
    """Ticks of each function's outermost calls with all that they called; linear in the nodes."""
    inclusive = [own.get(node, 0) for node in range(len(parents))]
    children: list[list[int]] = [[] for _ in parents]
    roots = []
    for node in range(len(parents) - 1, -1, -1):
        if parents[node] == ROOT:
            roots.append(node)
        else:
            children[parents[node]].append(node)
            inclusive[parents[node]] += inclusive[node]
    totals: Counter[_Key] = Counter()
    active: Counter[_Key] = Counter()
    pending = roots
    while pending:
        node = pending.pop()
        if node < 0:  # the call of node ~node has been looked at with all that it called
            active[keys[~node]] -= 1
            continue
        if not active[keys[node]]:
            totals[keys[node]] += inclusive[node]
        active[keys[node]] += 1
        pending.append(~node)
        pending.extend(children[node])
    return totals

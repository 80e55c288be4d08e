"""What a session collected.

This module is not called `profile`: the decorator `spprof.profile` has that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING

from . import files, formats
from .calltree import CallTree
from .records import Records, Sample

if TYPE_CHECKING:
    from ._native import NativeProfile
    from .calltree import Function
    from .records import Frame, Record, Thread


class Profile:
    """The samples and counters of one session. Never changes, so any thread may read it.

    Iterating gives each `Sample` in the order of recording. Stacks are decoded when first asked
    for.
    """

    def __init__(
        self,
        native: NativeProfile,
        *,
        mode: str,
        interval_ms: float,
        threads: list[Thread],
        recording: str = "timeline",
        is_whole: bool = True,
    ) -> None:
        """`threads` has an entry for each by its number; `recording` is the form asked for."""
        self._records = Records(native, mode=mode, interval_ms=interval_ms, threads=threads, recording=recording)
        self.mode = mode
        self.interval_ms = interval_ms
        self.threads = threads
        self.stats = self._records.stats
        self.is_whole = is_whole
        """False where it was read from the file of a session without its end: one that goes on, or was cut short."""

    def __repr__(self) -> str:
        return (
            f"<spprof.Profile: {self.stats['samples']} samples, {len(self.threads)} threads, "
            f"{self.mode} mode, every {self.interval_ms:g} ms>"
        )

    def __iter__(self) -> Iterator[Sample]:
        stack = cache(self.tree.stack)
        for record in self._records:
            thread = self.threads[record.thread]
            yield Sample(
                record.time_ns,
                thread,
                record.weight,
                record.detached,
                record.truncated,
                stack(record.node),
                record.last_ns,
            )

    def records(self) -> Iterator[Record]:
        """The samples as stored: cheaper than iterating where the call tree is what is wanted."""
        return iter(self._records)

    def ticks_by_place(self) -> dict[tuple[int, int, bool, bool], int]:
        """Ticks by thread, node of the call tree, `detached` and `truncated`."""
        return self.tree.ticks_by_place()

    def ticks_by_thread(self) -> list[int]:
        """Captured ticks of each of `threads`."""
        ticks = [0] * len(self.threads)
        for (thread, *_), weight in self.tree.ticks_by_place().items():
            ticks[thread] += weight
        return ticks

    @cached_property
    def tree(self) -> CallTree:
        """The call tree that the records point into. Equal frames are one object."""
        return CallTree(self._records)

    def functions(self) -> list[Function]:
        """Every sampled function, hottest by its own ticks first.

        A recursive function counts once for each sample towards its total.
        """
        return self.tree.functions()

    def trimmed(self, is_launcher: Callable[[Frame], bool]) -> Profile:
        """This profile without the outermost frames that started the program.

        Frames are removed from the outside up to the first for which `is_launcher` is false. A
        stack that has launcher frames only is the launcher's own work and stays whole, so no tick
        moves to a stack that was not there.
        """
        native = self._records.rerooted(self.tree.outermost(is_launcher))
        return Profile(
            native,
            mode=self.mode,
            interval_ms=self.interval_ms,
            threads=self.threads,
            recording=self._records.recording,
            is_whole=self.is_whole,
        )

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the profile to `path`, whole or not at all.

        An earlier file is replaced only by a whole new one.

        `format` is "speedscope" (JSON for speedscope.app), "collapsed" (text for flame graph
        tools) or "recording" (for `load`); None takes the second where the name ends in ".txt", the
        third where it ends in ".spprof", else the first. Raises
        ValueError for another one, OSError when the file cannot be written.
        """
        writer = formats.get(formats.of_file(path) if format is None else format)
        files.write_whole(path, writer.write(self.tree))


def load(path: str | os.PathLike[str]) -> Profile:
    """The profile in a file of format "recording": one that was saved, or one that a session appended to.

    Of a session that did not come to its end, because the process was killed or goes on, it is what the file has of
    it, and `is_whole` is false. Raises OSError, and ValueError where the file is no recording or is damaged.
    """
    with open(path, "rb") as file:
        contents = formats.recording.read(file.read())
    settings = contents.settings
    profile = Profile(
        contents.native,
        mode=settings.mode,
        interval_ms=settings.interval_ms,
        threads=contents.threads,
        recording=settings.recording,
        is_whole=contents.is_whole,
    )
    return profile.trimmed(lambda frame: contents.is_launcher(frame.filename)) if settings.launchers else profile

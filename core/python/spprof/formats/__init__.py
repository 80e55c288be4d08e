"""The file formats of a profile, each a module here with what `Format` asks for.

A recording is read again by `spprof.load`; the others are for other tools. These keep every captured tick, and show the lost ones under `[lost samples]` with one frame for each
reason. What is not a Python frame has its label in brackets: `[truncated]` outermost where outer
frames are missing, `[C code, detached]` innermost where the thread was inside C code, `[no Python
frame]` for a stack without frames.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from . import collapsed, recording, speedscope
from .escapes import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..calltree import CallTree

__all__ = ["FORMATS", "TEXTS", "Format", "escaped", "get", "of_file", "recording"]


class Format(Protocol):
    """A way to write what was recorded; `suffix` ends the usual file name."""

    @property
    def suffix(self) -> str: ...

    def write(self, tree: CallTree) -> Iterator[str] | Iterator[bytes]:
        """The text, or bytes, in pieces since the whole may be large."""
        ...


TEXTS: dict[str, Format] = {"speedscope": speedscope, "collapsed": collapsed}
"""For other tools."""

FORMATS: dict[str, Format] = {**TEXTS, "recording": recording}


def get(name: str) -> Format:
    """The format of that name. Raises ValueError with the valid names."""
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        names = ", ".join(FORMATS)
        raise ValueError(f"unknown format {name!r}; the formats are {names}") from None


def of_file(path: str | os.PathLike[str] | None) -> str:
    """The format whose file names end as this one does; "speedscope" where none does."""
    ending = os.path.splitext(os.fspath(path or ""))[1]
    endings = {name: os.path.splitext(f"name{format.suffix}")[1] for name, format in FORMATS.items()}
    return next((name for name, known in endings.items() if known == ending), "speedscope")

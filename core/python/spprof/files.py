"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


def write_whole(path: str | os.PathLike[str], pieces: Iterable[str | bytes]) -> None:
    """Replace the file at `path` (through symbolic links) by the pieces, text as UTF-8.

    Until all of it is on disk an earlier file stays as it was, and after any failure nothing new is left. An earlier
    file's permissions are kept; a new file gets the usual ones. Raises OSError, MemoryError.
    """
    with replacement(path) as file:
        file.writelines(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacement(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of the one at `path` when the block ends, unless by an exception."""
    target = os.path.realpath(path)
    permissions = _permissions_of(target)
    temporary = os.path.join(os.path.dirname(target), f".spprof-{os.urandom(8).hex()}.tmp")
    try:
        with _opened(temporary) as file:
            yield file
            file.flush()
            if permissions is not None:
                os.fchmod(file.fileno(), permissions)
        os.replace(temporary, target)
    except BaseException:  # an interrupt from the keyboard must not leave a part behind either
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _opened(path: str) -> BinaryIO:
    """A new file. CPython calls it a RuntimeError where there is no memory for the lock of one."""
    try:
        return open(path, "xb")
    except RuntimeError as error:
        raise MemoryError(str(error)) from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError when `write_whole(path, ...)` could not even begin; leaves nothing behind."""
    target = os.path.realpath(path)
    _permissions_of(target)
    folder = os.path.dirname(target)
    probe = os.path.join(folder, f".spprof-{os.urandom(8).hex()}.tmp")
    try:
        with open(probe, "x"):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, folder) from None
    finally:
        with suppress(OSError):
            os.unlink(probe)


def _permissions_of(target: str) -> int | None:
    """The mode bits of the file that is there, None for none. Raises OSError for what a file must not replace."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(mode):  # os.replace would remove a device or a pipe that others use
        raise OSError(errno.EINVAL, "Not a regular file", target)
    return stat.S_IMODE(mode)

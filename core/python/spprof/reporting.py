"""The command `spprof report FILE`: what a recording says, or the recording in another format."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from . import files, formats, report
from .profiles import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .profiles import Profile


class NotReported(Exception):
    """Why there is nothing to report. The message is one sentence for its user."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's own options."""
    parser = commands.add_parser(
        "report",
        help="read a recording (-f recording), also one that was cut short",
        description="Prints the summary of a recording, or writes it in another format. A recording whose program was "
        "killed, or goes on, is read as far as it goes.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="what spprof run -f recording wrote, or Profile.save")
    parser.add_argument("-o", "--output", metavar="OUT", help="write the profile to this file instead")
    parser.add_argument(
        "-f",
        "--format",
        choices=list(formats.FORMATS),
        help="of OUT (default: collapsed where it ends in .txt, recording for .spprof, else speedscope)",
    )


def run(options: argparse.Namespace) -> int:
    """The exit status. Raises NotReported."""
    if options.format is not None and options.output is None:
        raise NotReported("a format is that of a file; name one with -o")
    try:
        profile = load(options.file)
    except OSError as error:
        raise NotReported(f"cannot read {options.file}: {error.strerror or error}") from None
    except ValueError as error:
        raise NotReported(f"{options.file} {error}") from None
    if options.output is None:
        return _print(_lines(options.file, profile))
    if not profile.is_whole:
        print(f"spprof: {formats.escaped(_how_far(options.file, profile), also='')}", file=sys.stderr)
    _save(profile, options.output, options.format)
    return 0


def _save(profile: Profile, output: str, format: str | None) -> None:
    try:
        files.check_writable(output)
        profile.save(output, format)
    except OSError as error:
        raise NotReported(f"cannot write {output}: {error.strerror or error}; name another file with -o") from None


def _how_far(file: str, profile: Profile) -> str:
    return (
        f"{file} ends at second {profile.stats['duration_s']:.2f} of the session, without its end: "
        "the program ended without a word, or goes on"
    )


def _lines(file: str, profile: Profile) -> Iterator[str]:
    if not profile.is_whole:
        yield _how_far(file, profile)
    yield from report.lines(profile)


def _print(lines: Iterator[str]) -> int:
    """1 where whoever reads has gone."""
    try:
        for line in lines:
            text = formats.escaped(line, also="")
            encoding = sys.stdout.encoding or "utf-8"
            print(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        return 1
    return 0

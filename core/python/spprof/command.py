"""The commands: `python -m spprof run [options] SCRIPT ...` or `... run [options] -m MODULE ...`, and `... report FILE`.

Of the first, standard output and the exit status belong to the program. The profiler's own lines go to standard error, each with
`spprof: ` in front. Exit status 2 means that the program was not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO, TypeVar

from . import __version__, files, formats, launch, report, reporting, session

if TYPE_CHECKING:
    from .profiles import Frame, Profile

_Number = TypeVar("_Number", int, float)

_REFUSED = 2
_LONGEST_NAME = 50  # characters of the program's name in a file name: 200 bytes at most, of 255


class Refusal(Exception):
    """A reason not to run the program. The message is one sentence for its user."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A checked command line; `output` is an absolute path."""

    settings: session.Settings
    program: launch.Program
    arguments: list[str]
    output: str
    format: str


class Speaker:
    """Says the profiler's lines on the standard error of the start, whatever the program does with `sys.stderr`."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._file = self._present_file()

    def _present_file(self) -> tuple[int, int] | None:
        """What the stream's descriptor is of; None where it has none."""
        try:
            found = os.fstat(self._stream.fileno()) if self._stream is not None else None
        except (OSError, ValueError):
            return None
        return (found.st_dev, found.st_ino) if found is not None else None

    def say(self, text: str) -> None:
        """One line, whatever characters a name in it has; nothing where standard error is gone, or is a file of the
        program's by now."""
        if self._stream is None or self._present_file() != self._file:
            return
        try:
            self._stream.write(f"spprof: {formats.escaped(text, also='')}\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the program has closed it
            pass


def main(argv: Sequence[str] | None = None) -> int:
    """As `cli.main`, which has chosen the path for imports."""
    speaker = Speaker(sys.stderr)
    try:
        options = _options(sys.argv[1:] if argv is None else argv)
        if options.command == "report":
            return reporting.run(options)
        outcome = _run(_understood(options), speaker)
    except (Refusal, reporting.NotReported) as refusal:
        speaker.say(str(refusal))
        return _REFUSED
    return launch.exit_as(outcome)


# --- before the program ----------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message}; '{self.prog} --help' tells more")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="spprof", description="Sampling profiler for CPython.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"spprof {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="run | report", required=True)
    run = commands.add_parser(
        "run",
        help="run a program under the profiler",
        usage="%(prog)s [-i MS] [-o FILE] [-f FORMAT] [--mode MODE] [--memory MB] [--recording FORM] (SCRIPT | -m MODULE) [ARGUMENT ...]",
        description="Runs the program, then writes its profile and a summary. The exit status is the program's own. "
        "SIGTERM and SIGHUP, where the program leaves them alone, end it when the profile is written; os._exit, exec, "
        "abort and SIGKILL leave a recording (-f recording), and no other.",
        allow_abbrev=False,
    )
    run.add_argument(
        "-i",
        "--interval",
        metavar="MS",
        type=_interval,
        default=session.DEFAULT_INTERVAL_MS,
        help="milliseconds between two samples of a thread, 0.1 to 10000 (default: %(default)s)",
    )
    run.add_argument("-o", "--output", metavar="FILE", help="default: spprof-PROGRAM-PID with the format's suffix")
    run.add_argument(
        "-f",
        "--format",
        choices=list(formats.FORMATS),
        help="default: collapsed where FILE ends in .txt, recording where it ends in .spprof, else speedscope; a "
        "recording is appended to while the program runs, so it is there however that ends (spprof report FILE)",
    )
    run.add_argument(
        "--mode", choices=session.MODES, default=session.MODES[0], help="what drives the samples (default: %(default)s)"
    )
    run.add_argument(
        "--memory",
        metavar="MB",
        type=_memory,
        default=session.DEFAULT_MEMORY_MB,
        help="megabytes that the recording may take, 1 to 1048576 (default: %(default)s)",
    )
    run.add_argument(
        "--recording",
        choices=session.RECORDINGS,
        default=session.RECORDINGS[0],
        help="timeline: samples in their order, and counts from where they would take more memory; "
        "counts: from the beginning, for programs that run for days (default: %(default)s)",
    )
    run.add_argument("-m", dest="is_module", action="store_true", help="the program is a module, as with python -m")
    run.add_argument(
        "program",
        metavar="SCRIPT | MODULE",
        nargs=argparse.REMAINDER,
        help="a file, or a folder or archive with a __main__; all that follows is the program's",
    )
    reporting.add_to(commands)
    return parser


def _interval(text: str) -> float:
    return _number(text, float, session.check_interval, "a number of milliseconds")


def _memory(text: str) -> int:
    return _number(text, int, session.check_memory, "a whole number of megabytes")


def _number(text: str, parse: Callable[[str], _Number], check: Callable[[object], None], what: str) -> _Number:
    """The number, which `check` has let pass."""
    try:
        number = parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
    try:
        check(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return number


def _options(argv: Sequence[str]) -> argparse.Namespace:
    if argv and argv[0] not in ("run", "report") and not argv[0].startswith("-"):
        raise Refusal(f"there is no command {argv[0]!r}; to profile a program: spprof run {argv[0]}")
    return _parser().parse_args(argv)


def _understood(options: argparse.Namespace) -> Request:
    format = options.format or formats.of_file(options.output)
    words = _without_separator(options.program)
    if not words:
        raise Refusal("there is no program to run; 'spprof run --help' tells more")
    program, *arguments = words
    try:
        found = launch.find_module(program) if options.is_module else launch.find_script(program)
    except launch.NotRunnable as error:
        raise Refusal(str(error)) from None
    output = _checked_output(options.output or _default_output(found.name, format))
    settings = session.Settings(
        options.interval, session.DEFAULT_DEPTH, options.mode, options.memory, options.recording
    )
    if format == "recording":
        settings = dataclasses.replace(settings, file=os.path.realpath(output), launchers=launch.launcher_files())
    return Request(settings, found, arguments, output, format)


def _without_separator(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _default_output(program: str, format: str) -> str:
    name = re.sub(r"[^\w.-]", "_", program)[:_LONGEST_NAME]
    return f"spprof-{name}-{os.getpid()}{formats.get(format).suffix}"


def _checked_output(path: str) -> str:
    output = os.path.abspath(path)
    try:
        files.check_writable(output)
    except OSError as error:
        where = "" if error.filename == output else f" ({error.filename})"
        raise Refusal(f"cannot write {output}: {error.strerror}{where}; name another file with -o") from None
    return output


# --- the program and after it ----------------------------------------------------------------------------------------


class Delivery:
    """A run's one delivery of its profile, whether the program ends by itself or a signal ends it.

    Both may be at it, on two threads: who comes second waits for the first, and delivers nothing.
    """

    def __init__(self, request: Request, speaker: Speaker) -> None:
        """On the thread that runs the program, before it does."""
        self._request = request
        self._speaker = speaker
        self._launchers = launch.calling_files()
        self._lock = threading.Lock()
        self._is_delivered: bool | None = None

    def deliver(self) -> bool:
        """Stop, save and say the summary; whether the profile is in its file. Raises KeyboardInterrupt."""
        with self._lock:
            if self._is_delivered is None:
                self._is_delivered = False
                self._is_delivered = self._stop_and_save()
            return self._is_delivered

    def _stop_and_save(self) -> bool:
        try:
            profile = self._ended()
            if profile is None:
                self._speaker.say("the program stopped the profiling session itself, so there is no profile to save")
                return False
            trimmed = profile.trimmed(self._is_launchers)
            if self._request.settings.file is not None:
                return self._say_file(trimmed)
            failure = self._save_and_sum_up(trimmed)
        except KeyboardInterrupt:
            self._speaker.say("interrupted before the profile was saved")
            raise
        except MemoryError:
            failure = "out of memory"
        output = self._request.output
        self._speaker.say(f"cannot save the profile to {output}: {failure}" if failure else f"saved to {output}")
        return failure is None

    def _ended(self) -> Profile | None:
        try:
            return session.end(self._request.settings)
        except MemoryError:  # what was recorded is kept, and there may be memory without what the program held
            return session.end(self._request.settings)

    def _save_and_sum_up(self, profile: Profile) -> str | None:
        """Why it cannot be saved. In this order: what is said may have to wait for who reads standard error."""
        failure = None
        try:
            profile.save(self._request.output, self._request.format)
        except OSError as error:
            failure = error.strerror or str(error)
        except MemoryError:
            failure = "out of memory"
        for line in report.lines(profile):
            self._speaker.say(line)
        return failure

    def _say_file(self, profile: Profile) -> bool:
        """The summary, and what became of the file that the session appended to; whether it is complete."""
        output, error = self._request.output, profile.stats["file_error"]
        for line in report.lines(profile):
            self._speaker.say(line)
        if error:
            self._speaker.say(f"cannot complete {output}: {error}; what it has: spprof report {output}")
        else:
            self._speaker.say(f"saved to {output}; to read it: spprof report {output}")
        return not error

    def _is_launchers(self, frame: Frame) -> bool:
        return frame.filename in self._launchers or launch.is_launcher_file(frame.filename)


def _run(request: Request, speaker: Speaker) -> launch.Outcome:
    """How the program ended, with status 1 for one that ended well but whose profile could not be delivered."""
    delivery = Delivery(request, speaker)
    try:
        session.begin(request.settings)
    except RuntimeError as error:
        raise Refusal(str(error)) from None
    except OSError as error:
        raise Refusal(f"cannot write {request.output}: {error.strerror}; name another file with -o") from None
    try:
        session.catch_termination(delivery.deliver)
    except RuntimeError as error:
        session.end(request.settings)
        raise Refusal(str(error)) from None
    try:
        return _run_program(request, delivery)
    finally:
        session.release_termination()


def _run_program(request: Request, delivery: Delivery) -> launch.Outcome:
    process = os.getpid()
    try:
        outcome = launch.run(request.program, request.arguments)
    except launch.NotRunnable as error:
        session.end(request.settings)
        raise Refusal(str(error)) from None
    if os.getpid() != process:  # a forked child that came out of the program: the profile is its parent's
        return outcome
    launch.wait_for_threads()
    try:
        is_delivered = delivery.deliver()
    except KeyboardInterrupt:
        return launch.Outcome(1, is_interrupted=True)
    if is_delivered or outcome.status & 0xFF:  # all of it that the system passes on
        return outcome
    return dataclasses.replace(outcome, status=1)

"""Runs a program in this process as the interpreter itself would: `python SCRIPT ...` or `python -m MODULE ...`.

The program gets its own `__main__` module, `sys.argv` and `sys.path[0]`. What it printed, raised or asked for as exit
status comes out as from the interpreter, without a trace of the launcher.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
import threading
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from . import imports

_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class NotRunnable(ImportError):
    """There is no such program. The message is one sentence for its user."""


@dataclass(frozen=True)
class Loaded:
    """A program's code and the values that the interpreter would put into its `__main__` module."""

    code: types.CodeType
    argv0: str
    attributes: Mapping[str, object]


@dataclass(frozen=True)
class Program:
    """A program that is there, as far as can be told without running any of it.

    `load` may run code of the program (a module's parent packages); it raises NotRunnable where the program turns out
    not to exist after all. `search` is what the program has for `sys.path[0]`, None for nothing of
    its own, `argv0` what it has for `sys.argv[0]` until it is loaded. `name` is for naming files.
    """

    name: str
    argv0: str
    search: str | None
    load: Callable[[], Loaded]


@dataclass(frozen=True)
class Outcome:
    """How a program ended: with an exit status as `sys.exit` takes it, or by Ctrl-C."""

    status: int
    is_interrupted: bool = False


def is_launcher_file(filename: str) -> bool:
    """Whether code of that file is what starts a program under the profiler."""
    return filename == "<frozen runpy>" or filename.startswith(_PACKAGE)


def calling_files() -> frozenset[str]:
    """The files of the calling thread's frames. At the start these are the launcher's, a console script's too."""
    files = set()
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        files.add(frame.f_code.co_filename)
        frame = frame.f_back
    return frozenset(files)


def launcher_files() -> tuple[str, ...]:
    """Before the program runs: files of which frames only start it. A name that ends in a slash is a folder's."""
    return (*sorted(calling_files()), "<frozen runpy>", _PACKAGE)


def find_script(path: str) -> Program:
    """The program in a file, or in a folder or archive with a `__main__`. Raises NotRunnable."""
    name = os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
    full = os.path.join(os.getcwd(), path)
    if not os.path.exists(full):
        raise NotRunnable(f"there is no file {path!r}")
    importer = pkgutil.get_importer(full)
    if importer is not None:
        return _find_in_container(name, path, os.path.abspath(path), importer)
    try:
        with open(full, "rb") as file:
            content = file.read()
    except OSError as error:
        raise NotRunnable(f"cannot read {path!r}: {error.strerror}") from None
    search = None if sys.flags.safe_path else os.path.dirname(os.path.realpath(path))
    return Program(name, path, search, lambda: _load_script(path, full, content))


def _load_script(path: str, full: str, content: bytes) -> Loaded:
    code = pkgutil.read_code(io.BytesIO(content)) or compile(content, full, "exec", dont_inherit=True)
    loader = importlib.machinery.SourceFileLoader("__main__", full)
    attributes = {"__file__": full, "__cached__": None, "__loader__": loader, "__package__": None, "__spec__": None}
    return Loaded(code, path, attributes)


def _find_in_container(name: str, path: str, full: str, importer: object) -> Program:
    spec = importer.find_spec("__main__")  # type: ignore[attr-defined]
    if spec is None or spec.loader is None:
        raise NotRunnable(f"there is no '__main__' module in {path!r}")
    loader = spec.loader
    # A container is searched even where the folder of a script would not be (python -P).
    return Program(name, path, full, lambda: _loaded(spec, loader.get_code("__main__"), path))


def find_module(name: str) -> Program:
    """The program that `python -m name` runs. Raises NotRunnable, possibly only from the program's `load`."""
    top = name.partition(".")[0]
    folder = None if sys.flags.safe_path else os.getcwd()
    if not top or not imports.find(top, folder):
        raise NotRunnable(f"there is no module {name!r}")
    return Program(name, "-m", folder, lambda: _load_module(name))


def _load_module(name: str) -> Loaded:
    # runpy's own first half of `-m`: imports the parent packages, gives its warnings, finds a package's __main__.
    _, spec, code = runpy._get_module_details(name, NotRunnable)  # type: ignore[attr-defined]
    return _loaded(spec, code, spec.origin)


def _loaded(spec: importlib.machinery.ModuleSpec, code: types.CodeType, argv0: str) -> Loaded:
    attributes: dict[str, object] = {
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__spec__": spec,
    }
    return Loaded(code, argv0, attributes)


def run(program: Program, arguments: list[str]) -> Outcome:
    """Run the program to the end of its main thread. Raises NotRunnable before anything of it ran.

    Its uncaught exception has been reported when this returns, as has the message of its `sys.exit`.
    """
    sys.argv[:] = [program.argv0, *arguments]
    imports.hand_over(program.search)
    error = _uncaught(lambda: _execute(program))
    match error:
        case None:
            return Outcome(0)
        case NotRunnable():
            raise error
        case SystemExit():
            return Outcome(_exit_status(error.code))
        case _:
            return Outcome(_report(error), type(error) is KeyboardInterrupt)


def _execute(program: Program) -> None:
    loaded = program.load()
    sys.argv[0] = loaded.argv0
    exec(loaded.code, _new_main(loaded).__dict__)  # noqa: S102 - running a program is what this is for


def _uncaught(function: Callable[[], object]) -> BaseException | None:
    """What the function raises, without the launcher's frames.

    It is returned, not dealt with here, because the interpreter too deals with it when it is handled no more: an
    exception hook must not find it as the context of its own exceptions.
    """
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - all that the interpreter catches
        _forget_launcher(error)
        return error
    return None


def wait_for_threads() -> None:
    """Wait for the program's threads as the interpreter does before it exits; what goes wrong is reported.

    The interpreter's own function is the only way to do this: it first tells thread pools to finish, whose idle
    threads would otherwise be waited for without end. It does nothing when the interpreter calls it again.
    """
    error = _uncaught(threading._shutdown)  # type: ignore[attr-defined]
    if error is not None:
        _report(error)


def exit_as(outcome: Outcome) -> int:
    """The status to leave `main` with. Raises KeyboardInterrupt after Ctrl-C, so that the process dies by SIGINT."""
    if outcome.is_interrupted:
        sys.excepthook = lambda *_: None  # it has been reported
        raise KeyboardInterrupt
    return outcome.status


def _new_main(loaded: Loaded) -> types.ModuleType:
    main = types.ModuleType("__main__")
    main.__dict__.update(loaded.attributes, __builtins__=builtins)
    sys.modules["__main__"] = main
    return main


def _exit_status(code: object) -> int:
    """What `sys.exit(code)` means, its message printed."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    with suppress(Exception):  # the interpreter passes over it too
        _say_to_stderr(code)
    return 1


def _report(error: BaseException) -> int:
    """Show an uncaught exception as the interpreter does; the exit status."""
    sys.last_exc = error
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    failure = _uncaught(lambda: sys.excepthook(type(error), error, error.__traceback__))
    if isinstance(failure, SystemExit):
        return _exit_status(failure.code)
    if failure is not None:
        _say_to_stderr("Error in sys.excepthook:")
        sys.__excepthook__(type(failure), failure, failure.__traceback__)
        _say_to_stderr("\nOriginal exception was:")
        sys.__excepthook__(type(error), error, error.__traceback__)
    return 1


def _forget_launcher(error: BaseException) -> None:
    trace = error.__traceback__
    while trace is not None and is_launcher_file(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    error.__traceback__ = trace


def _say_to_stderr(text: object) -> None:
    stream = sys.stderr or sys.__stderr__  # a program may set sys.stderr to None
    if stream is not None:
        print(text, file=stream, flush=True)

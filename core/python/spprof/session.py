"""The profiling session: starting, stopping and the objects that do it for a block or a function.

Whether a session is active, and whose it is, is for the native extension alone to say. Nothing is
locked here: between two instructions of Python code a signal handler, a finalizer or a trace function
may run and call these functions, or wait for a thread that does.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from . import files, formats
from .counters import MODES, RECORDINGS, Stats, public_stats, zero_counters
from .profiles import Profile
from .records import name_threads

if TYPE_CHECKING:
    from types import ModuleType, TracebackType
    from typing import Self

    from ._native import NativeProfile, Recording

_native: ModuleType | None
try:
    from . import _native
except ImportError as error:
    _native = None
    _why_missing = str(error)

MIN_INTERVAL_MS = 0.1
MAX_INTERVAL_MS = 10_000
MAX_DEPTH = 4096
DEFAULT_INTERVAL_MS = 10
DEFAULT_DEPTH = 1024
MAX_MEMORY_MB = 1 << 20
DEFAULT_MEMORY_MB = 256

_is_prepared = False  # see _prepare_process
_latest: Settings | None = None  # of the last session that this interpreter started

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Result_co = TypeVar("_Result_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Settings:
    """What a session was asked for. The object stands for its session: two sessions never share one."""

    interval_ms: float
    max_depth: int
    mode: str
    memory_mb: int = DEFAULT_MEMORY_MB
    recording: str = RECORDINGS[0]
    file: str | None = None
    """That is appended to while the session runs."""
    launchers: tuple[str, ...] = ()
    """For the file: `formats.recording.Settings`."""

    def __post_init__(self) -> None:
        check_interval(self.interval_ms)
        check_memory(self.memory_mb)
        if self.recording not in RECORDINGS:
            raise ValueError(f"recording must be {' or '.join(map(repr, RECORDINGS))}, not {self.recording!r}")
        if isinstance(self.max_depth, bool) or not isinstance(self.max_depth, int):
            raise TypeError(f"max_depth must be an int, not {type(self.max_depth).__name__}")
        if not 1 <= self.max_depth <= MAX_DEPTH:
            raise ValueError(f"max_depth must be between 1 and {MAX_DEPTH} frames, not {self.max_depth}")
        if self.mode not in MODES:
            raise ValueError(f"mode must be {' or '.join(map(repr, MODES))}, not {self.mode!r}")


def check_interval(interval_ms: object) -> None:
    """Raise TypeError or ValueError unless it is a number of milliseconds that a session can tick at."""
    if isinstance(interval_ms, bool) or not isinstance(interval_ms, (int, float)):
        raise TypeError(f"the interval must be an int or a float of milliseconds, not {type(interval_ms).__name__}")
    if not MIN_INTERVAL_MS <= interval_ms <= MAX_INTERVAL_MS:  # false for NaN too
        raise ValueError(
            f"the interval must be between {MIN_INTERVAL_MS} and {MAX_INTERVAL_MS} milliseconds, not {interval_ms}"
        )


def check_memory(memory_mb: object) -> None:
    """Raise TypeError or ValueError unless it is a number of megabytes that a recording can have."""
    if isinstance(memory_mb, bool) or not isinstance(memory_mb, int):
        raise TypeError(f"memory_mb must be an int, not {type(memory_mb).__name__}")
    if not 1 <= memory_mb <= MAX_MEMORY_MB:
        raise ValueError(f"memory_mb must be between 1 and {MAX_MEMORY_MB} megabytes, not {memory_mb}")


def is_active() -> bool:
    """Whether a session is active in this process; False in a forked child."""
    return _native is not None and _native.is_active()


def signal_number() -> int:
    """The signal by which sessions of this process ask its threads to look at their own stacks.

    One for the life of the process: a real-time signal that nobody had an action for, and that the calling thread did
    not block, when this or `start` was called first, or SIGPROF where there was none. A program that handles, blocks or waits for every signal there is can leave it
    out. Raises RuntimeError where there is no native extension.
    """
    return _extension().signal_number()


def start(
    interval_ms: float = DEFAULT_INTERVAL_MS,
    *,
    max_depth: int = DEFAULT_DEPTH,
    mode: str = "cpu",
    memory_mb: int = DEFAULT_MEMORY_MB,
    recording: str = "timeline",
    file: str | os.PathLike[str] | None = None,
) -> None:
    """Start sampling every thread of this interpreter, threads born later too.

    In mode "cpu" each thread is sampled as it uses CPU time, and interrupted for it; in mode "wall" one thread looks at
    all the others by the clock, running or waiting, and interrupts none. `interval_ms` is the CPU time, or the time,
    between two samples of a thread, 0.1 to 10,000 milliseconds. Stacks deeper than `max_depth` frames (at most 4096)
    lose their outer frames and are marked. A session that is still active when the interpreter exits is stopped then.

    What is recorded takes at most `memory_mb` megabytes (of 2**20 bytes; 1 to 1,048,576). A `recording` is a
    "timeline", where equal stacks of a thread in a row are one sample, or "counts", where all equal ones are: for
    programs that run for days. A timeline that reaches its memory becomes counts; where those reach it, new stacks are
    lost as `no_memory`.

    With a `file` what is new is appended to that every half a second, for `load`: it is there where the program ends without
    a word (`os._exit`, exec, a crash, SIGKILL). A file that is there is replaced. `stats()` says where appending fails, and
    the session goes on.

    Raises RuntimeError when a session is active or this interpreter cannot be sampled, TypeError or ValueError for a
    bad argument, OSError where the file cannot be made, MemoryError.
    """
    begin(Settings(interval_ms, max_depth, mode, memory_mb, recording, _path_of(file)))


def stop() -> Profile:
    """End the session and return what it collected. Raises RuntimeError when no session is active.

    Raises MemoryError where there is none for the result; what was collected is kept then, and the next `stop` has it.
    """
    recording = None if _native is None else _native.stop()
    if recording is None:
        raise RuntimeError("no session is active; start one first")
    return _profile_of(recording)


def stats() -> Stats:
    """Counters of the active session or else of the last one; zeros before the first."""
    settings, native = (None, zero_counters()) if _native is None else _native.stats()
    return public_stats(
        native,
        mode=settings.mode if settings else MODES[0],
        interval_ms=settings.interval_ms if settings else 0,
        recording=settings.recording if settings else RECORDINGS[0],
    )


def begin(settings: Settings) -> None:
    """Start a session; `settings` must not have been used before. Raises RuntimeError."""
    if not begin_unless_active(settings):
        raise RuntimeError("a session is already active; stop it first")


def _extension() -> ModuleType:
    if _native is None:
        raise RuntimeError(
            f"spprof cannot sample here, its native extension does not load ({_why_missing}); "
            "install spprof for CPython 3.13 or newer on Linux on x86-64 or ARM64; "
            f"this is {platform.system()} on {platform.machine()}"
        )
    return _native


def begin_unless_active(settings: Settings) -> bool:
    """Start a session unless one is active; whether it did. Raises RuntimeError."""
    global _latest
    native = _extension()
    _prepare_process()
    if settings.file is None:
        is_started = _start_native(settings, (b"", 0, 0, 0))
    else:
        is_started = not native.is_active() and _start_with_file(settings, settings.file)
    if is_started:
        _latest = settings
    return is_started


def _start_native(settings: Settings, file: tuple[bytes, int, int, int]) -> bool:
    return _extension().start(
        round(settings.interval_ms * 1_000_000),
        settings.max_depth,
        MODES.index(settings.mode),
        settings.memory_mb << 20,
        RECORDINGS.index(settings.recording),
        settings,
        getattr(threading, "_active", None),
        getattr(threading, "_limbo", None),
        file,
    )


class _NotStarted(Exception):
    pass


def _start_with_file(settings: Settings, path: str) -> bool:
    """The file takes the place of one that is there when the session has been started."""
    asked = settings.mode, settings.interval_ms, settings.recording
    head = formats.recording.head(formats.recording.Settings(*asked, os.getpid(), settings.launchers))
    is_started = False
    try:
        with files.replacement(path) as file:
            file.write(head)
            file.flush()
            found = os.fstat(file.fileno())
            is_started = _start_native(settings, (os.fsencode(path), found.st_dev, found.st_ino, len(head)))
            if not is_started:
                raise _NotStarted
    except _NotStarted:
        pass
    except BaseException:
        if is_started:
            _extension().stop(settings)
        raise
    return is_started


def _path_of(file: str | os.PathLike[str] | None) -> str | None:
    return None if file is None else os.path.realpath(os.fsdecode(file))


def end(settings: Settings) -> Profile | None:
    """Stop the session that was started with `settings`; None where it is not the active one. Raises as `stop`."""
    recording = None if _native is None else _native.stop(settings)
    return None if recording is None else _profile_of(recording)


def catch_termination(deliver: Callable[[], object]) -> None:
    """Have `deliver` called when SIGTERM or SIGHUP comes, before the process dies of it; see the native extension.

    Raises RuntimeError where no thread can be started for that, or another run of this process waits for them.
    """
    _extension().catch_termination(deliver)


def release_termination() -> None:
    """Give the two signals back. Does not return when one has come: the process dies of it."""
    _extension().release_termination()


def _prepare_process() -> None:
    """What the process needs from its first session on; done twice, by threads at once, no harm.

    CPython counts the kernel's threads after each fork, and warns where there are several: the
    profiler's own must not be there then.
    """
    global _is_prepared
    if not _is_prepared:
        atexit.register(_stop_at_exit)
        os.register_at_fork(before=_native.pause, after_in_parent=_native.resume)
        _is_prepared = True


def _stop_at_exit() -> None:
    """A session of another interpreter of the process goes on."""
    recording = None if _latest is None else _native.stop(_latest)
    if recording is None:
        return
    if recording.owner.file is not None:
        with suppress(MemoryError):
            _profile_of(recording)
    recording.delivered()  # nobody takes it


def _profile_of(recording: Recording) -> Profile:
    try:
        profile = _made_profile(recording)
    except MemoryError:
        _extension().put_back(recording)
        raise
    recording.delivered()
    return profile


def _made_profile(recording: Recording) -> Profile:
    """Completes the session's file as well."""
    settings, native = recording.owner, recording.profile()
    is_nameless = any(name is None for _, _, name, _ in native["threads"])
    living = _living_threads() if is_nameless else {}
    threads = name_threads(native["threads"], living, _process_name(native), native["stats"]["threads"])
    if settings.file is not None:
        native["stats"]["file_error"] = recording.end_file(formats.recording.end_text(threads))
    return Profile(
        native,
        mode=settings.mode,
        interval_ms=settings.interval_ms,
        threads=threads,
        recording=settings.recording,
    )


def _living_threads() -> dict[int, str]:
    """By native id: for what the extension could not name. A program may have its own `name`."""
    names = {}
    for thread in threading.enumerate():
        with suppress(Exception):
            if thread.native_id is not None and isinstance(thread.name, str):
                names[thread.native_id] = thread.name
    return names


def _process_name(native: NativeProfile) -> str:
    """The kernel's name for the main thread, which other threads inherit; empty where that was not sampled."""
    main = os.getpid()
    return next((name for native_id, name, _, _ in native["threads"] if native_id == main), "")


class Profiled(Protocol[_Parameters, _Result_co]):
    """A function decorated by `profile`."""

    last_profile: Profile | None
    """Of the last call that was profiled and has ended."""

    def __call__(self, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result_co: ...


class Profiler:
    """A session for a `with` block; afterwards `profile` has the result.

    `profile` is None until the block ends, and stays None where the session did not live until then because something
    inside stopped it, or because this is a forked child. Entering raises RuntimeError as `start` does. One object may
    be entered again after it was left. As a decorator it profiles each call of a function as `spprof.profile` does.
    """

    def __init__(
        self,
        interval_ms: float = DEFAULT_INTERVAL_MS,
        *,
        max_depth: int = DEFAULT_DEPTH,
        mode: str = "cpu",
        memory_mb: int = DEFAULT_MEMORY_MB,
        recording: str = "timeline",
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        """The arguments are those of `start`, checked here."""
        self._settings = Settings(interval_ms, max_depth, mode, memory_mb, recording, _path_of(file))
        self.profile: Profile | None = None

    def __enter__(self) -> Self:
        settings = replace(self._settings)
        begin(settings)
        self._settings = settings
        self.profile = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.profile = end(self._settings)

    def __call__(self, function: Callable[_Parameters, _Result]) -> Profiled[_Parameters, _Result]:
        return cast("Profiled[_Parameters, _Result]", _Decoration(self._settings, self._keep).decorate(function))

    def _keep(self, profile: Profile) -> None:
        self.profile = profile


class _Decoration:
    """Profiles each call of one function in a session of its own and hands each Profile to `keep`."""

    def __init__(self, settings: Settings, keep: Callable[[Profile], None]) -> None:
        """Each session has `settings` of its own, equal to these."""
        self._settings = settings
        self._keep = keep

    def decorate(self, function: Callable[..., Any]) -> Profiled[..., Any]:
        """The function's replacement. Raises TypeError for a generator function."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("a generator function cannot be profiled by call: its body runs after the call is over")
        wrap = self._coroutine if inspect.iscoroutinefunction(function) else self._plain
        self._profiled = cast("Profiled[..., Any]", wrap(function))
        self._profiled.last_profile = None
        return self._profiled

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def profiled(*args: Any, **kwargs: Any) -> Any:
            with self._session():
                return function(*args, **kwargs)

        return profiled

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def profiled(*args: Any, **kwargs: Any) -> Any:
            with self._session():
                return await function(*args, **kwargs)

        return profiled

    @contextmanager
    def _session(self) -> Iterator[None]:
        settings = replace(self._settings)
        started = begin_unless_active(settings)
        try:
            yield
        finally:
            profile = end(settings) if started else None
            if profile is not None:
                self._profiled.last_profile = profile
                self._keep(profile)


@overload
def profile(function: Callable[_Parameters, _Result], /) -> Profiled[_Parameters, _Result]: ...


@overload
def profile(
    *,
    interval_ms: float = ...,
    max_depth: int = ...,
    mode: str = ...,
    memory_mb: int = ...,
    recording: str = ...,
    path: str | os.PathLike[str] | None = ...,
    format: str | None = ...,
) -> Callable[[Callable[_Parameters, _Result]], Profiled[_Parameters, _Result]]: ...


def profile(
    function: Callable[..., Any] | None = None,
    /,
    *,
    interval_ms: float = DEFAULT_INTERVAL_MS,
    max_depth: int = DEFAULT_DEPTH,
    mode: str = "cpu",
    memory_mb: int = DEFAULT_MEMORY_MB,
    recording: str = "timeline",
    path: str | os.PathLike[str] | None = None,
    format: str | None = None,
) -> Any:
    """Decorator that profiles each call: `@spprof.profile` or `@spprof.profile(interval_ms=1, path="work.json")`.

    The last Profile is the function's `last_profile`; with a `path` each call also saves its own there, so the last
    one stays. Coroutine functions are profiled from the first step to the last, with all that runs in between. A call
    made while a session is active (a recursive one, or one in a second thread) runs without a session of its own.

    Bad arguments are refused here; a call raises RuntimeError as `start` does, and OSError where saving fails.
    """
    settings = Settings(interval_ms, max_depth, mode, memory_mb, recording)
    if format is not None:
        formats.get(format)

    def keep(profile: Profile) -> None:
        if path is not None:
            profile.save(path, format)

    def decorate(function: Callable[..., Any]) -> Profiled[..., Any]:
        return _Decoration(settings, keep).decorate(function)

    return decorate if function is None else decorate(function)

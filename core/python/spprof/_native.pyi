"""Types of the extension module over the C core.

Every function may be called from any thread, and from foreign code that runs inside another call: a trace function, an
audit hook, a finalizer or a signal handler.
"""

from collections.abc import Buffer, Callable, Sequence
from typing import Any, TypedDict

REASONS: tuple[str, ...]
"""Names of the reasons for which a tick gives no sample, in the core's order."""

class NativeStats(TypedDict):
    """Counters of one session; always `ticks == captured + sum(dropped.values())`."""

    ticks: int
    captured: int
    dropped: dict[str, int]
    samples: int
    handler_runs: int
    threads: int
    threads_refused: int
    unguarded_ticks: int
    ticks_in_progress: int
    slots_abandoned: int
    unasked_ticks: int
    clock_step_ns: int
    process_cpu_ns: int
    watched_cpu_ns: int
    own_cpu_ns: int
    recording: int
    recording_bytes: int
    file_failures: int
    file_error: int
    duration_ns: int

class NativeProfile(TypedDict):
    """What one session collected. Nodes and samples are native-endian records without padding, 4096 in each buffer but the last."""

    codes: list[tuple[str, str, int]]
    """Qualified name, file name and first line; the strings may hold any code points, lone surrogates too."""
    nodes: Sequence[Buffer]
    """Records "=iii": parent node or -1, index into codes, line or 0; a parent comes before its children."""
    samples: Sequence[Buffer]
    """Records "=qqIiII": when seen first and last, nanoseconds since the start; thread, innermost node or -1, weight in ticks,
    flags."""
    threads: list[tuple[int, str, str | None, int]]
    """Native thread id, the kernel's name and the last that Python gave; None: not known; nanoseconds of CPU time. There may be fewer than sampled
    threads, where there was no memory."""
    stats: NativeStats

class Recording:
    """What a session recorded. Taking it needs no memory, so none is lost for want of it."""

    @property
    def owner(self) -> Any: ...
    def profile(self) -> NativeProfile:
        """Its buffers are the recording's own memory, which they keep. Raises MemoryError, and can be called again then."""
    def end_file(self, end: bytes) -> int:
        """Write this as the end of the session's file, once. Returns 0, or the errno for which the file lacks something."""

    def delivered(self) -> None:
        """Whoever stopped the session has its profile. A recording that ends before this is put back."""

def start(
    interval_ns: int,
    max_depth: int,
    mode: int,
    memory_bytes: int,
    recording: int,
    owner: object,
    active: object,
    limbo: object,
    file: tuple[bytes, int, int, int],
) -> bool:
    """Start sampling every thread of the interpreter, on behalf of `owner`.

    `mode` is 0 for cpu, 1 for wall; `recording` 0 for a timeline, 1 for counts, of at most so many bytes. `active` and
    `limbo` are the dictionaries of `threading` that tell threads' names; where they are none, or no dict watcher is
    free, there are no names.

    `file` is one to append the recording to: its absolute path, device, inode and size; an empty path for none.

    False where a session is active. Raises RuntimeError when this interpreter cannot be sampled, MemoryError.
    """

def stop(owner: object = ...) -> Recording | None:
    """End the session, or with an `owner` only that one's, and give what it recorded; or what was put back.

    None where there is none.
    """

def put_back(recording: Recording) -> None:
    """The next `stop` gives it again, unless a session has been started until then."""

def stats() -> tuple[Any, NativeStats]:
    """The owner and the counters of the active session or else of the last one; None and zeros before the first."""

def is_active() -> bool:
    """Whether a session is active in this process; False in a forked child."""

def signal_number() -> int:
    """The signal by which sessions of this process ask its threads to look at their stacks."""

def pause() -> None:
    """Before a fork: end the session's own thread and that of `catch_termination`: only the program's are left.

    Pauses nest; they need no session.
    """

def resume() -> None:
    """After a fork, in the parent: the threads are back when each pause has been answered."""

def catch_termination(deliver: Callable[[], object]) -> None:
    """Have the process die of SIGTERM or SIGHUP only after `deliver` was called, once, on a thread for that.

    Only those of the two that have their default action now are taken, and none in the first process of a container, which
    they would not end. What `signal.getsignal` says does not change. The session is stopped before the call. A second signal
    of the two ends the process at once where it comes a second or more after the first. A forked child has its default
    actions back. Raises RuntimeError where no thread can be started, and between a call and its
    `release_termination`.
    """

def release_termination() -> None:
    """Give them their default action back, where the program has not given them another; before the interpreter's end.

    Does not return when one has come. Does nothing in a forked child.
    """

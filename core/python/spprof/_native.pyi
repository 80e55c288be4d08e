"""Types of the extension module over the C core.

Every function may be called from any thread, and from foreign code that runs inside another call: a trace function, an
audit hook, a finalizer or a signal handler.
"""

from collections.abc import Buffer, Callable
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
    duration_ns: int

class NativeProfile(TypedDict):
    """What one session collected. The two buffers are arrays of native-endian records without padding."""

    codes: list[tuple[str, str, int]]
    """Qualified name, file name and first line; the strings may hold any code points, lone surrogates too."""
    nodes: Buffer
    """Records "=iii": parent node or -1, index into codes, line or 0; a parent comes before its children."""
    samples: Buffer
    """Records "=qIiII": nanoseconds since the start, thread, innermost node or -1, weight in ticks, flags."""
    threads: list[tuple[int, str, str | None]]
    """Native thread id, the kernel's name and the last that Python gave; None: not known."""
    stats: NativeStats

def start(interval_ns: int, max_depth: int, mode: int, owner: object, active: object, limbo: object) -> bool:
    """Start sampling every thread of the interpreter, on behalf of `owner`.

    `mode` is 0 for cpu, 1 for wall. `active` and `limbo` are the dictionaries of `threading` that
    tell threads' names; where they are none, or no dict watcher is free, there are no names.

    False where a session is active. Raises RuntimeError when this interpreter cannot be sampled, MemoryError.
    """

def stop(owner: object = ...) -> tuple[Any, NativeProfile] | None:
    """End the session, or with an `owner` only that one's; the session's owner and what it collected.

    None where no such session is active. Raises MemoryError, with the session ended and what it collected lost.
    """

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

"""Types of the extension module over the C core. Every function may be called from any thread."""

from collections.abc import Buffer
from typing import TypedDict

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
    duration_ns: int

class NativeProfile(TypedDict):
    """What one session collected. The two buffers are arrays of native-endian records without padding."""

    codes: list[tuple[str, str, int]]
    """Qualified name, file name and first line; the strings may hold any code points, lone surrogates too."""
    nodes: Buffer
    """Records "=iii": parent node or -1, index into codes, line or 0; a parent comes before its children."""
    samples: Buffer
    """Records "=qIiII": nanoseconds since the start, thread, innermost node or -1, weight in ticks, flags."""
    threads: list[tuple[int, str]]
    """Native thread id and the kernel's name for the thread."""
    stats: NativeStats

def start(interval_ns: int, max_depth: int, mode: int) -> None:
    """Start sampling every thread of the interpreter. `mode` is 0 for cpu, 1 for wall.

    Raises RuntimeError when a session is active or this platform cannot be sampled, ValueError for a bad argument.
    """

def stop() -> NativeProfile:
    """End the session and hand over what it collected. Raises RuntimeError when no session is active."""

def stats() -> NativeStats:
    """Counters of the active session or else of the last one; zeros before the first."""

def is_active() -> bool:
    """Whether a session is active in this process; False in a forked child."""

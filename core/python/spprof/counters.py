"""The counters of a session, in the form that Python callers see."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from ._native import NativeStats


MODES = ("cpu", "wall")  # an index is the native extension's number for it
RECORDINGS = ("timeline", "counts")  # an index is the native extension's number for it


class Stats(TypedDict):
    """Counters of one session; always `ticks == captured + sum(dropped.values())`."""

    mode: str
    """What drives the ticks: "cpu" is each thread's CPU time."""
    interval_ms: float
    """Milliseconds between two ticks of one thread; 0 before the first session."""
    duration_s: float
    """Seconds from start to stop, or to now."""
    ticks: int
    captured: int
    """Ticks that became part of a sample."""
    dropped: dict[str, int]
    """Ticks that gave no sample, by reason; every reason is there, mostly with 0."""
    samples: int
    """Stacks taken. Ticks that a thread missed are folded into a sample's weight, so this is at most `captured`; equal stacks
    are recorded as one `Sample`, so a profile has at most as many."""
    handler_runs: int
    threads: int
    """Threads sampled since the start."""
    threads_refused: int
    """Threads that got no timer or no memory when they were found; some may have been sampled later."""
    unguarded_ticks: int
    """Ticks read the slow way, because another fault handler had displaced the profiler's."""
    ticks_in_progress: int
    """Ticks that had begun when this was read and had no outcome yet. They are not among `ticks`."""
    slots_abandoned: int
    """Threads that did not come out of the signal handler within a second when they were waited for."""
    unasked_ticks: int
    """Captured ticks whose stack was seen from outside, of a thread that did not take the signal that asks it to look itself,
    or was not met running: frames may be from different moments, or from after the time that was used."""
    clock_step_ms: float
    """How far apart the ticks of one thread can be at least: the kernel's own tick, where each thread has a CPU timer; 0
    where the profiler's thread says when they are due."""
    process_cpu_s: float
    """CPU seconds of the whole process since the start. What is neither of the next two is of threads without Python, of such
    as lived between two looks, and of the ends of threads after the last look at them."""
    watched_cpu_s: float
    """Of the sampled threads, each from its birth, or the start, to the last look at it. In mode "cpu" these, divided by the
    interval, are the ticks, but for less than one a thread. 0 where `clock_step_ms` is not."""
    own_cpu_s: float
    """Of the profiler's own thread."""
    recording: str
    """What the samples are: a "timeline", or "counts", which have no order."""
    recording_mb: float
    """Megabytes that the recording holds, of 2**20 bytes; after the session, that it held at its end."""
    recording_full: bool
    """Whether a timeline has become counts because it would have taken more memory than it was given."""
    file_failures: int
    """Times that what was new could not be appended to the session's file; it was tried again half a second later."""
    file_error: str
    """Why the session's file lacks something of the session; empty where it does not, or there is none."""


def zero_counters() -> NativeStats:
    """The counters where no session can ever have been."""
    return {
        "ticks": 0,
        "captured": 0,
        "dropped": {},
        "samples": 0,
        "handler_runs": 0,
        "threads": 0,
        "threads_refused": 0,
        "unguarded_ticks": 0,
        "ticks_in_progress": 0,
        "slots_abandoned": 0,
        "unasked_ticks": 0,
        "clock_step_ns": 0,
        "process_cpu_ns": 0,
        "watched_cpu_ns": 0,
        "own_cpu_ns": 0,
        "recording": 0,
        "recording_bytes": 0,
        "file_failures": 0,
        "file_error": 0,
        "duration_ns": 0,
    }


def public_stats(native: NativeStats, *, mode: str, interval_ms: float, recording: str = RECORDINGS[0]) -> Stats:
    """The native counters with the session's settings, the duration in seconds."""
    present = RECORDINGS[native["recording"]]
    return {
        "mode": mode,
        "interval_ms": interval_ms,
        "duration_s": native["duration_ns"] / 1e9,
        "ticks": native["ticks"],
        "captured": native["captured"],
        "dropped": dict(native["dropped"]),
        "samples": native["samples"],
        "handler_runs": native["handler_runs"],
        "threads": native["threads"],
        "threads_refused": native["threads_refused"],
        "unguarded_ticks": native["unguarded_ticks"],
        "ticks_in_progress": native["ticks_in_progress"],
        "slots_abandoned": native["slots_abandoned"],
        "unasked_ticks": native["unasked_ticks"],
        "clock_step_ms": native["clock_step_ns"] / 1e6,
        "process_cpu_s": native["process_cpu_ns"] / 1e9,
        "watched_cpu_s": native["watched_cpu_ns"] / 1e9,
        "own_cpu_s": native["own_cpu_ns"] / 1e9,
        "recording": present,
        "recording_mb": native["recording_bytes"] / 2**20,
        "recording_full": present != recording,
        "file_failures": native["file_failures"],
        "file_error": os.strerror(native["file_error"]) if native["file_error"] else "",
    }

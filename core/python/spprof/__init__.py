"""Sampling profiler for CPython on Linux, with the GIL and free-threaded.

    with spprof.Profiler(interval_ms=5) as profiler:
        work()
    profiler.profile.save("work.speedscope.json")

One session at a time in a process. Every function here may be called from any thread. The package imports on any
platform; only starting a session needs its native extension.
"""

__version__ = "0.1.0"

from .counters import Stats
from .profiles import Frame, Function, Profile, Sample, Thread
from .session import Profiler, is_active, profile, start, stats, stop

__all__ = [
    "Frame",
    "Function",
    "Profile",
    "Profiler",
    "Sample",
    "Stats",
    "Thread",
    "__version__",
    "is_active",
    "profile",
    "start",
    "stats",
    "stop",
]

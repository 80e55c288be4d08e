"""Sampling profiler for CPython on Linux, with the GIL and free-threaded.

    with spprof.Profiler(interval_ms=5) as profiler:
        work()
    profiler.profile.save("work.speedscope.json")

One session at a time in a process. Every function here may be called from any thread. The package imports on any
platform; only starting a session needs its native extension.
"""

import sys

from .version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .calltree import Function
    from .counters import Stats
    from .profiles import Profile, load
    from .records import Frame, Sample, Thread
    from .session import Profiler, is_active, profile, signal_number, start, stats, stop

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
    "load",
    "profile",
    "signal_number",
    "start",
    "stats",
    "stop",
]


def _is_command() -> bool:
    """Whether the command line may be what imports the package: as a module, or as a script."""
    match getattr(sys, "argv", None):  # a host may have anything there
        case [str(program), *_]:
            return program == "-m" or program.rpartition("/")[2] == "spprof"
    return False


def _load() -> None:
    """Put every name of `__all__` here."""
    from . import calltree, counters, profiles, records, session

    for module in (calltree, counters, profiles, records, session):
        globals().update({name: getattr(module, name) for name in __all__ if hasattr(module, name)})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _load()
    return globals()[name]


# The command line first chooses where modules come from (`imports`), and this file runs before it.
if not _is_command():
    _load()

"""Keeps CPython's warning about forking a multi-threaded process from appearing because of the profiler alone.

CPython counts the threads that the kernel knows, so the profiler's own thread would make it warn in a program that has
a single thread.
"""

import os
import re
import warnings

from . import session

_TEXT = re.compile(r"This process \(pid=\d+\) is multi-threaded, use of \w+\(\) may lead to deadlocks in the child")
_THREADS_WITH_PROFILER = 2  # the program's one and the profiler's


class _BecauseOfProfiler:
    """Stands where a filter has its compiled pattern: `warnings` asks nothing of that but `match`."""

    def match(self, text: str) -> bool:
        """Whether this is that warning and only the profiler's thread is to blame for it now."""
        return (
            _TEXT.match(text) is not None
            and session.is_active()
            and len(os.listdir("/proc/self/task")) == _THREADS_WITH_PROFILER
        )


def hide_for_profiler() -> None:
    """Filter the warning for the rest of the process. The program's own filters, set later, come before this one."""
    # warnings.filterwarnings takes patterns as text only, and cannot ask how many threads there are at that moment
    hidden = ("ignore", _BecauseOfProfiler(), DeprecationWarning, None, 0)
    warnings.filters.insert(0, hidden)  # type: ignore[attr-defined]

"""Trace functions, profile functions and monitoring, on and off, for one thread and for all."""

import sys
import threading

from antagonists import Antagonist, busy, busy_result, expect

TOOL = 4


def trace_hook(frame, event, argument):
    return trace_hook


def profile_hook(frame, event, argument):
    pass


def monitor_hook(*arguments):
    pass


TOGGLES = [
    (sys.settrace, trace_hook),
    (sys.setprofile, profile_hook),
    (threading.setprofile_all_threads, profile_hook),
]
if sys.version_info >= (3, 15):
    TOGGLES.append((threading.settrace_all_threads, trace_hook))


class Tracing(Antagonist):
    """threading.settrace_all_threads is left out before 3.15: it crashes the interpreter
    (evidence/trace_all_threads.py)."""

    guests = frozenset({(__file__, "trace_hook"), (__file__, "profile_hook")})

    def round(self, dice):
        limit = dice.randrange(1, 400)
        toggle, hook = dice.choice(TOGGLES)
        toggle(hook)
        try:
            found = busy(limit)
        finally:
            toggle(None)
        expect(found == busy_result(limit), "a traced function computed something else")


class Monitoring(Antagonist):
    guests = frozenset({(__file__, "monitor_hook")})

    def begin(self):
        sys.monitoring.use_tool_id(TOOL, "antagonist")
        self.events = [
            getattr(sys.monitoring.events, name) for name in ("PY_START", "PY_RETURN", "LINE", "CALL", "JUMP")
        ]
        for event in self.events:
            sys.monitoring.register_callback(TOOL, event, monitor_hook)

    def round(self, dice):
        limit = dice.randrange(1, 400)
        sys.monitoring.set_events(TOOL, sum(dice.sample(self.events, dice.randrange(1, 4))))
        found = busy(limit)
        sys.monitoring.set_events(TOOL, 0)
        expect(found == busy_result(limit), "a monitored function computed something else")
        busy(3000)

    def end(self):
        sys.monitoring.set_events(TOOL, 0)
        for event in self.events:
            sys.monitoring.register_callback(TOOL, event, None)
        sys.monitoring.free_tool_id(TOOL)

"""Profiling, tracing and monitoring switched on and off while functions run. A hook's own frame stands on top of
whatever it was called for, and calls nothing."""

import sys

from grammar import Grammar, Source

from workloads import Workload, own_calls

TOOL = 4  # of sys.monitoring: one that no known tool uses


def profile_hook(frame, event, argument):
    return None


def trace_hook(frame, event, argument):
    return trace_hook


def monitor_hook(code, *arguments):
    return None


HOOKS = {"profile_hook", "trace_hook", "monitor_hook"}


def inner(number):
    total = 0
    for part in range(number):
        total += part
    return total


def values(limit):
    for number in range(limit):
        yield inner(number)


def outer(limit):
    total = 0
    for value in values(limit):
        total += value
    return total


def profile(stage, role):
    stage.enter(role)
    while not stage.over:
        sys.setprofile(profile_hook)
        for _ in range(20):
            outer(4)
        sys.setprofile(None)
        for _ in range(20):
            outer(4)
    stage.leave()


def trace(stage, role):
    stage.enter(role)
    while not stage.over:
        sys.settrace(trace_hook)
        for _ in range(20):
            outer(4)
        sys.settrace(None)
        for _ in range(20):
            outer(4)
    stage.leave()


def monitor(stage, role):
    stage.enter(role)
    monitoring = sys.monitoring
    events = monitoring.events
    monitoring.use_tool_id(TOOL, "truth")
    for event in (events.PY_START, events.PY_RETURN, events.PY_YIELD, events.LINE):
        monitoring.register_callback(TOOL, event, monitor_hook)
    while not stage.over:
        monitoring.set_events(TOOL, events.PY_START | events.PY_RETURN | events.PY_YIELD)
        for _ in range(20):
            outer(4)
        monitoring.set_events(TOOL, events.LINE)
        for _ in range(20):
            outer(4)
        monitoring.set_events(TOOL, 0)
        for _ in range(20):
            outer(4)
    stage.leave()


CALLS = [
    ("outer", "values", "for"),
    ("values", "inner"),
    *((entry, "outer") for entry in ("profile", "trace", "monitor")),
    *own_calls("profile", "trace", "monitor"),
]


def make():
    return Hooks()


class Hooks(Workload):
    def __init__(self):
        super().__init__()
        self.files = {__file__}
        self.grammar = Grammar()
        self.grammar.add(Source.of_file(__file__), CALLS)
        self.cast("profile", profile)
        self.cast("trace", trace)
        self.cast("monitor", monitor)

    def below_guests(self, stack):
        """Monitoring is the whole process's: a hook may be called for any thread."""
        if not stack or stack[-1][0] not in HOOKS:
            return stack
        return stack[:-1] if self.grammar.stands(*stack[-1]) and len(stack) > 1 else None

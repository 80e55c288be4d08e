"""The summary of a profile for people. Names are cut to a readable length but otherwise as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .counters import Stats
    from .profiles import Function, Profile

_FUNCTIONS = 10
_WIDTH = 100


def lines(profile: Profile) -> Iterator[str]:
    """What was captured, what was lost and why, and the hottest functions; the numbers are the profile's counters."""
    stats = profile.stats
    yield (
        f"{stats['samples']} samples of {_counted(stats['threads'], 'thread')} in {stats['duration_s']:.2f} s, "
        f"{stats['mode']} mode, a tick every {stats['interval_ms']:g} ms"
    )
    yield f"captured {stats['captured']} of {_counted(stats['ticks'], 'tick')}{_share(stats)}; {_lost(stats)}"
    if stats["threads_refused"]:
        yield f"{_counted(stats['threads_refused'], 'thread')} could not be sampled when first found"
    if stats["ticks_in_progress"]:
        yield f"{_counted(stats['ticks_in_progress'], 'tick')} had not come to an end and could not be counted"
    if stats["slots_abandoned"]:
        yield f"{_counted(stats['slots_abandoned'], 'thread')} given up, not having come out of the signal handler"
    if stats["clock_step_ms"]:
        step = stats["clock_step_ms"]
        yield f"this kernel's timers are no finer than {step:g} ms: a thread has at most one stack in that time"
    if stats["unasked_ticks"]:
        yield f"{_counted(stats['unasked_ticks'], 'tick')} seen from outside their thread, which did not run or did not take the signal"
    if stats["captured"]:
        yield "hottest functions, by their own share of the captured ticks:"
        for function in profile.functions()[:_FUNCTIONS]:
            if not function.self:
                break
            yield f"{_percent(function.self, stats['captured']):>9}  {_described(function)}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _share(stats: Stats) -> str:
    return f" ({_percent(stats['captured'], stats['ticks'])})" if stats["ticks"] else ""


def _lost(stats: Stats) -> str:
    losses = [
        f"{reason} {ticks} ({_percent(ticks, stats['ticks'])})" for reason, ticks in stats["dropped"].items() if ticks
    ]
    return f"lost: {', '.join(losses)}" if losses else "none lost"


def _percent(part: int, whole: int) -> str:
    """Rounded to hundredths, but never to 0 or 100 where some or not all is meant."""
    percent = 100 * part / whole
    if 0 < part < whole:
        percent = min(max(percent, 0.01), 99.99)
    return f"{percent:.2f} %"


def _described(function: Function) -> str:
    return f"{function.name[:_WIDTH]} ({function.filename[-_WIDTH:]}:{function.first_line})"

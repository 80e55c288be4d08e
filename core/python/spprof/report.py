"""The summary of a profile for people. Names are cut to a readable length but otherwise as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .calltree import Function
    from .counters import Stats
    from .profiles import Profile

_FUNCTIONS = 10
_THREADS = 5
_WIDTH = 100
_WORTH_A_LINE = 0.01  # of the ticks
_COARSE = 3  # ticks that one stack stands for, where the interval can be kept

# What a loss means to who reads a summary; specs/reasons.md has the whole.
MEANINGS = {
    "bounds": "a stack that could not be proved whole: a pointer out of bounds",
    "alignment": "a stack that could not be proved whole: a pointer that is not aligned",
    "type": "a stack that could not be proved whole: a frame without a code object",
    "owner": "a stack that could not be proved whole: a frame of an unknown kind",
    "progress": "a stack that could not be proved whole: frames in an impossible order",
    "cycle": "a stack that could not be proved whole: a chain that comes back to itself",
    "fault": "memory that could not be read, or a sandbox that forbids process_vm_readv",
    "code_range": "a stack that could not be proved whole: an instruction outside its function",
    "torn": "the stack changed while it was read",
    "incomplete": "a stack that could not be proved whole: it does not end at the thread's root",
    "detached": "time of threads that ended before it could be shown",
    "no_thread_state": "time that threads used before they were found",
    "ring_full": "stacks came faster than they were taken: take a longer interval",
    "busy": "ticks that came while the session was being stopped",
    "throttled": "looks took so long that the program had to run first: take a longer interval",
    "no_memory": "stacks that there was no memory to keep",
    "stack_unknown": "threads whose C stack could not be found: no free file descriptor, or no /proc",
}


def lines(profile: Profile) -> Iterator[str]:
    """What was captured, what was lost and why, and the hottest functions; the numbers are the profile's counters."""
    stats = profile.stats
    yield (
        f"{stats['samples']} samples of {_counted(stats['threads'], 'thread')} in {stats['duration_s']:.2f} s, "
        f"{stats['mode']} mode, a tick every {stats['interval_ms']:g} ms"
    )
    yield f"captured {stats['captured']} of {_counted(stats['ticks'], 'tick')}{_share(stats)}; {_lost(stats)}"
    for reason, ticks in stats["dropped"].items():
        if ticks >= max(1, _WORTH_A_LINE * stats["ticks"]):
            yield f"  {reason}: {MEANINGS.get(reason, 'a reason of another version')}"
    if stats["mode"] == "cpu" and stats["watched_cpu_s"]:
        yield _time_shares(stats)
        yield from _threads(profile)
    if not stats["ticks"]:
        yield "nothing was due: the program used less than an interval; take a shorter one (--interval), or --mode wall"
    if stats["samples"] and stats["captured"] >= _COARSE * stats["samples"] and stats["mode"] == "cpu":
        per_stack = stats["captured"] / stats["samples"]
        yield f"each stack stands for {per_stack:.1f} ticks: too few processors were free to look at every tick"
    if stats["recording_full"]:
        yield "the timeline took all its memory and became counts: samples have no order (--memory for more of it)"
    if stats["file_failures"]:
        often = _counted(stats["file_failures"], "time")
        outcome = f"the last time: {stats['file_error']}" if stats["file_error"] else "it was later, and all is there"
        yield f"what was new could not be appended to the file {often}; {outcome}"
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


def _time_shares(stats: Stats) -> str:
    """Where the CPU time of the process is."""
    process, watched, own = stats["process_cpu_s"], stats["watched_cpu_s"], stats["own_cpu_s"]
    shown = watched * stats["captured"] / stats["ticks"] if stats["ticks"] else 0.0
    shares = {
        "on stacks": shown,
        "lost": watched - shown,
        "the profiler's": own,
        "of threads that it did not see (without Python, or too short)": process - watched - own,
    }
    told = ", ".join(f"{100 * share / process:.1f} % {what}" for what, share in shares.items() if share > 0)
    return f"{process:.2f} s of CPU time: {told}"


def _threads(profile: Profile) -> Iterator[str]:
    """Those with most CPU time, and how much of it is on stacks."""
    used = sorted((thread for thread in profile.threads if thread.cpu_s), key=lambda thread: -thread.cpu_s)
    if len(used) < 2:
        return
    shown = profile.ticks_by_thread()
    for thread in used[:_THREADS]:
        share = min(1, shown[thread.index] * profile.interval_ms / 1000 / thread.cpu_s)
        yield f"{thread.cpu_s:>9.2f} s  {thread.name[:_WIDTH]}, {100 * share:.1f} % on stacks"
    if len(used) > _THREADS:
        rest = sum(thread.cpu_s for thread in used[_THREADS:])
        yield f"{rest:>9.2f} s  of {_counted(len(used) - _THREADS, 'other thread')}"


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

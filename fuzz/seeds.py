#!/usr/bin/env python3
"""fuzz/seeds.py: writes the seed corpus into fuzz/corpus. What it writes is kept in git; a test holds the two equal.

A file is named after the outcome that it must have, with what is particular about it behind a hyphen.
"""

import struct
import sys
from pathlib import Path

import recording

CORPUS = Path(__file__).resolve().parent / "corpus"

INTERPRETERS = ("3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t")

# image.h
ONCE, TWICE, OBSERVE = range(3)
NO_STATE, ENTRY_KNOWN, NO_STACK = 1, 2, 4
CODE, ENTER, CALL, RESUME, CHUNK, WRITE, DEATH = range(1, 8)
AT_THREAD, AT_FRAME, AT_CODE, AT_CHUNK, AT_ARRAY, AT_ARENA = range(6)
OF_NOTHING, OF_FRAME, OF_CODE, OF_CHUNK, OF_ARENA, OF_PROTECTED, OF_ABSENT, OF_OLD = range(8)
CURRENT_FRAME, NATIVE_ID, DATASTACK, STATUS, BASE_FRAME = range(5)
PREVIOUS, EXECUTABLE, INSTR_PTR, OWNER, TLBC_INDEX = range(5)
TYPE, UNITS, FIRST_LINE, FILENAME, QUALNAME, TLBC = range(6)


def header(name="3.14t", look=ONCE, flags=ENTRY_KNOWN, depth=64, room=64, beside=0):
    return struct.pack("<BBBBBxxxQ", INTERPRETERS.index(name), look, flags, depth, room, beside)


def record(kind, p=0, a=0, b=0, v=0):
    return struct.pack("<BBHIQ", kind, p, a, b, v & (1 << 64) - 1)


def write(place, field, origin, value, after=0, which=0):
    return record(WRITE, place | origin << 3, which | field << 8, after, value)


def beside(which, distance=0):
    return which << 32 | distance & (1 << 32) - 1


# entry, function, function, generator, entry, class being instantiated, function: the last is innermost
USUAL = (
    record(CODE, 4, 30, 11) + record(CODE, 2, 20, 22) + record(CODE, 1, 8) + record(ENTER)
    + record(CALL, 1, 5, 2) + record(CALL, 2, 0, 1) + record(RESUME, 1, 7) + record(ENTER, 1)
    + record(CALL, 0) + record(CALL, 2, 3)
)  # fmt: skip


def walk_seeds():
    for name in INTERPRETERS:
        yield f"captured-{name}", header(name) + USUAL
    yield "captured-twice", header(look=TWICE) + USUAL
    yield "captured-observed", header(look=OBSERVE) + USUAL
    yield "captured-truncated", header(depth=2) + USUAL
    yield "captured-chunks", header() + USUAL + (record(CHUNK, a=3) + record(CALL, 1, 2, 0x200)) * 3
    yield "captured-empty", header()
    # The innermost frame runs on between the looks: nothing is torn. The first look at it reads 60 words or so.
    yield "captured-running", header(look=TWICE) + USUAL + write(AT_FRAME, INSTR_PTR, OF_OLD, 2, after=45)
    # Detached at the first look, attached at the second.
    attached = write(AT_THREAD, STATUS, OF_NOTHING, 3) + write(AT_THREAD, STATUS, OF_NOTHING, 19, after=10)
    yield "captured-attached_between", header(look=TWICE) + record(ENTER) + record(CALL) + attached
    yield "bounds", header() + USUAL + write(AT_FRAME, PREVIOUS, OF_NOTHING, 0xFFFF_8000_0000_0000)
    yield "alignment", header() + USUAL + write(AT_FRAME, PREVIOUS, OF_OLD, 4)
    yield "type", header() + USUAL + write(AT_CODE, TYPE, OF_OLD, 16, which=1)
    yield "owner", header() + USUAL + write(AT_FRAME, OWNER, OF_NOTHING, 2, which=2)
    yield "progress", header() + USUAL + write(AT_FRAME, PREVIOUS, OF_FRAME, beside(0))
    generators = USUAL + record(RESUME, 1, 1, 4 << 8)
    yield "cycle", header() + generators + write(AT_FRAME, PREVIOUS, OF_FRAME, beside(0), which=4)
    yield "fault-protected", header() + USUAL + write(AT_FRAME, EXECUTABLE, OF_PROTECTED, 64)
    yield "fault-absent", header() + USUAL + write(AT_FRAME, PREVIOUS, OF_ABSENT, 8)
    no_copy = write(AT_ARRAY, 1, OF_NOTHING, 0) + write(AT_FRAME, INSTR_PTR, OF_NOTHING, 4)
    yield "code_range-no_copy", header() + record(CODE, 0, 20, 5) + record(ENTER) + record(CALL, 0, 3) + no_copy
    # A function's frame that says it is the interpreter's: it lies above the C stack.
    yield "bounds-above_the_c_stack", header() + USUAL + write(AT_FRAME, OWNER, OF_NOTHING, 3)
    yield "code_range", header() + USUAL + write(AT_FRAME, INSTR_PTR, OF_OLD, 128)
    torn = write(AT_FRAME, EXECUTABLE, OF_CODE, beside(2), after=40, which=1)
    yield "torn", header(look=TWICE) + USUAL + torn
    # A code object dies in each of the observer's 64 attempts at a short stack, which reads some 50 words in each.
    deaths = b"".join(record(DEATH, b=30 * i) for i in range(1, 130))
    yield "torn-death", header(look=OBSERVE) + record(ENTER) + record(CALL) + deaths
    yield "incomplete", header() + USUAL + write(AT_FRAME, PREVIOUS, OF_NOTHING, 0)
    yield "detached", header() + USUAL + write(AT_THREAD, NATIVE_ID, OF_OLD, 1)
    yield "no_thread_state", header(flags=NO_STATE) + USUAL
    yield "stack_unknown", header(flags=NO_STACK) + USUAL
    yield "stack_unknown-observed", header(look=OBSERVE, flags=NO_STACK) + USUAL


def table(name, **changes):
    """The table of that interpreter, from the tests' list; `changes` are words by field."""
    sys.path.insert(0, str(CORPUS.parent.parent / "tests"))
    import test_layout

    return test_layout.table(name, **changes)[:600]


def layout_seeds():
    for name in INTERPRETERS:
        yield name, table(name)
        # Fields that end where their structure does.
        at_the_end = {"thread.status": 884, "frame.owner": 87, "code.first_line": 236, "interpreter.next": 247096}
        if name == "3.15t":
            yield f"{name}-at_the_end", table(name, **at_the_end)
    yield "refused-cookie", b"xdebugpz" + table("3.14t")[8:]
    yield "refused-cut_short", table("3.14t")[:400]
    yield "refused-version", table("3.14t", hexversion=0x031007F0)
    yield "refused-prerelease", table("3.14t", hexversion=0x030E00B1)
    yield "refused-threading", table("3.14t", threading=2)
    yield "refused-size", table("3.14", **{"frame.size": 40})
    yield "refused-offset", table("3.14", **{"thread.status": 830})
    yield "refused-tlbc", table("3.14t", **{"code.tlbc": 0})
    yield "refused-base_frame", table("3.15", **{"thread.base_frame": 0})


PRODUCER, CONSUMER, READER, SPECIAL = range(4)
FINISH_TICK, FINISH_POP, AFTER_THE_SESSION, OF_A_FORMER_TENANT, OF_NO_SLOT, WITHOUT_STATE = range(6)


def ring(capacity, before_wrap, *steps):
    return bytes([capacity, before_wrap, *(side | amount << 2 for side, amount in steps)])


def ring_seeds():
    finish_tick, finish_pop = (SPECIAL, FINISH_TICK), (SPECIAL, FINISH_POP)
    tick, pop = ((PRODUCER, 1), finish_tick), ((CONSUMER, 1), finish_pop)
    yield "captured", ring(3, 0, *tick, *tick, *pop, *pop)
    yield "captured-wrap", ring(1, 9, *(tick + pop) * 3)
    # A signal in the midst of a pop.
    yield "captured-nested", ring(2, 3, *tick, (CONSUMER, 1), (CONSUMER, 1), *tick, finish_pop, *pop)
    yield "captured-turns", ring(2, 20, *((PRODUCER, 2), (CONSUMER, 1), (READER, 0)) * 30)
    yield "captured-little_room", ring(2, 5, *tick, *tick, (CONSUMER, 4), finish_pop, *pop)
    yield "ring_full", ring(0, 4, *tick, *tick)
    yield "busy", ring(2, 0, *tick, (SPECIAL, AFTER_THE_SESSION), *pop)
    yield "no_thread_state", ring(2, 0, (SPECIAL, WITHOUT_STATE), *tick)
    yield "no_thread_state-late", ring(2, 0, (SPECIAL, OF_A_FORMER_TENANT), (SPECIAL, OF_NO_SLOT))


(
    START, STOP, TICK, LATE, LOOK, DRAIN, BIRTH, DEATH, CHANGE, FORK, CODE_DIED, TAKE_SIGNAL, FAULT, NAMES, PASS,
    GIVE_BACK, SEND, REFUSE,
) = range(18)  # fmt: skip
NORMAL, EMPTY, DETACHED, UNBOUND, STRAY_ENTRY, UNREADABLE = (kind << 3 for kind in range(6))
CPU, WALL, SINK, FINE = 0, 1, 2, 0x40  # how a session is started; the kernel's clock is fine
INTERVALS = {"shortest": 4, "longer": 8, "longest": 12}  # else the usual
A_SECOND = 4  # that a look is late
STATE = 0x40  # a thread gives up its state, or takes another
TIMERS = 1  # the kernel makes no more of them
MAPS = 4  # it opens no list of the process's mappings
NOBODY = 7  # a thread that is not born
OVERRUN, BLOCKED, HELD, SLOW = 3 << 3, 0x20, 0x40, 0x80  # how a tick arrives, and that its look takes long
# What a thread does whose ticks the session's thread lays on it. It runs in the midst of the next
# look, on for longer than a signal may take, or so late in it that its clock shows it when it is
# read once more. It takes a signal, first that of the timer that waits for it to run, or holds it.
RUNS, FOR_LONG, RUNS_LATE, RAN_AGAIN, HOLDS = 0x40, 0x80, 0x60, 8, 0x10
NEARLY = 3 << 3  # what runs uses nine tenths of an interval
IN_CHILD, PAUSE, RESUME = 1, 2, 4  # a fork, and what is done before and after it
SEGV, BUS, PROF = range(3)
TOLD, NUMBER_ALONE, IGNORING, ALSO_TOLD = (neighbour << 2 for neighbour in range(4))
# What a neighbour's handler does with its predecessor.
WAYS = {"silent": 0, "calling": 1 << 4, "putting_back": 2 << 4}


CALLS = CORPUS.parent.parent / "stress" / "faults" / "calls.def"
FAILING_CALLS = sum(line.startswith(("FAULT(", "SYSTEM(")) for line in CALLS.read_text().splitlines())


def session(*operations):
    return bytes(byte for operation in operations for byte in operation)


# Neighbours that come, a letter, and give back, the same in lower case; S: each signal is sent that
# is theirs.
NEIGHBOURS = {"B": TOLD, "C": NUMBER_ALONE, "D": ALSO_TOLD, "I": IGNORING}
OWNERS = {
    "before": "B start look S stop S",
    "during": "start B S look S look S stop S",
    "between": "start stop B start look S stop S",
    "after": "start stop B S S",
    "given_back": "start B look S b S look S",
    "given_back_unlooked": "start B look b C S look S c S",
    "given_back_between": "start B look stop S b S start look S",
    "out_of_order": "start B look C look b S look S c S",
    "out_of_order_between": "start B look C look D look c S stop start d S",
    "again": "start B look B S look S B look S stop start S",
    "again_and_back": "start B look B look S b S look S",
    "three": "B start look C look S stop start look D look S d S",
    "ignored": "I start look B S look S b S i S",
    "fork": "start B look S fork S C S start look S c S",
    "fork_unlooked": "start B look C fork S b S start S look S",
    "observer": "B observe look C S look S stop start look S c S",
}  # fmt: skip


def owners(scene, way):
    steps = {
        "start": (START, CPU), "observe": (START, WALL), "look": (LOOK, 0), "stop": (STOP, 0), "fork": (FORK, 1),
    }  # fmt: skip
    for word in scene.split():
        if word in steps:
            yield steps[word]
        elif word == "S":
            yield from ((SEND, number) for number in (SEGV, BUS, PROF))
        else:
            operation = TAKE_SIGNAL if word.isupper() else GIVE_BACK
            yield from ((operation, number | NEIGHBOURS[word.upper()] | way) for number in (SEGV, BUS, PROF))


def used(thread, halves):
    """The thread uses so many halves of an interval, in half the time."""
    return (PASS, thread | halves << 3)


def monitored_scenes():
    """CPU mode where the kernel's clock is fine, until the stop."""
    start, look, stop = (START, CPU | FINE | SINK), (LOOK, 0), (STOP, 0)
    late_look = (LOOK, A_SECOND)
    born, dies, answers, holds = (BIRTH, 1), (DEATH, 1), (TICK, 1), (TICK, 1 | HOLDS)
    runs, for_long, late = (TICK, 1 | RUNS), (TICK, 1 | RUNS | FOR_LONG), (TICK, 1 | RUNS_LATE)
    waits, works, ran_again = (CHANGE, 1 | DETACHED), (CHANGE, 1 | NORMAL), (TICK, 1 | RAN_AGAIN)
    held_again, drain = (TICK, 1 | RAN_AGAIN | HOLDS), (DRAIN, 0)
    begun, half, ticks = (start, born, look), used(1, 1), used(1, 2)
    stays, again = (half, look), (ticks, look, look)
    undrained = ((START, CPU | FINE), born, look)
    asked = (*begun, used(1, 4), runs, look)
    out_of_python = (*begun, used(1, 4), waits, for_long, look)
    kept = (*begun, used(1, 3), look)
    waiting = (*begun, used(1, 3), waits, look)
    slow, is_asked = (TICK, 1 | FOR_LONG), (runs, look)
    owed = (*asked, slow, *is_asked, answers, ticks, *is_asked, slow, *is_asked, slow)
    former = (*asked, holds, dies, look, (BIRTH, 5), look, used(5, 4), (TICK, 5 | RUNS), look)
    second = (*(used(NOBODY, 31),) * 12, used(NOBODY, 28))
    nearly_a_second = (*second[:-1], used(NOBODY, 27))
    refuses, makes_again = (REFUSE, TIMERS), (REFUSE, 0)
    timerless = (refuses, *begun)
    another = (makes_again, (BIRTH, 2), look, ticks, used(2, 2), (TICK, 2 | RUNS), look, (TICK, 2))
    return {
        "captured-cpu": (*asked, answers, half, look, half, look, runs, used(0, 9), (LOOK, 1)),
        "captured-cpu-drain": (*undrained, ticks, *is_asked, answers, drain, *again, stop, drain),
        "captured-cpu-asked": (*asked, answers, look, ticks, *is_asked, answers, ticks, look),
        "captured-cpu-asked_twice": (*asked, ticks, *is_asked, answers, *is_asked * 2, answers),
        "captured-cpu-asked-detached": (*out_of_python, answers, *is_asked, answers, look),
        "captured-cpu-runs_late": (*begun, used(1, 4), late, look, answers, used(1, 4), late, look),
        "captured-cpu-soon": (*begun, (TICK, 1 | RUNS | NEARLY), look, look, look, half, look),
        "captured-cpu-young": (start, born, runs, half, look, ticks, look),
        "captured-cpu-late": (*asked, holds, ticks, *is_asked, (LATE, 0), answers),
        "captured-cpu-former": (*former, (LATE, 0), (TICK, 5), stop, (LATE, 0)),
        "no_thread_state-cpu": (start, look, born, used(1, 3), (LOOK, 2), half, look),
        "no_thread_state-cpu-older": (start, born, used(1, 30), (BIRTH, 2), used(2, 3), look, look),
        "throttled-cpu": (*owed, used(1, 20), *is_asked, answers),
        "kept-cpu": (*kept, look, look, half, ran_again, look, ticks, look, ran_again),
        "kept-cpu-waits": (*waiting, look, look, half, ran_again, look, ticks, look, ran_again),
        "kept-cpu-works": (*waiting, works, look, waits, look, half, look, works, half, look),
        "kept-cpu-set_again": (*kept, half, ran_again, *again, half, look, ran_again, dies, look),
        "kept-cpu-asked": (*asked, waits, look, half, ran_again, answers, ticks, look),
        "kept-cpu-asked-long_after": (*begun, ticks, runs, late_look, look, answers, *again),
        "kept-cpu-answered": (*asked, half, look, answers, ticks, look, half, look, dies, look),
        "kept-cpu-several": (*kept, (BIRTH, 2 | DETACHED), used(0, 1), look, used(2, 5), look),
        "kept-cpu-fork": (*kept, (FORK, IN_CHILD), *begun, used(0, 3), used(1, 3), look),
        "kept-cpu-nearly_a_second": (*kept, *nearly_a_second, look, ticks, runs, look, answers),
        "kept-cpu-entries_unknown": ((CHANGE, EMPTY), *waiting, *stays, works, *is_asked, answers),
        "taken_back-cpu": (*kept, half, *is_asked, ran_again, half, look),
        "taken_back-cpu-once": (*kept, half, *is_asked, answers, half, *is_asked, answers, *again),
        "taken_back-cpu-held": (*kept, half, held_again, *is_asked, (LATE, 0), *again),
        "left_long-cpu": (*kept, late_look, look, ticks, look, look, late_look, dies, look),
        "left_long-cpu-a_second": (*kept, *second, look, ticks, look),
        "left_long-cpu-more": (*kept, ticks, look, late_look, half, ran_again),
        "left_long-cpu-asked": (*asked, look, late_look, answers, ticks, look),
        "left_long-cpu-answered": (*asked, answers, ticks, late_look, look, late_look),
        "in_vain-cpu": (*kept, half, held_again, used(1, 3), look, ran_again, *again, ticks, look),
        "in_vain-cpu-late": (*kept, half, held_again, used(1, 3), look, (LATE, 0), ticks, look),
        "kept-cpu-between_ticks": (*kept, used(1, 8), look, used(1, 8), look, ran_again, look),
        "in_vain-cpu-asked": (*asked, used(1, 3), look, *stays, ticks, look, answers, *again),
        "in_vain-cpu-runs": (*begun, used(1, 4), for_long, look, *is_asked, look),
        "in_vain-cpu-detached": (*out_of_python, *is_asked, look),
        "at_last-cpu-rests": (*begun, used(1, 7), *(look,) * 8),
        "timerless-cpu": (*timerless, ticks, look, ticks, *is_asked, *another),
        "timerless-cpu-another": (refuses, *begun, ticks, look, ticks, *is_asked, *another),
        "timerless-wall": (refuses, (START, WALL | SINK), born, look, *is_asked, look, *another),
        "at_last-cpu": (*begun, used(1, 7), stop, *kept, stop, *begun, half),
        "at_last-cpu-asked": (*asked, waits, stop, *asked, look, used(1, 3)),
        "at_last-cpu-paused": (*kept, (FORK, PAUSE), ticks, (NAMES, 0), (NAMES, 0)),
        "busy-cpu": (*kept, runs, stop, *asked, look, runs, stop, *begun),
        "detached-cpu": (*kept, dies, look, born, *asked[2:], (CHANGE, 1 | UNBOUND), look),
        "bounds-cpu": (*asked, (CHANGE, 1 | STRAY_ENTRY), answers, ticks, look),
        "fault-cpu": (*asked, (CHANGE, 1 | UNREADABLE), answers, ticks, look),
        "ring_full-cpu": (refuses, *undrained, *(ticks, look) * 60),
    }


def interval_scenes(name, mode):
    """At unusual intervals, until the stop: a thread stands, runs, and is found late."""
    look, answers, runs = (LOOK, 0), (TICK, 1), (TICK, 1 | RUNS)
    nearly = (TICK, 1 | RUNS | NEARLY)
    rest = (answers, look, nearly, look, look, answers, (BIRTH, 2), look)
    soon = (used(1, 7), look, look)  # a twentieth of the longest is left then
    late = (look, used(2, 31), (LOOK, 3), used(1, 30), runs, look, (TICK, 1 | SLOW), look)
    for interval, bits in INTERVALS.items():
        start = (START, mode | SINK | bits)
        begun = (start, (BIRTH, 1), look, used(1, 1), look, used(1, 31), look)
        yield f"captured-{name}-{interval}", (*begun, *soon, *rest, *late)


def pause_scenes(name, mode):
    """Until the stop."""
    begun = ((START, mode | SINK), (BIRTH, 1), (LOOK, 0), (TICK, 1))
    taken, found = (TAKE_SIGNAL, SEGV | TOLD), (BIRTH, 2)
    paused = ((FORK, PAUSE), used(1, 3), (TICK, 1), found, used(2, 9), taken, (LOOK, 0))
    ran = ((FORK, RESUME), (LOOK, 0), used(1, 2), (LOOK, 0))
    forks = ((FORK, PAUSE | RESUME), *ran, (FORK, PAUSE | IN_CHILD | RESUME))
    return {
        f"resumed-{name}": (*begun, *paused, *ran),
        f"resumed-{name}-fork": (*begun, *forks, *begun),
        f"resumed-{name}-start": ((FORK, PAUSE), *begun, used(1, 4), (FORK, PAUSE), *ran, *ran),
        f"resumed-{name}-stop": (*begun, *paused, (STOP, 0), *begun, (FORK, RESUME), (LOOK, 0)),
    }


MODES = {"periodic": CPU, "wall": WALL, "cpu": CPU | FINE}


def monitored_seeds():
    pauses = [pause_scenes(name, mode) for name, mode in MODES.items()]
    unusual = [dict(interval_scenes(name, mode)) for name, mode in MODES.items()]
    for scenes in (monitored_scenes(), *pauses, *unusual):
        for name, scene in scenes.items():
            yield name, session(*scene, (STOP, 0))
    whole = (
        (START, CPU | FINE | SINK), (BIRTH, 1), (LOOK, 0), (CHANGE, DETACHED), used(0, 4),
        used(1, 4), (TICK, 1 | RUNS), (LOOK, 0), (TICK, 1), used(1, 2), (FORK, PAUSE), used(1, 2),
        (FORK, RESUME), (LOOK, 0), (STOP, 0),
    )  # fmt: skip
    for number in range(FAILING_CALLS):
        once, for_good, none = (FAULT, number, 1), (FAULT, number, 0x80), (FAULT, FAILING_CALLS, 0)
        yield f"captured-cpu-fault_{number}", session(once, *whole, for_good, *whole, none, *whole)


def unplaced_seeds():
    """Threads whose C stack is not found when they are, and perhaps later."""
    hidden, there = (REFUSE, MAPS), (REFUSE, 0)
    look, late, stop = (LOOK, 0), (LOOK, A_SECOND), (STOP, 0)
    wall, fine = (START, WALL | SINK), (START, CPU | FINE | SINK)
    born, runs = (BIRTH, 1), (TICK, 1 | RUNS)
    second, half = (used(NOBODY, 31),) * 13, used(1, 2)
    pause, resume = (FORK, PAUSE), (FORK, RESUME)
    timerless, in_vain = (REFUSE, MAPS | TIMERS), ((TICK, 1 | RUNS | FOR_LONG), look)
    scenes = {
        "stack_unknown-wall": (hidden, wall, born, look, look),
        "stack_unknown-wall-answers": (hidden, wall, born, look, runs, look, (TICK, 1), look),
        "stack_unknown-wall-in_vain": (hidden, wall, born, look, runs, look, *in_vain * 3),
        "stack_unknown-wall-pause": (hidden, wall, born, look, pause, there, *second, resume, look),
        "stack_unknown-timerless": (timerless, fine, born, look, half, runs, look, half, look),
        "sought-wall": (hidden, wall, born, look, late, late, look),
        "placed-wall": (hidden, wall, born, look, there, late, look, look, late),
        "placed-wall-kinds": (hidden, wall, (BIRTH, 1 | STRAY_ENTRY), look, there, late, look, look),
        "placed-timerless": (timerless, fine, born, look, there, half, late, half, late, half, look),
        "placed-no_entry": (
            (CHANGE, EMPTY), hidden, fine, (BIRTH, 1 | DETACHED), look, there, half, late, *(half, look) * 2,
        ),
    }  # fmt: skip
    for name, scene in scenes.items():
        yield name, session(*scene, stop)


def stateless_seeds():
    """Threads of C code, which have a state for each call into Python."""
    gives, takes, look, stop, dies = (CHANGE, 1 | STATE), (CHANGE, 1 | STATE), (LOOK, 0), (STOP, 0), (DEATH, 1)
    takes_detached, takes_unbound = (CHANGE, 1 | STATE | DETACHED), (CHANGE, 1 | STATE | UNBOUND)
    tick, runs, ticks, heir = (TICK, 1), (TICK, 1 | RUNS), used(1, 2), (BIRTH, 5)
    unplaced, drain = (REFUSE, MAPS), (DRAIN, 0)
    timerless = (REFUSE, TIMERS)
    seen = {
        "periodic": (tick,),
        "wall": (look, runs, look, tick),
        "cpu": (ticks, runs, look, tick, ticks, look, (LOOK, A_SECOND)),
    }
    for name, mode in MODES.items():
        begun, sees = ((START, mode | SINK), (BIRTH, 1), look), seen[name]
        scenes = {
            f"without_a_state-{name}": (*begun, *sees, gives, *sees, look, *sees, takes, *sees, look, *sees),
            f"without_a_state-{name}-calls": (*begun, *(gives, takes, *sees) * 3, gives, *sees, dies, look),
            f"without_a_state-{name}-detached": (*begun, gives, *sees, takes_detached, *sees, gives, *sees),
            f"without_a_state-{name}-unbound": (*begun, gives, takes_unbound, *sees, look, (CHANGE, 1), *sees),
            f"without_a_state-{name}-main": ((START, mode), (CHANGE, STATE), (TICK, 0), *begun[1:], gives, *sees, stop),
            f"without_a_state-{name}-start": ((BIRTH, 1), gives, *begun, *sees, takes, look, *sees, gives, *sees),
            f"without_a_state-{name}-heir": (*begun, gives, *sees, dies, heir, *sees, look, *sees),
            f"without_a_state-{name}-heirs_state": (*begun, gives, *sees, dies, (BIRTH, 5 | UNBOUND), look, *sees),
            f"without_a_state-{name}-unplaced": (unplaced, *begun, gives, *sees, takes, *sees),
            f"without_a_state-{name}-fork": (*begun, gives, *sees, (FORK, IN_CHILD), *begun, gives, *sees),
            f"without_a_state-{name}-timerless": (timerless, *begun, gives, *sees, look, takes, *sees),
        }
        for scene_name, scene in scenes.items():
            yield scene_name, session(*scene, stop, drain)
    running = ((TICK, 1 | RUNS_LATE), look, ticks) * 3  # the first reading of its clock is that of the list's reader
    fine = ((START, CPU | FINE | SINK), (BIRTH, 1), look, ticks)
    yield "no_thread_state-timerless", session(timerless, *fine, gives, *running, stop)
    yield "ring_full-without_a_state", session((START, CPU), (CHANGE, STATE), *((TICK, 0),) * 120, stop)


def session_seeds():
    whole = (
        (START, CPU | SINK), (BIRTH, 1), (LOOK, 0), (TICK, 0), (TICK, 1 | OVERRUN), (CODE_DIED, 0), (TICK, 1 | BLOCKED),
        (LOOK, 0), (DEATH, 1), (LOOK, 0), (DRAIN, 0), (STOP, 0), (NAMES, 0),
    )  # fmt: skip
    yield "captured", session(*whole)
    yield "captured-drain", session((START, CPU), *whole[1:], (DRAIN, 0))
    yield "captured-wall", session((BIRTH, 2), (START, WALL), (LOOK, 0), (LOOK, 3), (STOP, 0), (DRAIN, 0), *whole)
    faults_taken = (TAKE_SIGNAL, SEGV | TOLD)
    yield "captured-wall-neighbour", session((START, WALL), faults_taken, (LOOK, 0), (STOP, 0), (DRAIN, 0))
    runs, answers, looks = (TICK, 1 | HELD), (TICK, 1), ((LOOK, 0), (LOOK, 0))
    begun = ((START, WALL | SINK), (BIRTH, 1), (LOOK, 0))
    yield "captured-asked", session(*begun, runs, (LOOK, 0), answers, (LOOK, 0), runs, (LOOK, 1), answers, (STOP, 0))
    yield "captured-asked-blocked", session(*begun, runs, (LOOK, 0), (TICK, 1 | BLOCKED), (LOOK, 0), (STOP, 0))
    yield "captured-asked-stands", session(*begun, runs, (LOOK, 0), *looks, answers, (STOP, 0))
    yield "captured-unasked", session(*begun, (TICK, 1 | HELD | SLOW), (LOOK, 0), runs, *looks, answers, (STOP, 0))
    yield "busy-asked", session(*begun, runs, (LOOK, 0), (STOP, 0), *begun, (STOP, 0))
    yield "detached-asked", session(*begun, runs, (LOOK, 0), (DEATH, 1), (LOOK, 0), (STOP, 0))
    yield "detached-ended", session(*begun, runs, (LOOK, 0), (DEATH, 1 | 8), (LOOK, 0), (STOP, 0))
    yield "captured-fork", session(*whole[:4], (FORK, 0), (TICK, 0), (FORK, 1), (NAMES, 0), *whole)
    ticks_taken = (TAKE_SIGNAL, PROF | TOLD)
    yield "captured-neighbour", session(*whole[:3], faults_taken, (TICK, 0), ticks_taken, *whole[3:])
    yield "captured-neighbour_bus", session(*whole[:3], (TAKE_SIGNAL, BUS | TOLD), (TICK, 0), (SEND, BUS), *whole[3:])
    for name, scene in OWNERS.items():
        outcome = "captured" if "observe" in scene else "passed_on"
        for way, bits in WAYS.items():
            yield f"{outcome}-{name}-{way}", session(*owners(scene, bits))
    yield "captured-refused", session(*((START, 0x80 | wrong << 2 | CPU) for wrong in range(8)), *whole)
    for number in range(FAILING_CALLS):
        yield (
            f"captured-fault_{number}",
            session((FAULT, number, 1), *whole, (FAULT, number, 0x80), *whole, (FAULT, FAILING_CALLS, 0), *whole),
        )
    for kind, name in ((STRAY_ENTRY, "bounds"), (UNREADABLE, "fault"), (UNBOUND, "without_a_state")):
        for mode, suffix in ((CPU, ""), (WALL, "-wall")):
            yield name + suffix, session((START, mode), (CHANGE, kind), (TICK, 0), (LOOK, 0), (STOP, 0))
    kinds = ((CHANGE, EMPTY), (TICK, 0), (CHANGE, DETACHED), (TICK, 0))
    yield "captured-kinds", session((START, CPU | SINK), *kinds, (STOP, 0))
    yield "no_thread_state", session((START, CPU), (LOOK, 0), (BIRTH, 1), (PASS, 1 | 24), (LOOK, 3), (STOP, 0))
    yield "no_thread_state-late", session(*whole[:3], (TICK, 1 | HELD), (DEATH, 1), (LOOK, 0), (LATE, 0), (STOP, 0))
    yield "ring_full", session((START, CPU), *((TICK, 0),) * 60, (DRAIN, 0), (TICK, 0), (STOP, 0))
    slow = (TICK, SLOW | OVERRUN)
    ticks = (slow, (TICK, OVERRUN), (PASS, 56), (TICK, 0), (PASS, 8), (TICK, 0), slow, (PASS, 64), (TICK, BLOCKED))
    yield "throttled", session((START, CPU), *ticks, (STOP, 0), (START, CPU), (TICK, 0), (STOP, 0))
    yield "busy", session((START, CPU), (TICK, HELD), (STOP, 0), (LATE, 0))
    yield from monitored_seeds()
    yield from unplaced_seeds()
    yield from stateless_seeds()


def location(first_line, *entries, instruction=7):
    return struct.pack("<iI", first_line, instruction) + b"".join(entries)


EVERY_FORM = (
    recording.entry(0, 2, 5), recording.entry(9, 1, 5), recording.entry(10, 1, 1, 2), recording.entry(11, 1, 1, 2),
    recording.entry(12, 1, 1, 2), recording.entry(13, 8, 6), recording.entry(14, 1, 7, 0, 1, 1), recording.entry(15, 3),
    recording.entry(13, 1, 64 | 1, 1),
)  # fmt: skip


def location_seeds():
    entry = recording.entry
    yield "none", location(1)
    yield "none-no_entry", location(1, b"\x0d\x00", entry(0, 1, 5))
    yield "none-cut_number", location(1, entry(13, 2, 64))
    yield "none-long_number", location(1, entry(13, 2, 64, 64, 64, 64, 64, 64, 0))
    yield "none-before_the_first_line", location(1, entry(13, 2, 5))
    yield "line", location(100, *EVERY_FORM)
    yield "line-negative", location(-3, *(entry(12, 1, 1, 2),) * 6)
    yield "line-six_bytes", location(5, entry(13, 1, 64, 64, 64, 64, 64, 0), entry(14, 8, 66, 0, 1, 1))
    yield "line-far", location(1 << 30, entry(13, 1, 65, 2), entry(10, 8, 1, 2), instruction=1 << 31)
    yield "line-cut", location(9, entry(11, 4, 1, 2), entry(14, 1))


def stack(*numbers, thread=0, weight=1, flags=0):
    """Calls, a sample of them, and the way back."""
    calls = b"".join(recording.call(number, instruction) for number, instruction in numbers)
    back = recording.returned(len(numbers)) if numbers else b""
    return calls + recording.sample(thread, weight, flags) + back


def output_seeds():
    text, piece, code, thread = recording.text, recording.piece, recording.code, recording.thread
    two = code(text("f"), text("a.py"), 3) + code(text("C.g"), text("b.py"), 20)
    named = two + thread(11, text("main")) + thread(12, text("t"))
    yield "nothing", recording.operation(recording.INTERVAL, (0, 1))
    yield "captured", named + stack((0, 0), (1, 4)) + stack((0, 2), weight=7) + stack((0, 0), (1, 4), thread=1)
    yield "captured-empty", named + stack() + stack(thread=1, weight=3)
    yield "captured-recursion", named + stack((0, 0), (1, 0), (0, 0), (0, 9)) + stack((1, 0), (1, 0))
    yield "captured-equal_code", two + two + stack((0, 0), (3, 1)) + stack((2, 0), (1, 1))
    yield "captured-equal_threads", two + thread(1, text("t")) + thread(2, text("t")) + stack((0, 0)) + stack(thread=1)
    for number in range(len(recording.INTERVALS)):
        interval = recording.operation(recording.INTERVAL, (number | number % 2 << 7, 1))
        yield f"captured-interval_{number}", interval + named + stack((0, 0), (1, 4)) + stack((1, 0), weight=1 << 31)
    for number in range(len(recording.PIECES)):
        hostile = code(piece(number), text("a.py")) + code(text("f"), piece(number)) + thread(1, piece(number))
        yield f"captured-piece_{number:02}", hostile + stack((0, 0), (1, 0)) + recording.loss(1, 2)
    for name, flags in (("detached", 1), ("truncated", 2), ("detached-truncated", 3)):
        yield name, named + stack((0, 0), (1, 4), flags=flags) + stack(thread=1, flags=flags)
    yield "lost", named + b"".join(recording.loss(number, 1 + number) for number in range(len(recording.LOSSES)))
    yield "lost-and_captured", named + stack((1, 0)) + recording.loss(0, 1 << 20)
    yield "nameless", recording.operation(recording.NAMELESS) + named + stack((0, 5), (1, 0))
    entry = recording.entry
    lines = b"".join(stack((0, instruction)) for instruction in range(20))
    yield "line", code(text("f"), text("a.py"), 100, b"".join(EVERY_FORM)) + lines
    yield "line-far", code(text("f"), text("a.py"), -5, entry(13, 1, 64 | 62, 127, 127, 127, 127, 3) * 3) + lines
    yield "line-cut", code(text("f"), text("a.py"), 1, entry(0, 2, 5) + entry(13, 2, 64)) + lines
    yield "captured-no_line", code(text("f"), text("a.py"), 1, b"\x0d") + code(text("g"), text(""), 0, b"") + lines
    # Where an escape gets another digit.
    for number in (0x100, 0xFF, 0x2FF, 0x378, 0xFFFF, 0x10FFFF):
        yield f"captured-point_{number:x}", code(text(chr(number)), text("a.py")) + stack((0, 0))
    long = text("a.py") + recording.operation(recording.REPEAT, (70, 1))
    yield "captured-long", code(long, long) + thread(1, long) + stack((0, 0))
    # A megabyte of what becomes longer the more it is escaped, as the name of each thing that has one.
    megabyte = recording.operation(recording.MANY, (recording.MEGABYTE, 3))
    for name, character in (
        ("a", "a"),
        ("semicolon", ";"),
        ("surrogate", "\ud800"),
        ("line_end", "\n"),
        ("quote", '"'),
    ):
        yield f"megabyte-{name}", code(text(character) + megabyte, text("a.py")) + stack((0, 0))
    yield "megabyte-file", code(text("f"), text("\\") + megabyte) + stack((0, 0))
    yield "megabyte-thread", two + thread(1, text("[") + megabyte) + stack((0, 0))


SEEDS = {
    "walk": walk_seeds,
    "layout": layout_seeds,
    "ring": ring_seeds,
    "session": session_seeds,
    "location": location_seeds,
    "output": output_seeds,
}


def main():
    for target, seeds in SEEDS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()

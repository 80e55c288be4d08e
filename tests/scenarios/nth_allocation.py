"""The n-th allocation of the interpreter fails, once, for each n: at the start of a session, at its stop, and as its profile
is saved: `nth_allocation.py LIBRARY FOLDER`. LIBRARY is tests/native/nomemory.c.
"""

import ctypes
import os
import sys
from pathlib import Path

import spprof
from scenario import result

MOST = 20_000  # allocations: none of the three takes so many
nomemory = ctypes.PyDLL(sys.argv[1])
nomemory.nomemory_at.argtypes = [ctypes.c_ulong]
folder = Path(sys.argv[2])
saved = folder / "profile.json"
found = {"start": 0, "stop": 0, "save": 0}
wrong = []


def none_fails():
    """From now on. Whether the one that was to fail is still to come; it may be one of this call."""
    try:
        return bool(nomemory.nomemory_at(0))
    except (MemoryError, ctypes.ArgumentError):
        nomemory.nomemory_at(0)
        return True


def until_all_hold(name, function, after):
    """Calls the function with each of its allocations failing in turn. `after` is told whether it was MemoryError."""
    for nth in range(1, MOST):
        failed = False
        nomemory.nomemory_at(nth)
        try:
            function()
        except MemoryError:
            failed = True
        except Exception as error:  # noqa: BLE001 - whatever else it is
            none_fails()
            wrong.append(f"{name}, allocation {nth}: {error!r}")
        is_over = none_fails()
        after(failed)
        found[name] += failed
        if is_over:
            return
    wrong.append(f"{name}: there is no end of allocations")


def work():
    captured = spprof.stats()["captured"]
    while spprof.stats()["captured"] < captured + 3:
        sum(range(300))


def expect(condition, what):
    if not condition:
        wrong.append(what)


def stopped_at_last(failed):
    """After a start: whether there is a session is what it said."""
    if spprof.is_active():
        expect(not failed, "a start failed, and there is a session")
        spprof.stop()


def begun():
    spprof.start(interval_ms=0.1)


profiles = [None]


def ended():
    profiles[0] = spprof.stop()


def had_at_last(failed):
    """After a stop: the profile is there, now or when it is asked for again."""
    expect(not spprof.is_active(), "a stop left a session")
    profile = spprof.stop() if failed else profiles[0]
    profiles[0] = None
    kept = sum(sample.weight for sample in profile)
    expect(kept == profile.stats["captured"] >= 3, f"{kept} ticks of {profile.stats['captured']} were kept")
    expect(bool(profile.threads) and profile.threads[0].native_id == os.getpid(), "the thread is not known")
    begun()
    work()


assert nomemory.nomemory_begin()
until_all_hold("start", begun, stopped_at_last)
begun()
work()
until_all_hold("stop", ended, had_at_last)
profile = spprof.stop()
profile.save(saved)
whole = saved.read_bytes()


def whole_at_last(failed):
    """After a save: the file is whole, and nothing is beside it."""
    expect(saved.read_bytes() == whole, "the file was not left whole")
    expect(os.listdir(folder) == [saved.name], f"left: {os.listdir(folder)}")


until_all_hold("save", lambda: profile.save(saved), whole_at_last)
result(found=found, wrong=wrong[:10])

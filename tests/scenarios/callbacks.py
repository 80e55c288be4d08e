"""Foreign code inside spprof.start() and stop() that calls spprof: `callbacks.py WAY CALL THREAD`.

WAY is what runs it: "audit" an audit hook, at each event; "trace" a trace function, at each line of the
package's own Python code, which is where a signal handler or a finalizer may run too. It makes one CALL
("start", "stop", "stats" or "end", a block's end), on the "same" THREAD or on "another" that it waits for.
"""

import os
import sys
import threading

import spprof
from scenario import result

ROUNDS = 10
PACKAGE = os.path.dirname(spprof.__file__)
CALLS = {
    "start": spprof.start,
    "stop": spprof.stop,
    "stats": spprof.stats,
    "end": lambda: profiler.__exit__(*[None] * 3),
}
way, call, where = sys.argv[1:]
inside = False  # whether the main thread is in start() or stop(), and not in foreign code
runs = heard = 0  # foreign code inside, and events of an audit hook anywhere
odd = []


def attempt():
    try:
        CALLS[call]()
    except RuntimeError as error:
        if "active" not in str(error):
            odd.append(repr(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        odd.append(repr(error))


def foreign_code():
    global inside, runs
    if not inside or threading.current_thread() is not threading.main_thread():
        return
    inside = False
    runs += 1
    if where == "another":
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    else:
        attempt()
    inside = True


def trace(frame, event, _):
    if not frame.f_code.co_filename.startswith(PACKAGE):
        return None
    foreign_code()
    return trace


def watched(function, *arguments):
    """The function's value, or None where foreign code was first and it was refused."""
    global inside
    inside = True
    try:
        return function(*arguments)
    except RuntimeError as error:
        if "active" not in str(error):
            odd.append(repr(error))
        return None
    finally:
        inside = False


def hear(*_):
    global heard
    heard += 1
    foreign_code()


if way == "audit":
    sys.addaudithook(hear)
else:
    sys.settrace(trace)
profiles = []
for _ in range(ROUNDS):
    profiler = spprof.Profiler(interval_ms=1)
    watched(profiler.__enter__)
    watched(profiler.__exit__, None, None, None)
    watched(spprof.start)
    profiles.append(watched(spprof.stop))
    if spprof.is_active():  # the foreign code's
        profiles.append(spprof.stop())
sys.settrace(None)
spprof.start()
profiles.append(spprof.stop())
stats = [profile.stats for profile in profiles if profile is not None]
result(
    runs=runs,
    heard=heard,
    odd=odd,
    active=spprof.is_active(),
    profiles=len(stats),
    lawful=all(one["ticks"] == one["captured"] + sum(one["dropped"].values()) for one in stats),
)

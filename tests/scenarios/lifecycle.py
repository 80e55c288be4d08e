"""Start and stop, again and again, with threads running: `lifecycle.py CYCLES`."""

import signal
import sys
import time

import observe
import spprof
import work
from scenario import result

cycles = int(sys.argv[1])
laws = captured = 0
second_start = None


def keeps_law(stats):
    return stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())


with work.Crew(work.KINDS[:4]) as crew:
    before = (observe.native_threads(), observe.open_files())
    timers_during = 0
    for cycle in range(cycles):
        spprof.start(interval_ms=0.1 if cycle % 2 else 1)
        timers_during = max(timers_during, observe.profile_timers())
        if cycle % 10 == 0:
            time.sleep(0.005)
        if second_start is None:
            try:
                spprof.start()
            except RuntimeError as error:
                second_start = str(error)
        laws += keeps_law(spprof.stats())
        stats = spprof.stop().stats
        laws += keeps_law(stats)
        captured += stats["captured"]
    after = (observe.native_threads(), observe.open_files())
    timers = observe.profile_timers()

    # A tick that came now would reach this handler: spprof's own hands on nothing of ours.
    arrived = []
    signal.signal(spprof.signal_number(), lambda *_: arrived.append(1))
    limit = time.process_time() + 0.5
    while time.process_time() < limit:
        sum(range(1000))

try:
    spprof.stop()
except RuntimeError as error:
    idle_stop = str(error)

result(
    laws=laws,
    captured=captured,
    second_start=second_start,
    idle_stop=idle_stop,
    timers_during=timers_during,
    timers=timers,
    arrived=len(arrived),
    threads=[before[0], after[0]],
    files=[before[1], after[1]],
    rounds=crew.rounds,
)

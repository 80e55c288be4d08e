"""How many stacks busy threads have in a second of their CPU time, and what of their work a session takes:
`pace.py THREADS MODE INTERVAL_MS TURNS`.

Turns with and without a session follow each other, 0.2 s each; `work` is the median change of the rounds done in a second,
and `work_error` its standard error. A measure, for a machine with nothing else to do: no test runs it.
"""

import statistics
import sys
import threading
import time

import spprof
from scenario import result

TURN = 0.2  # seconds
count, mode, interval, turns = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
over = False
rounds = [0] * count


def leaf():
    total = 0
    for number in range(200):
        total += number * number % 7
    return total


def busy(number):
    while not over:
        leaf()
        rounds[number] += 1


threads = [threading.Thread(target=busy, args=(number,), name="busy") for number in range(count)]
for thread in threads:
    thread.start()
clocks = [time.pthread_getcpuclockid(thread.ident) for thread in threads]


def used():
    return sum(time.clock_gettime(clock) for clock in clocks)


def turn():
    """(rounds a second, CPU seconds)"""
    done, cpu, began = sum(rounds), used(), time.monotonic()
    time.sleep(TURN)
    return (sum(rounds) - done) / (time.monotonic() - began), used() - cpu


stacks = ticks = lost = cpu = 0
changes = []
for _ in range(turns):
    before, _ = turn()
    spprof.start(interval_ms=interval, mode=mode)
    beside, seconds = turn()
    profile = spprof.stop()
    after, _ = turn()
    changes.append(2 * beside / (before + after) - 1)
    cpu += seconds
    stacks += sum(sample.thread.name == "busy" for sample in profile)
    ticks += profile.stats["ticks"]
    lost += profile.stats["ticks"] - profile.stats["captured"]
over = True
for thread in threads:
    thread.join()
error = 1.25 * statistics.stdev(changes) / turns**0.5
result(stacks_a_second=stacks / cpu, ticks=ticks, lost=lost, work=statistics.median(changes), work_error=error)

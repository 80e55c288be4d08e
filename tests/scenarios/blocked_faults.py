"""Fault signals that are sent to the process while its threads block them: `blocked_faults.py MODE ROUNDS`.

The main thread waits for one with sigwait, and does without one for a while and then handles it.
"""

import os
import signal
import sys
import time

import spprof
from scenario import result

mode, rounds = sys.argv[1], int(sys.argv[2])
calls = []
waited = []


def count(number, _):
    calls.append(number)


def wait_for(number):
    os.kill(os.getpid(), number)
    time.sleep(0.002)
    waited.append(int(signal.sigwait({number})))


def do_without(number):
    """What the handler counted until it was let through, and then."""
    before = len(calls)
    os.kill(os.getpid(), number)
    time.sleep(0.002)
    early = len(calls) - before
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    return early, len(calls) - before


faults = (signal.SIGSEGV, signal.SIGBUS)
for number in faults:
    signal.signal(number, count)
signal.pthread_sigmask(signal.SIG_BLOCK, faults)
spprof.start(interval_ms=1, mode=mode)
found = []
for _ in range(rounds):
    for number in faults:
        wait_for(number)
        found.append(do_without(number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, faults)


def unguarded_of(ticks):
    """Of the next ticks at least."""
    before = spprof.stats()
    while spprof.stats()["ticks"] < before["ticks"] + ticks:
        sum(range(10_000))
    return spprof.stats()["unguarded_ticks"] - before["unguarded_ticks"]


until = time.monotonic() + 60
while (unguarded := unguarded_of(20)) and time.monotonic() < until:
    pass
profile = spprof.stop()
result(unguarded=unguarded, waited=waited, calls=sorted(set(found)), stats=profile.stats)

"""Forks without a pause while a session is active: `fork_storm.py MODE WAY FORKS`.

WAY "alone" forks from the main thread of a program that has no other, and records the warnings; "busy" from the main
thread beside threads that work; "two" from two threads at once beside them; "stops" from one thread while the main one
stops sessions and starts new ones.
"""

import os
import sys
import threading
import time
import warnings

import observe
import spprof
import work
from scenario import result

ROUNDS = 200  # of each worker after the forks: CPU time for dozens of ticks
mode, way, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
statuses = []
messages = []


def fork(number):
    child = os.fork()
    if child == 0:
        os._exit(3 if spprof.is_active() else 0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def fork_again_and_again(times):
    for number in range(times):
        fork(number)


def in_threads(*functions):
    threads = [threading.Thread(target=function, args=(forks,)) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def restart_until_over(threads):
    """Profiles of sessions that the forks began, lived through, or ended in."""
    while any(thread.is_alive() for thread in threads):
        yield spprof.stop()
        spprof.start(interval_ms=1, mode=mode)


def lawful(profile):
    stats = profile.stats
    return stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    crew = work.Crew([] if way == "alone" else work.KINDS[:3])
    spprof.start(interval_ms=1, mode=mode)
    profiles = []
    with crew:
        if way in ("alone", "busy"):
            fork_again_and_again(forks)
        else:
            forking = in_threads(*[fork_again_and_again] * (2 if way == "two" else 1))
            if way == "stops":
                profiles += restart_until_over(forking)
            for thread in forking:
                thread.join()
        rounds = list(crew.rounds)
        while any(now < before + ROUNDS for now, before in zip(crew.rounds, rounds, strict=True)):
            time.sleep(0.01)
        profiles.append(spprof.stop())
names = {sample.thread.name for sample in profiles[-1]}
result(
    statuses=statuses,
    messages=[str(warning.message) for warning in caught],
    profiles=len(profiles),
    lawful=all(map(lawful, profiles)),
    lost=[thread.name for thread in crew.threads if thread.name not in names],
    timers=observe.profile_timers(),
    threads=observe.native_threads(),
)

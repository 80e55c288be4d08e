"""Threads that can have no timer, and so cannot be asked to look at themselves: `untimed.py MODE TICKS`."""

import resource
import sys

import spprof
import work
from scenario import result

mode, ticks = sys.argv[1], int(sys.argv[2])
spprof.start(interval_ms=1, mode=mode)
soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, hard))
with work.Crew() as crew:
    work.wait_for_ticks(ticks)
profile = spprof.stop()
shown = {}
for sample in profile:
    shown[sample.thread.name] = shown.get(sample.thread.name, 0) + sample.weight
result(stats=profile.stats, shown=shown, rounds=crew.rounds, hot=len(work.HOT))

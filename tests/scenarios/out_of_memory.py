"""Memory runs out in the midst of a session, as at a container's limit, and there is some again before it ends:
`out_of_memory.py MODE`."""

import resource
import sys
import threading

import spprof
from scenario import result

WAITING = 40


def limit(room):
    """At most so many bytes more than now; None: as many as before."""
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (most if room is None else size + room, most))


def until(condition):
    """Works meanwhile."""
    while not condition():
        sum(range(500))


event = threading.Event()
threads = [threading.Thread(target=event.wait) for _ in range(WAITING)]
for thread in threads:
    thread.start()
spprof.start(interval_ms=0.2, mode=sys.argv[1])
until(lambda: spprof.stats()["captured"] >= 20_000 if sys.argv[1] == "wall" else spprof.stats()["captured"] >= 500)
limit(1 << 20)
until(lambda: spprof.stats()["dropped"]["no_memory"] >= 1000)
limit(None)
captured = spprof.stats()["captured"]
until(lambda: spprof.stats()["captured"] >= captured + 500)
event.set()
for thread in threads:
    thread.join()
profile = spprof.stop()
result(kept=sum(sample.weight for sample in profile), samples=sum(1 for _ in profile), stats=profile.stats)
if len(sys.argv) > 2:
    sys.exit(int(sys.argv[2]))

"""Forty threads that get no timer, in two batches, the second of which gets them later."""

import resource
import threading
import time

import spprof
from scenario import result

BATCH = 20
LIMIT = 60  # seconds; ends a wait for what never comes


def wait_until(condition):
    until = time.monotonic() + LIMIT
    while not condition() and time.monotonic() < until:
        time.sleep(0.002)


def batch():
    """Threads that do nothing until they are let go."""
    go = threading.Event()
    threads = [threading.Thread(target=go.wait) for _ in range(BATCH)]
    for thread in threads:
        thread.start()

    def end():
        go.set()
        for thread in threads:
            thread.join()

    return end


def refused():
    return spprof.stats()["threads_refused"]


spprof.start(interval_ms=1)
soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, hard))
end = batch()
wait_until(lambda: refused() >= BATCH)
first = refused()
end()
end = batch()
wait_until(lambda: refused() >= 2 * BATCH)
both = refused()
resource.setrlimit(resource.RLIMIT_SIGPENDING, (soft, hard))
wait_until(lambda: spprof.stats()["threads"] > BATCH)
end()
stats = spprof.stop().stats
result(first=first, both=both, threads=stats["threads"], refused=stats["threads_refused"])

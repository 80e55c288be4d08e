"""Where the CPU time of a process goes: `accounts.py LIBRARY THREADS WORK_MS BURN_MS`.

So many threads of Python that work; two more that are born and work while the session has no thread of its own, of which
one has ended before that is back; and two made in C that never meet Python and burn.
"""

import ctypes
import sys
import threading
import time

import spprof
from scenario import result
from spprof import _native

INTERVAL_MS = 1


def work(milliseconds):
    end = time.thread_time() + milliseconds / 1000
    while time.thread_time() < end:
        sum(range(300))


def stay():
    work(work_ms)
    worked.set()
    idle.wait()


worked, idle = threading.Event(), threading.Event()
pool = ctypes.CDLL(sys.argv[1])
count, work_ms, burn_ms = map(int, sys.argv[2:])
spprof.start(interval_ms=INTERVAL_MS)
threads = [threading.Thread(target=work, args=(work_ms,)) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
_native.pause()
ended = threading.Thread(target=work, args=(work_ms,))
ended.start()
ended.join()
late = threading.Thread(target=stay)
late.start()
worked.wait()
_native.resume()
assert pool.pool_burn(ctypes.c_long(burn_ms * 1_000_000))
idle.set()
late.join()
profile = spprof.stop()
result(stats=profile.stats, threads=[thread.cpu_s for thread in profile.threads], unseen=(work_ms + 2 * burn_ms) / 1000)

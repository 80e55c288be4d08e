"""Two threads made in C that call Python: `pool.py LIBRARY MODE WAY CALLS PYTHON_US SPIN_US PAUSE_US`.

WAY is `callback` (ctypes makes a thread state for each call) or `state` (the library makes it). Between two calls a
thread has no state; it spins, and then sleeps.
"""

import ctypes
import sys
import threading
import time

import spprof
from scenario import result

INTERVAL_MS = 5


class Work(ctypes.Structure):
    _fields_ = [
        ("callback", ctypes.CFUNCTYPE(None)),
        ("function", ctypes.py_object),
        ("calls", ctypes.c_int),
        ("spin", ctypes.c_long),
        ("pause", ctypes.c_long),
        ("lived", ctypes.c_long),
    ]


path, mode, way = sys.argv[1:4]
calls, python_us, spin_us, pause_us = map(int, sys.argv[4:])


def job():
    end = time.thread_time() + python_us / 1e6
    while time.thread_time() < end:
        pass


work = Work(function=job, calls=calls, spin=1000 * spin_us, pause=1000 * pause_us)
if way == "callback":
    work.callback = type(work.callback)(job)
pool = ctypes.CDLL(path)
began = time.process_time()
spprof.start(interval_ms=INTERVAL_MS, mode=mode)
assert pool.pool_run(ctypes.byref(work))
profile = spprof.stop()
used = time.process_time() - began
weights = {}  # of each thread: in the job, without a frame, in all
for sample in profile:
    weight = weights.setdefault(sample.thread.native_id, [0, 0, 0])
    weight[0] += sample.weight * any(frame.name == "job" for frame in sample.stack)
    weight[1] += sample.weight * (not sample.stack)
    weight[2] += sample.weight
weights.pop(threading.main_thread().native_id, None)
result(
    stats=profile.stats,
    due=used * 1000 / INTERVAL_MS,  # CPU time of the process
    lived=work.lived / 1e6 / INTERVAL_MS,  # of the pool's threads
    ids=sorted({thread.native_id for thread in profile.threads}),
    pool=list(weights.values()),
)

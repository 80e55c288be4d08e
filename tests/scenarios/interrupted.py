"""Waits in C code that does not restart them: how many of them a session ends early. `interrupted.py MODE SECONDS`.

MODE is cpu, wall, or none for no session. Two threads wait for a millisecond again and again, one of them working in
between; a third works all the time.
"""

import ctypes
import errno
import sys
import threading
import time

import spprof
from scenario import result

libc = ctypes.CDLL(None, use_errno=True)  # its calls let go of the interpreter
over = threading.Event()
waits, ended_early = [0, 0], [0, 0]


def wait(number, work):
    while not over.is_set():
        waits[number] += 1
        if libc.poll(None, ctypes.c_ulong(0), 1) < 0 and ctypes.get_errno() == errno.EINTR:
            ended_early[number] += 1
        sum(range(work))


def busy():
    while not over.is_set():
        sum(range(1000))


mode, seconds = sys.argv[1], float(sys.argv[2])
threads = [threading.Thread(target=wait, args=(0, 0)), threading.Thread(target=wait, args=(1, 20_000))]
threads.append(threading.Thread(target=busy))
if mode != "none":
    spprof.start(interval_ms=1, mode=mode)
for thread in threads:
    thread.start()
time.sleep(seconds)
over.set()
for thread in threads:
    thread.join()
captured = spprof.stop().stats["captured"] if mode != "none" else 0
result(waits=waits, ended_early=ended_early, captured=captured)

"""Memory for the names of threads that come and go while nobody finds them: `thread_crowd.py THREADS`."""

import ctypes
import sys
import threading
import time

import spprof
from scenario import result

NAME = "n" * 4096
MOMENT = 0.2  # seconds after which a thread that was not found will not be found
LIMIT = 60  # seconds, in which they would be forgotten if they ever were
threads = int(sys.argv[1])


class Usage(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Usage


def in_use():
    """Bytes that malloc has given out."""
    usage = libc.mallinfo2()
    return usage.uordblks + usage.hblkhd


def come_and_go(number):
    for _ in range(number):
        thread = threading.Thread(target=int, name=NAME)
        thread.start()
        thread.join()


come_and_go(10)
spprof.start(interval_ms=1000)
before = in_use()
come_and_go(threads)
more = 0
until = time.monotonic() + LIMIT
while in_use() - before > threads * len(NAME) // 4 and time.monotonic() < until:
    threading.Event().wait(MOMENT)
    come_and_go(100)
    more += 100
grown = in_use() - before
found = spprof.stop().stats["threads"]
result(names=(threads + more) * len(NAME), grown=grown, found=found, more=more, after=in_use() - before)

"""CPU time burnt inside C code that has let go of its thread state: `detached.py TICKS`."""

import hashlib
import lzma
import os
import sys
import threading
import zlib

import spprof
import work
from scenario import result

DATA = os.urandom(1 << 16) * 64


def hash_data():
    return hashlib.sha256(DATA).digest()


def compress_data():
    return zlib.compress(DATA[: 1 << 20], 6)


def squeeze_data():
    return lzma.compress(DATA[: 1 << 18], preset=1)


def python_only():
    return sum(index * index for index in range(20_000))


FUNCTIONS = [hash_data, compress_data, squeeze_data, python_only]

over = threading.Event()


def repeat(function):
    while not over.is_set():
        function()


threads = [threading.Thread(target=repeat, args=(function,)) for function in FUNCTIONS]
for thread in threads:
    thread.start()
spprof.start(interval_ms=1)
work.wait_for_ticks(int(sys.argv[1]))
profile = spprof.stop()
over.set()
for thread in threads:
    thread.join()

counts = {function.__name__: {"detached": 0, "attached": 0} for function in FUNCTIONS}
strays = []
for sample in profile:
    inside = [frame.name for frame in sample.stack if frame.name in counts]
    if inside:
        counts[inside[-1]]["detached" if sample.detached else "attached"] += sample.weight
    elif sample.detached and sample.stack[0].name != "<module>":  # the main thread sleeps between its questions
        strays.append([frame.name for frame in sample.stack])
result(stats=profile.stats, counts=counts, strays=strays)

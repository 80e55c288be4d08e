"""Functions that are compiled, run and freed while they are sampled: `names.py FUNCTIONS SECONDS INTERVAL_NS`, at least that
many, and for at least that much CPU time.

Each function has a name, a file and a first line of its own, and the program notes when it ran. A sample that names it
must have been taken then, on the thread that ran it. Collecting garbage often makes the allocator use the addresses of
dead code objects again.
"""

import gc
import sys
import threading
import time

import spprof
from scenario import result
from spprof import _native, records

THREADS = 4
WORK = """
def function_{number}(again):
    total = 0
    for index in range(1200):
        total += index * index
    return again() if again else total
"""


def compile_function(number):
    code = compile("\n" * (number % 5000) + WORK.format(number=number), f"file_{number}", "exec")
    space = {}
    exec(code, space)
    return space[f"function_{number}"]


def run_functions(first, total, seconds, runs, addresses):
    """Every THREADS-th function, from the first."""
    number = first
    while number < total or time.thread_time() < seconds:
        function = compile_function(number)
        began = time.monotonic_ns()
        function(None)
        runs[number] = (began, time.monotonic_ns(), threading.get_native_id())
        addresses.append(id(function.__code__))
        del function
        if number % 25 == 0:
            gc.collect()
        number += THREADS


def names_agree(name, filename, line, first_line, number):
    first = 2 + number % 5000
    return filename == f"file_{number}" and first_line == first and first <= line <= first + 4


total, seconds, interval = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
runs = {}
addresses = [[] for _ in range(THREADS)]
threads = [
    threading.Thread(target=run_functions, args=(index, total, seconds / THREADS, runs, addresses[index]))
    for index in range(THREADS)
]
_native.start(interval, 64, 0, 1 << 30, 0, None, None, None, (b"", 0, 0, 0))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
raw = _native.stop().profile()
found_threads = records.name_threads(raw["threads"], {}, "")
profile = spprof.Profile(raw, mode="cpu", interval_ms=interval / 1e6, threads=found_threads)

right, wrong = 0, []
for sample in profile:
    taken = raw["started_ns"] + sample.time_ns
    for frame in sample.stack:
        if not frame.name.startswith("function_"):
            continue
        number = int(frame.name.removeprefix("function_"))
        began, ended, tid = runs[number]
        here = began <= taken <= ended and tid == sample.thread.native_id
        if here and names_agree(frame.name, frame.filename, frame.line, frame.first_line, number):
            right += 1
        else:
            wrong.append([frame.name, frame.filename, frame.line, frame.first_line, began, taken, ended])
used_again = sum(len(a) for a in addresses) - len({address for a in addresses for address in a})
unknown = sum(1 for sample in profile for frame in sample.stack if frame.name == "[unknown]")
result(
    ran=len(runs),
    right=right,
    wrong=wrong[:20],
    wrong_count=len(wrong),
    used_again=used_again,
    unknown=unknown,
    stats=raw["stats"],
)

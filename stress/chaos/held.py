"""What a process holds: timers, threads, open files, memory. And what of it has leaked."""

import ctypes
import gc
import os
import sys
import time

# More than this at the end than after the warm-up is a leak, bytes: of the C library's heap, where the
# core's own memory is, and of the process, where a free-threaded interpreter that makes code grows by
# itself, by as much with each thread that does.
HEAP_MOST = 1 << 20
PROCESS_MOST = 32 << 20
# A thread that was joined may still be on its way out of the kernel.
SETTLING_SECONDS = 20


class Mallinfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    _fields_ = [(name, ctypes.c_size_t) for name in names]


libc = ctypes.CDLL(None)  # once: 3.13t keeps some of each for ever
libc.mallinfo2.restype = Mallinfo


def read(path):
    file = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(file, 1 << 16):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts).decode()


def resident():
    return int(read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted():
    return {
        "timers": sum(line.startswith("ID:") for line in read("/proc/self/timers").splitlines()),
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
    }


def memory():
    """What is in use: copies of bytecode that 3.14t keeps for threads that have ended, and what is free in the C library's
    heaps, go back first."""
    gc.collect()
    if hasattr(sys, "_clear_internal_caches"):  # from 3.13 on
        sys._clear_internal_caches()
    libc.malloc_trim(0)
    heap = libc.mallinfo2()
    return {"heap": heap.uordblks + heap.hblkhd, "process": resident()}


def settled(before):
    """The counts, once they are no more than before or have had their time."""
    limit = time.monotonic() + SETTLING_SECONDS
    while True:
        now = counted()
        if all(now[name] <= before[name] for name in now) or time.monotonic() > limit:
            return now
        time.sleep(0.01)


def leaks(before, after, kept=0, players=1):
    """`kept`: bytes that the interpreter itself keeps of what was done, sampled or not. `players`: how
    many threads did it at once."""
    found = []
    for name in ("timers", "threads", "files"):
        if after[name] > before[name]:
            found.append(f"{after[name] - before[name]} {name} were left")
    for name, most in (("heap", HEAP_MOST), ("process", PROCESS_MOST * players + kept)):
        if after[name] - before[name] > most:
            found.append(f"the {name} grew by {(after[name] - before[name]) / 2**20:.1f} MiB")
    return found

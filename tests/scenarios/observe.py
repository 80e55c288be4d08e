"""What the kernel says of this process: its signals, timers, threads, open files, and memory."""

import functools
import os
import signal
import threading

import spprof


def lines_of(path):
    """The file's lines, without a file object: closing one makes 3.13t yield its processor dozens of times."""
    file = os.open(path, os.O_RDONLY)
    try:
        text = b""
        while piece := os.read(file, 1 << 20):
            text += piece
    finally:
        os.close(file)
    return text.decode().splitlines()


@functools.cache
def kernels_number(number):
    """What the kernel calls a signal that the caller does not block: an emulator has other numbers for real-time ones."""
    before = _blocked()
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    after = _blocked()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    (found,) = (bit + 1 for bit in range(64) if (after & ~before) >> bit & 1)
    return found


def _blocked():
    return int(_of_task(threading.get_native_id(), "SigBlk:"), 16)


def profile_timers():
    """How many timers the process has that ask threads."""
    wanted = f"signal: {kernels_number(spprof.signal_number())}/"
    return sum(line.startswith(wanted) for line in lines_of("/proc/self/timers"))


def _of_task(tid, key):
    return next(line.split()[1] for line in lines_of(f"/proc/self/task/{tid}/status") if line.startswith(key))


def wakings(tid):
    """How often a thread has gone to sleep, which is once more for each signal that woke it. Waits until it sleeps."""
    while _of_task(tid, "State:") != "S":
        pass
    return int(_of_task(tid, "voluntary_ctxt_switches:"))


def native_threads():
    emulators_own = 1 if "SPPROF_EMULATOR" in os.environ else 0
    return len(os.listdir("/proc/self/task")) - emulators_own


def open_files():
    return len(os.listdir("/proc/self/fd")) - 1  # the listing's own


def resident_kib():
    return next(int(line.split()[1]) for line in lines_of("/proc/self/status") if line.startswith("VmRSS:"))

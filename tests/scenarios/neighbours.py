"""Others in the process that use the signals that spprof uses: `neighbours.py SCENE`. Each scene is a function."""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time

import spprof
import work
from scenario import result


def send_and_count(arrived, times):
    """Sends SIGPROF to this process, each time waiting for it to arrive: signals that wait together are one."""
    for number in range(1, times + 1):
        os.kill(os.getpid(), signal.SIGPROF)
        limit = time.process_time() + 20
        while len(arrived) < number and time.process_time() < limit:
            work.loop()
    return len(arrived)


def own_handler_before():
    arrived = []
    signal.signal(signal.SIGPROF, lambda *_: arrived.append(1))
    spprof.start(interval_ms=1)
    work_in_threads(200)
    ours_arrived = len(arrived)
    received = send_and_count(arrived, 50)
    stats = spprof.stop().stats
    arrived.clear()
    received_after = send_and_count(arrived, 60)
    return {"spurious": ours_arrived, "received": received, "received_after": received_after, "stats": stats}


def own_handler_during():
    arrived = []
    spprof.start(interval_ms=1)
    work_in_threads(100)
    signal.signal(signal.SIGPROF, lambda *_: arrived.append(1))
    work_in_threads(100)
    settled = len(arrived)  # ticks may reach it until the session takes the signal back
    arrived.clear()
    work_in_threads(200)
    ours_arrived = len(arrived)
    received = send_and_count(arrived, 50)
    stats = spprof.stop().stats
    return {"spurious": ours_arrived, "settled": settled, "received": received, "stats": stats}


def interval_timer():
    """The program profiles itself with setitimer; its signals are its own."""
    arrived = []
    signal.signal(signal.SIGPROF, lambda *_: arrived.append(1))
    spprof.start(interval_ms=1)
    signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
    work_in_threads(400)
    limit = time.process_time() + 60
    while len(arrived) < 20 and time.process_time() < limit:
        work.loop()
    signal.setitimer(signal.ITIMER_PROF, 0)
    return {"received": len(arrived), "stats": spprof.stop().stats}


def faulthandler_before():
    faulthandler.enable()
    spprof.start(interval_ms=1)
    work_in_threads(300)
    return {"stats": spprof.stop().stats, "enabled": faulthandler.is_enabled()}


def faulthandler_during():
    faulthandler.disable()
    spprof.start(interval_ms=1)
    work_in_threads(100)
    guarded = spprof.stats()["unguarded_ticks"]
    faulthandler.enable()
    work_in_threads(200)
    displaced = spprof.stats()["unguarded_ticks"]
    faulthandler.disable()
    work_in_threads(100)
    stats = spprof.stop().stats
    return {"guarded": guarded, "displaced": displaced, "stats": stats}


def deep_stack():
    """Each look at the thread takes longer than its ticks are apart: thousands of frames, read through system calls."""
    sys.setrecursionlimit(10_000)

    def down(frames):
        if frames > 0:
            return down(frames - 1)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV, signal.SIGBUS})
        for _ in range(20_000):
            work.loop()
        return True

    ended = []
    spprof.start(interval_ms=0.1)
    thread = threading.Thread(target=lambda: ended.append(down(4000)))
    thread.start()
    thread.join()
    profile = spprof.stop()
    deep = sum(sum(frame.name.endswith("down") for frame in sample.stack) > 1000 for sample in profile)
    return {"ended": ended, "deep": deep, "stats": profile.stats}


def alternate_stack():
    class Stack(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

    memory = ctypes.create_string_buffer(65536)
    libc = ctypes.CDLL(None, use_errno=True)

    def with_stack():
        stack = Stack(ctypes.addressof(memory), 0, len(memory))
        assert libc.sigaltstack(ctypes.byref(stack), None) == 0
        work_here(100)
        used.append(any(memory.raw))

    used = []
    spprof.start(interval_ms=1)
    thread = threading.Thread(target=with_stack)
    thread.start()
    thread.join()
    profile = spprof.stop()
    seen = sum(1 for sample in profile if any(frame.name.endswith("with_stack") for frame in sample.stack))
    return {"used": used, "seen": seen, "stats": profile.stats}


def blocked_signals():
    def without_profile_signal():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
        ticks = spprof.stats()["ticks"]
        work_here(cpu_ms=200)
        missed.append(spprof.stats()["ticks"] - ticks)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
        caught_up.append(spprof.stats()["ticks"] - ticks)

    def without_faults():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV, signal.SIGBUS})
        work_here(cpu_ms=200)

    missed, caught_up = [], []
    spprof.start(interval_ms=1)
    for function in (without_profile_signal, without_faults):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    stats = spprof.stop().stats
    return {"missed": missed[0], "caught_up": caught_up[0], "stats": stats}


def segfault():
    """Ends the process: by a fault of the program's own, in the middle of a session."""
    when = sys.argv[2]
    if when == "before":
        faulthandler.enable()
    elif when == "none":
        faulthandler.disable()
    spprof.start(interval_ms=1)
    work_in_threads(100)
    if when in ("after", "between"):
        faulthandler.enable()
    if when == "between":  # two sessions: each is the other's former owner now
        spprof.stop()
        spprof.start(interval_ms=1)
    result(reached=True)
    if sys.argv[3] == "read":
        thread = threading.Thread(target=segfault_here)  # faulthandler gives the first thread alone a stack of its own
        thread.start()
        thread.join()
    os.kill(os.getpid(), signal.SIGSEGV)


def segfault_here():
    ctypes.string_at(16)


def profile_signal():
    """Ends the process: nobody handles SIGPROF but spprof, which must not swallow it."""
    spprof.start(interval_ms=1)
    work_in_threads(100)
    if sys.argv[2] == "stopped":
        spprof.stop()
    result(reached=True)
    os.kill(os.getpid(), signal.SIGPROF)
    time.sleep(30)


def work_here(ticks=0, cpu_ms=0):
    limit = time.thread_time() + (ticks or cpu_ms) / 1000
    while time.thread_time() < limit:
        work.loop()


def work_in_threads(ticks):
    goal = spprof.stats()["ticks"] + ticks
    with work.Crew(work.KINDS[:3]):
        work.wait_for_ticks(goal)


outcome = globals()[sys.argv[1]]()
if outcome is not None:
    result(**outcome)

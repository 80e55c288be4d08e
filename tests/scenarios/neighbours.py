"""Others in the process that use the signals that spprof uses: `neighbours.py SCENE`. Each scene is a function."""

import ctypes
import faulthandler
import json
import mmap
import os
import signal
import sys
import tempfile
import threading
import time

import observe
import spprof
import work
from scenario import result

if sys.argv[1] == "every_signal_has_an_owner":
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        signal.signal(number, signal.SIG_IGN)
OURS = spprof.signal_number()
KERNELS = observe.kernels_number(OURS)


def send_and_count(arrived, times):
    """Sends the signal by which threads are asked to this process, each time waiting for it to arrive."""
    for number in range(1, times + 1):
        os.kill(os.getpid(), OURS)
        limit = time.process_time() + 20
        while len(arrived) < number and time.process_time() < limit:
            work.loop()
    return len(arrived)


def own_handler_before():
    arrived = []
    signal.signal(OURS, lambda *_: arrived.append(1))
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
    signal.signal(OURS, lambda *_: arrived.append(1))
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


def sigprof_is_the_programs():
    """It takes SIGPROF now and then and gives it back, waits with every other signal blocked, and sends it to itself."""
    arrived = []
    spprof.start(interval_ms=1)
    for _ in range(20):
        former = signal.signal(signal.SIGPROF, lambda *_: arrived.append(1))
        work_in_threads(5)
        signal.signal(signal.SIGPROF, former)
        work_in_threads(5)
    unasked = len(arrived)
    signal.signal(signal.SIGPROF, lambda *_: arrived.append(1))
    for _ in range(5000):
        signal.raise_signal(signal.SIGPROF)
    received = len(arrived) - unasked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {OURS})
    work_in_threads(50)
    pending = [int(number) for number in signal.sigpending()]
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return {"unasked": unasked, "received": received, "pending": pending, "stats": spprof.stop().stats}


def every_signal_has_an_owner():
    """Then SIGPROF is shared, with a handler that was there before."""
    return {"signal": OURS, **own_handler_before()}


def faulthandler_before():
    faulthandler.enable()
    spprof.start(interval_ms=1)
    work_in_threads(300)
    return {"stats": spprof.stop().stats, "enabled": faulthandler.is_enabled()}


def faulthandler_during():
    """As test runners do: it is switched on when the session is there already."""
    faulthandler.disable()
    spprof.start(interval_ms=1)
    work_in_threads(100)
    guarded = spprof.stats()["unguarded_ticks"]
    faulthandler.enable()
    work_in_threads(100)  # many looks: the signals have been taken back
    displaced = spprof.stats()["unguarded_ticks"]
    work_in_threads(300)
    since = spprof.stats()["unguarded_ticks"] - displaced
    faulthandler.disable()
    work_in_threads(100)
    stats = spprof.stop().stats
    return {"guarded": guarded, "since": since, "stats": stats}


def faulthandler_on_our_signal():
    """Its handler passes the signal on by putting back what it found and sending the signal again."""
    signal.signal(OURS, signal.SIG_IGN)
    spprof.start(interval_ms=1)
    with tempfile.TemporaryFile() as file:
        faulthandler.register(OURS, file=file, all_threads=False, chain=True)
        work_in_threads(100)
        settled = file.seek(0, os.SEEK_END)  # ticks may reach it until the session takes the signal back
        reports = []
        for _ in range(20):
            os.kill(os.getpid(), OURS)
            work_in_threads(20)
            file.seek(settled)
            reports.append(file.read().count(b"most recent call first"))
        faulthandler.unregister(OURS)
    os.kill(os.getpid(), OURS)  # ignored, as before
    return {"reports": reports, "stats": spprof.stop().stats}


def put_back_without_flags():
    """`old = signal(N, SIG_IGN); ...; signal(N, old)`, as C programs do: what is put back has no flags."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    spprof.start(interval_ms=1)
    work_in_threads(50)
    for _ in range(100):
        libc.signal(OURS, libc.signal(OURS, int(signal.SIG_IGN)))
        work_in_threads(4)
    return {"stats": spprof.stop().stats}


def forked_child():
    """A child finds the signals as if no session had been: what was ignored stays so in a program that it becomes."""
    signal.signal(OURS, signal.SIG_IGN)
    before = ignored_and_caught("self")
    spprof.start(interval_ms=1)
    work_in_threads(100)
    program = "print(*[line.split()[1] for line in open('/proc/self/status') if line[:6] in ('SigIgn', 'SigCgt')])"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(ignored_and_caught("self")).encode() + b"\n")
        os.dup2(writing, 1)
        os.execv(sys.executable, [sys.executable, "-c", program])
    os.close(writing)
    with open(reading) as file:
        inside = json.loads(file.readline())
        ignored_after_exec = int(file.readline().split()[0], 16)
    os.waitpid(child, 0)
    stats = spprof.stop().stats
    ours = 1 << KERNELS - 1
    return {"same": inside == before, "ignored_after_exec": bool(ignored_after_exec & ours), "stats": stats}


def ignored_and_caught(process):
    with open(f"/proc/{process}/status") as status:
        sets = [int(line.split()[1], 16) for line in status if line.startswith(("SigIgn", "SigCgt"))]
    ours = sum(1 << number - 1 for number in (KERNELS, signal.SIGSEGV, signal.SIGBUS))
    return [found & ours for found in sets]  # libc has signals of its own from the first thread on


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


def alarms_on_the_alternate_stack():
    """The main thread's handlers run on the stack that faulthandler gave it, and many ticks find one there."""
    faulthandler.enable()
    return alarms()


def alarms_in_a_forked_child():
    """The same in a child that another thread forked: its first thread runs on that thread's stack."""
    found = []
    thread = threading.Thread(target=lambda: found.append(in_child(alarms)))
    thread.start()
    thread.join()
    return found[0]


def in_child(function):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            take_alternate_stack()
            os.write(writing, json.dumps(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading) as file:
        found = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(found)


def alarms():
    signal.signal(signal.SIGALRM, lambda *_: None)
    together = {signal.SIGALRM, OURS}
    spprof.start(interval_ms=1)
    for _ in range(50):
        signal.pthread_sigmask(signal.SIG_BLOCK, together)
        alarmed(cpu_ms=8)
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, together)  # the tick interrupts the alarm's handler before it begins
    profile = spprof.stop()
    names = [[frame.name for frame in sample.stack] for sample in profile if sample.stack]
    # Whatever stands on top, each whole stack of this thread has these from the outermost on.
    root = [frame.f_code.co_qualname for frame in calling_frames()][::-1]
    strange = [found for found in names if found[: len(root)] != root]
    return {"strange": strange[:3], "samples": len(names), "stats": profile.stats}


def calling_frames():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def alarmed(cpu_ms):
    work_here(cpu_ms=cpu_ms)


class Stack(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


# Mapped before any thread is there, and so above their stacks.
ALTERNATE = mmap.mmap(-1, 1 << 18)


def take_alternate_stack():
    stack = Stack(ctypes.addressof(ctypes.c_char.from_buffer(ALTERNATE)), 0, len(ALTERNATE))
    assert ctypes.CDLL(None, use_errno=True).sigaltstack(ctypes.byref(stack), None) == 0


def alternate_stack():
    def with_stack():
        take_alternate_stack()
        work_here(100)
        used.append(any(ALTERNATE[:]))

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
        signal.pthread_sigmask(signal.SIG_BLOCK, {OURS})
        ticks = spprof.stats()["ticks"]
        work_here(cpu_ms=200)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {OURS})
        counted.append(spprof.stats()["ticks"] - ticks)

    def without_faults():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV, signal.SIGBUS})
        work_here(cpu_ms=200)

    counted = []
    spprof.start(interval_ms=1)
    for function in (without_profile_signal, without_faults):
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()
    stats = spprof.stop().stats
    return {"counted": counted[0], "stats": stats}


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
    """Ends the process: nobody handles that signal but spprof, which must not swallow it."""
    spprof.start(interval_ms=1)
    work_in_threads(100)
    if sys.argv[2] == "stopped":
        spprof.stop()
    result(reached=True, signal=KERNELS)
    os.kill(os.getpid(), OURS)
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

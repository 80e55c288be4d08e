"""Threads that are born right after the whole process was stopped for a while (a debugger, a frozen container)."""

import os
import signal
import subprocess
import threading
import time

import spprof
from scenario import result

INTERVAL_MS = 10
ROUNDS = 3
lived = []


def young():
    began = time.monotonic()
    time.sleep(0.1)
    lived.append((threading.get_native_id(), (time.monotonic() - began) * 1000 / INTERVAL_MS))


def stop_for(seconds):
    """Another process has to let this one go on."""
    going_on = subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)
    going_on.wait()


spprof.start(interval_ms=INTERVAL_MS, mode="wall")
for _ in range(ROUNDS):
    stop_for(0.5)
    thread = threading.Thread(target=young)
    thread.start()
    thread.join()
profile = spprof.stop()
ticks = {number: 0 for number, _ in lived}
for sample in profile:
    if sample.thread.native_id in ticks:
        ticks[sample.thread.native_id] += sample.weight
result(lived=[life for _, life in lived], ticks=[ticks[number] for number, _ in lived], stats=profile.stats)

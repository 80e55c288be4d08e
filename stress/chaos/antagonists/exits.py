"""Interpreters that end in the middle of a session, in every way that a program can end."""

import subprocess
import sys

from antagonists import Antagonist, expect

# A neighbour may be limiting timers when the program is begun; its own limits are not what is tried here.
PROGRAM = """
import os, resource, signal, sys, threading, time
import spprof
resource.setrlimit(resource.RLIMIT_SIGPENDING, resource.getrlimit(resource.RLIMIT_SIGPENDING)[1:] * 2)
spprof.start(interval_ms=0.1, mode=sys.argv[2])
def spin(until):
    while time.monotonic() < until:
        sum(range(200))
for _ in range(3):
    threading.Thread(target=spin, args=(time.monotonic() + float(sys.argv[3]),), daemon=sys.argv[1] == "daemons").start()
spin(time.monotonic() + float(sys.argv[3]) / 2)
if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "raise":
    raise KeyError("on purpose")
if sys.argv[1] == "at_once":
    os._exit(4)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "replaced":
    os.execv("/bin/sh", ["sh", "-c", "sleep 0.05; exit 5"])
"""
ENDINGS = {"return": 0, "exit": 3, "raise": 1, "at_once": 4, "killed": -9, "daemons": 0, "replaced": 5}


class Exits(Antagonist):
    def round(self, dice):
        ending = dice.choice(list(ENDINGS))
        command = [sys.executable, "-c", PROGRAM, ending, self.sessions.mode, f"{dice.random() / 20:.3f}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        last = (done.stderr.strip().splitlines() or [""])[-1]
        expect(done.returncode == ENDINGS[ending], f"a program's end ({ending}) was {done.returncode}: {last}")

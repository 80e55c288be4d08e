"""Scripts of signal owners (tests/native/owners.c) beside real sessions: `owners.py LIBRARY MODE SCRIPTS`.

SCRIPTS is JSON: lists of words. Each is run twice, in forked children, without sessions and with them; the result is a
list of pairs of [status, output].
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

import spprof
from scenario import result

# The scripts are of SIGPROF, which a session asks by where every signal that it might choose has an owner.
for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
    signal.signal(number, signal.SIG_IGN)
assert spprof.signal_number() == signal.SIGPROF

SESSION = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
# No tick comes in between in cpu mode; in wall mode none is a signal.
INTERVAL_MS = {"cpu": 10_000, "wall": 5}
library = ctypes.CDLL(sys.argv[1])
mode, scripts = sys.argv[2], json.loads(sys.argv[3])


def session(word):
    if word == b"start":
        spprof.start(INTERVAL_MS[mode], mode=mode)
    elif word == b"stop":
        spprof.stop()
    else:
        look()


def look():
    """Until the session has taken the signal back, which it does at its next look."""
    limit = time.monotonic() + 60
    while library.owners_are_in_front() and time.monotonic() < limit:
        time.sleep(0.001)
    assert not library.owners_are_in_front(), "the session did not take the signal back"


def run(words, is_sampled):
    """In a child, for the words may end the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        callback = SESSION(session) if is_sampled else SESSION(lambda word: None)
        encoded = [word.encode() for word in words]
        library.owners_run(len(encoded), (ctypes.c_char_p * len(encoded))(*encoded), callback)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as output:
        said = output.read().decode()
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said]


result(outcomes=[[run(words, is_sampled) for is_sampled in (False, True)] for words in scripts])

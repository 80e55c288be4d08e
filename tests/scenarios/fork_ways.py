"""Every way that a program with one thread has to fork, in a session: `fork_ways.py MODE`. The warnings are counted."""

import multiprocessing
import os
import pty
import subprocess
import sys
import warnings

import spprof
from scenario import result


def wait_for(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    wait_for(child)


def forkpty():
    child, terminal = os.forkpty()
    if child == 0:
        os._exit(0)
    wait_for(child)
    os.close(terminal)


def pty_fork():
    child, terminal = pty.fork()
    if child == 0:
        os._exit(0)
    wait_for(child)
    os.close(terminal)


def preexec():
    subprocess.run([sys.executable, "-c", ""], preexec_fn=lambda: None, check=True)


def spawned():
    subprocess.run([sys.executable, "-c", ""], check=True)


def process():
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()
    assert child.exitcode == 0


WAYS = [fork, forkpty, pty_fork, preexec, spawned, process]


def messages_of(way):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        way()
    return [str(warning.message) for warning in caught]


if __name__ == "__main__":
    alone = {way.__name__: messages_of(way) for way in WAYS}
    spprof.start(interval_ms=1, mode=sys.argv[1])
    sampled = {way.__name__: messages_of(way) for way in WAYS}
    spprof.stop()
    after = {way.__name__: messages_of(way) for way in WAYS}
    result(alone=alone, sampled=sampled, after=after)

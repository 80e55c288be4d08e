"""Runs checks in processes that have loaded no other copy of the core.

Each copy takes part of the little room that a process has for thread-local storage which is there before any signal, and
the tests' own process has several. So a server that has imported the checks, and loaded nothing, forks a child for each.

    fresh.check(function, argument)     # a function of a module in tests/, and arguments that JSON can hold

Run as a program it is that server.
"""

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parent
HANG_SECONDS = 60  # ends a child that hangs, and decides nothing else


def forked(check):
    """What a forked child complains about, or an empty text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(HANG_SECONDS)
            check()
            status = 0
        except BaseException:  # noqa: BLE001 - told to the parent
            with contextlib.suppress(OSError):
                os.write(write, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    os.close(write)
    with open(read, "rb") as pipe:
        complaint = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return complaint or ("" if status == 0 else f"the child ended with status {status:#x}")


class Server:
    """Started with the first check, and ended with the tests."""

    def __init__(self):
        self.process = None

    def ask(self, module, function, arguments):
        if self.process is None:
            command = [sys.executable, __file__]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            atexit.register(self.process.communicate)
        self.process.stdin.write(json.dumps([module, function, arguments], default=str) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else "the server of fresh processes has ended"


_server = Server()


def check(function, *arguments):
    complaint = _server.ask(function.__module__, function.__name__, arguments)
    assert not complaint, complaint


def serve():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a check prints is no answer
    for line in sys.stdin:
        module, function, arguments = json.loads(line)
        asked = getattr(importlib.import_module(module), function)
        complaint = forked(lambda asked=asked, arguments=arguments: asked(*arguments))
        print(json.dumps(complaint), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.append(str(TESTS.parent))  # for the reference models
    serve()

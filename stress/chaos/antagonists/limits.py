"""Limits of the process that leave no room: for memory, and for timers."""

import mmap
import resource
import time

from antagonists import Antagonist, busy, busy_result, expect, together

ROOM = 24 << 20


def limited(kind, most, function):
    _, hard = before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        return function()
    finally:
        resource.setrlimit(kind, before)


def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def births(number):
    """Threads, each with a timer and a ring where there is room for them. What fails for want of memory is no fault."""
    found = []
    try:
        together([lambda: (found.append(busy(3000)), time.sleep(0.015))] * number)
    except (MemoryError, RuntimeError):
        pass
    expect(set(found) <= {busy_result(3000)}, f"threads computed {set(found)}")


class LowMemory(Antagonist):
    alone = True

    def starve(self):
        try:
            mmap.mmap(-1, 4 * ROOM).close()  # a bytearray may fit into what the interpreter has reserved
        except OSError:
            births(6)
        else:
            expect(False, "the limit of memory did not hold")

    def round(self, dice):
        limited(resource.RLIMIT_AS, address_space() + dice.randrange(1 << 20, ROOM), self.starve)
        births(2)


class TimersExhausted(Antagonist):
    def round(self, dice):
        limited(resource.RLIMIT_SIGPENDING, 0, lambda: births(6))
        births(2)

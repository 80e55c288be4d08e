"""Signals that are none of the profiler's, one of them on its own signal."""

import os
import signal
import threading
import time

import spprof

from antagonists import Antagonist, busy, expect


class Storm(Antagonist):
    """Counts arrivals by a handler. Signals that wait together may be one, so fewer may arrive, but not none."""

    def numbers(self):
        raise NotImplementedError

    def begin(self):
        self.sent = self.arrived = 0
        for number in self.numbers():
            signal.signal(number, self.arrive)

    def arrive(self, number, frame):
        self.arrived += 1

    def round(self, dice):
        number = dice.choice(self.numbers())
        for _ in range(dice.randrange(1, 50)):
            if dice.random() < 0.5:
                os.kill(os.getpid(), number)
            else:
                signal.pthread_kill(threading.main_thread().ident, number)
            self.sent += 1
            busy(dice.randrange(50))
        time.sleep(0.002)

    def end(self):
        limit = time.monotonic() + 10
        while self.sent and not self.arrived and time.monotonic() < limit:
            time.sleep(0.01)
        expect(self.sent == 0 or 0 < self.arrived <= self.sent, f"{self.arrived} of {self.sent} signals arrived")
        # The handlers stay, and count what nobody reads: the default action would end the process.


class User(Storm):
    def numbers(self):
        return (signal.SIGUSR1, signal.SIGUSR2)


class RealTime(Storm):
    def numbers(self):
        return (signal.SIGRTMIN + 1, signal.SIGRTMIN + 3, signal.SIGRTMAX - 1)

    def round(self, dice):
        try:
            super().round(dice)
        except BlockingIOError:
            pass  # no room for one more that waits: a neighbour may have set that limit, and then nobody has


class ForeignProf(RealTime):
    """SIGPROF, and the signal by which threads are asked."""

    def numbers(self):
        return (signal.SIGPROF, spprof.signal_number())


class Alarm(Storm):
    def numbers(self):
        return (signal.SIGALRM,)

    def round(self, dice):
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        before = self.arrived
        limit = time.monotonic() + 10
        while self.arrived == before and time.monotonic() < limit:
            time.sleep(0.002)
        signal.setitimer(signal.ITIMER_REAL, 0)
        expect(self.arrived > before, "no SIGALRM of an interval timer arrived within 10 s")

    def end(self):
        signal.setitimer(signal.ITIMER_REAL, 0)

"""Owners of signals. Those that come and go take turns: two that gave back out of order would loop without a profiler."""

import ctypes
import faulthandler
import functools
import os
import threading

import spprof

from antagonists import Antagonist, busy, expect

TURN = threading.Lock()
NEIGHBOUR = "SPPROF_FAULT_OWNER"  # the path of fault_owner.so; chained_owner.so is beside it


class FaultHandler(Antagonist):
    def round(self, dice):
        with TURN:
            faulthandler.enable()
            expect(faulthandler.is_enabled(), "faulthandler is not enabled")
            busy(dice.randrange(3000))
            faulthandler.disable()
            expect(not faulthandler.is_enabled(), "faulthandler is not disabled")
        busy(dice.randrange(3000))


@functools.cache  # 3.13t keeps some of each type for ever, and ctypes makes one for each CDLL
def library(name="fault_owner.so"):
    return ctypes.CDLL(os.path.join(os.path.dirname(os.environ[NEIGHBOUR]), name))


class FaultLibrary(Antagonist):
    def begin(self):
        self.library = library()

    def round(self, dice):
        times = dice.randrange(1, 20)
        with TURN:
            expect(self.library.fault_owner_take() == 0, "the library could not take SIGSEGV")
            caught = self.library.fault_owner_read(times)
            busy(dice.randrange(3000))
            expect(self.library.fault_owner_give_back() == 0, "the library could not give SIGSEGV back")
        expect(caught == times, f"the library caught {caught} of its {times} faults")
        busy(dice.randrange(3000))


class ChainedOwners(Antagonist):
    """Two that pass on to what they found, and never give back: they came once before a session and once in it."""

    # It takes our signal without passing on: where it comes between the two, the first gets nothing more.
    apart = frozenset({"signal_prof"})

    def begin(self):
        self.library = library("chained_owner.so")
        with TURN:
            expect(
                self.library.chained_take(0, spprof.signal_number()) == 0, "the first owner could not take its signals"
            )

    def round(self, dice):
        times = dice.randrange(1, 20)
        with TURN:
            expect(
                self.library.chained_take(1, spprof.signal_number()) == 0, "the second owner could not take its signals"
            )
            mended = self.library.chained_fault(times)
            expect(mended == times, f"{mended} of {times} faults were mended")
            for owner in (0, 1):
                received = self.library.chained_send(owner, times)
                expect(received == times, f"owner {owner} got {received} of {times} signals")
        busy(dice.randrange(3000))

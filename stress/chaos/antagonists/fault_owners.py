"""Owners of SIGSEGV that come and go. They take turns: two that gave back out of order would loop without a profiler."""

import ctypes
import faulthandler
import functools
import os
import threading

from antagonists import Antagonist, busy, expect

TURN = threading.Lock()
NEIGHBOUR = "SPPROF_FAULT_OWNER"  # the path of fault_owner.so


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
def library():
    return ctypes.CDLL(os.environ[NEIGHBOUR])


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

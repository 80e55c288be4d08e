"""Owners of SIGSEGV that come and go. They take turns: two that gave back out of order would loop without a profiler."""

import ctypes
import faulthandler
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


class FaultLibrary(Antagonist):
    def begin(self):
        self.library = ctypes.CDLL(os.environ[NEIGHBOUR])

    def round(self, dice):
        times = dice.randrange(1, 20)
        with TURN:
            expect(self.library.fault_owner_take() == 0, "the library could not take SIGSEGV")
            caught = self.library.fault_owner_read(times)
            busy(dice.randrange(3000))
            expect(self.library.fault_owner_give_back() == 0, "the library could not give SIGSEGV back")
        expect(caught == times, f"the library caught {caught} of its {times} faults")
        busy(dice.randrange(3000))

"""fork from a thread of a process full of threads; some children have a session of their own."""

import faulthandler
import os
import time
import warnings

from antagonists import Antagonist, busy, busy_result, expect

RIGHT = 7
HUNG_SECONDS = 60  # a child that takes longer says where it is, and ends


def in_child(limit, with_session):
    status = 1
    faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
    try:
        import spprof

        if busy(limit) == busy_result(limit) and not spprof.is_active():
            if with_session:
                spprof.start(interval_ms=0.1)
                until = time.thread_time() + 0.01
                while time.thread_time() < until:
                    busy(100)
                stats = spprof.stop().stats
                right = stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())
            else:
                right = True
            status = RIGHT if right else 2
    except RuntimeError as error:
        status = RIGHT if "no timer" in str(error) else 3
    finally:
        os._exit(status)


class ForkStorm(Antagonist):
    # A fork beside an interpreter that is being made or destroyed ends the child with SIGSEGV, with no profiler anywhere
    # (3.13.15 and 3.14.7, in _PyInterpreterState_DeleteExceptMain).
    apart = frozenset({"subinterpreters"})

    def begin(self):
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is done among threads is the point

    def round(self, dice):
        children = []
        for _ in range(dice.randrange(1, 5)):
            limit, with_session = dice.randrange(1, 2000), dice.random() < 0.3
            child = os.fork()
            if child == 0:
                in_child(limit, with_session)
            children.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        expect(set(ends) == {RIGHT}, f"forked children ended with {ends}, not {RIGHT}")

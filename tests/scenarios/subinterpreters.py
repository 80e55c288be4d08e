"""Interpreters beside the one that is sampled, made, run and destroyed during a session: `subinterpreters.py COUNT`."""

import sys
import threading

import spprof
import work
from scenario import result

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

SOURCE = """
def inside(limit):
    return sum(index * index for index in range(limit))
for _ in range(20):
    inside(3000)
"""


def visit_others(count, failures):
    for _ in range(count):
        interpreter = _interpreters.create()
        failure = _interpreters.run_string(interpreter, SOURCE)
        if failure is not None:
            failures.append(str(failure))
        _interpreters.destroy(interpreter)


failures = []
with work.Crew(work.KINDS[:3]):
    spprof.start(interval_ms=1)
    visitors = [threading.Thread(target=visit_others, args=(int(sys.argv[1]), failures)) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    work.wait_for_ticks(300)
    profile = spprof.stop()
foreign = [frame.name for sample in profile for frame in sample.stack if frame.name == "inside"]
visiting = sum(1 for sample in profile if any(frame.name == "visit_others" for frame in sample.stack))
result(stats=profile.stats, failures=failures, foreign=foreign, visiting=visiting)

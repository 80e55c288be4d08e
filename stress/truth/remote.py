"""A cell whose walker is CPython's own: `_remote_debugging.RemoteUnwinder` looks from this process at another.

    remote.py WORKLOAD SECONDS RESULT

Run by the interpreter that it is the unwinder of; the workload runs under the same one. A call that raises is a walk
that was dropped, by the name of the exception.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter

import workloads
from child import bench_of
from grammar import NO_LINE
from judge import judge

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", ".."))

from stress.results import write_whole  # noqa: E402 - found by the line above


def threads_of(found):
    """(thread id, frames innermost first), in the shape of either version."""
    for entry in found:
        if hasattr(entry, "threads"):  # 3.15: one entry an interpreter
            yield from ((thread.thread_id, thread.frame_info) for thread in entry.threads)
        else:
            yield entry[0], entry[1]


def line_of(frame):
    location = getattr(frame, "location", frame)
    line = getattr(location, "lineno", None)
    return line if line is not None and line > 0 else NO_LINE


def stack_of(frames):
    return tuple(
        (frame.funcname, frame.filename, line_of(frame))
        for frame in reversed(frames)
        if not frame.filename.startswith("<shim") and frame.funcname != "<interpreter trampoline>"
    )


def unwinder_of(pid):
    import _remote_debugging

    try:
        return _remote_debugging.RemoteUnwinder(pid, all_threads=True, gc=False, native=False)
    except TypeError:
        return _remote_debugging.RemoteUnwinder(pid, all_threads=True)


def sample(pid, main_tid, seconds):
    """Counts of each stack, and of what was raised. The waiting thread is left out, but for one look in 64."""
    unwinder = unwinder_of(pid)
    counts, dropped = Counter(), Counter()
    end, looks = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        looks += 1
        try:
            found = unwinder.get_stack_trace()
        except Exception as error:  # noqa: BLE001 - whatever it raises is a loss to be counted
            dropped[type(error).__name__] += 1
            continue
        for tid, frames in threads_of(found):
            if tid != main_tid or looks % 64 == 0:
                counts[tid, stack_of(frames)] += 1
    return counts, dropped


def main():
    name, seconds, path = sys.argv[1:]
    left = path + ".child"
    child = subprocess.Popen(
        [sys.executable, os.path.join(HERE, "child.py"), name, "none", "0", "", left],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if child.stdout.readline() != "ready\n":
            raise SystemExit("the workload did not begin")
        counts, dropped = sample(child.pid, child.pid, float(seconds))
        child.communicate("over\n", timeout=90)
    finally:
        child.kill()
        child.wait()
    with open(left) as file:
        known = json.load(file)
    os.unlink(left)
    roles = {int(tid): role for tid, role in known["roles"].items()}
    bench = bench_of(workloads.make(name), roles, known["main"])
    found = judge(bench, [(count, tid, stack) for (tid, stack), count in counts.items()])
    found["dropped"] = dict(dropped)
    found["walks"] = found["captured"] + sum(dropped.values())
    found["law"] = True
    found["truth"] = known["truth"]
    write_whole(path, found)


if __name__ == "__main__":
    main()

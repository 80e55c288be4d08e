"""One cell: a workload runs in this process, is looked at, and what was seen is judged.

    child.py WORKLOAD MODE SECONDS WALKER RESULT

MODE is storm, cpu, wall or none. With none another process looks: this one says "ready", waits for a line on its standard
input and leaves what the judge needs to know. WALKER is the path of a walker (stress/walker.h), or empty. RESULT is
the file that the findings go to. Run with the driver's folder on PYTHONPATH.
"""

import os
import sys
import threading

import workloads
from judge import Bench, families_of, judge, main_oracle, stacks_of
from stage import Stage

HERE = os.path.abspath(__file__)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "..", ".."))

from stress.results import write_whole  # noqa: E402 - found by the line above

ENTRY = "<module>"

# The thread that waits: what it calls while it is looked at.
CALLS = [("<module>", "main"), ("main", "look"), ("main", "wait"), ("main", "Stage.drop_curtain")]


def pages(text):
    return int(text.split()[1])


def look(workload, mode, walker, seconds):
    import truth_driver

    # The first third warms up: what the program and the driver need at all is there when growth is measured.
    memory = os.open("/proc/self/statm", os.O_RDONLY)
    workload.mark()  # outside of the session: its frames would stand on this thread's stack
    truth_driver.start(mode, walker or None, workload.interval_ns)
    truth_driver.hold(seconds / 3)
    before, heap_before = os.pread(memory, 100, 0), truth_driver.heap()
    truth_driver.hold(seconds * 2 / 3)
    after, heap_after = os.pread(memory, 100, 0), truth_driver.heap()
    result = truth_driver.stop()
    workload.mark()
    os.close(memory)
    result["grown"] = (pages(after) - pages(before)) * os.sysconf("SC_PAGE_SIZE")
    result["heap_grown"] = heap_after - heap_before
    return result


def wait():
    print("ready", flush=True)
    sys.stdin.readline()


def bench_of(workload, roles, main_tid):
    return Bench(workload, roles, main_tid, main_oracle(HERE, CALLS, ENTRY), HERE)


def findings(workload, stage, result):
    bench = bench_of(workload, stage.roles, threading.get_native_id())
    found = judge(bench, stacks_of(result))
    found["families"] = families_of(bench, stacks_of(result, "shares"))
    dropped = sum(result["dropped"].values())
    found["law"] = (
        result["walks"] == result["captured"] + dropped
        and result["captured"] == result["tallied"]
        and found["captured"] == result["looks"]
    )
    for key in ("walks", "dropped", "met", "moved", "sent", "cpu_ns", "unasked", "spun", "walker"):
        found[key] = result[key]
    found["kept"] = result["captured"]
    found["grown"] = result["grown"]
    found["heap_grown"] = result["heap_grown"]
    found["held"] = result["held_bytes"]
    found["truth"] = workload.truth()
    return found


def main():
    name, mode, seconds, walker, path = sys.argv[1:]
    workload = workloads.make(name)
    stage = Stage(mode)
    if hasattr(workload, "dress"):
        workload.dress(stage)
    stage.raise_curtain(workload.threads)
    if mode == "none":
        wait()
        stage.drop_curtain()
        found = {"roles": stage.roles, "main": threading.get_native_id(), "truth": workload.truth()}
    else:
        result = look(workload, mode, walker, float(seconds))
        stage.drop_curtain()
        found = findings(workload, stage, result)
    write_whole(path, found)


if __name__ == "__main__":
    main()

"""fork, from the main thread and from another, while a session is active: `forks.py main|thread`."""

import json
import os
import sys
import threading

import observe
import spprof
import work
from scenario import result


def in_child():
    """What the child sees of its parent's session, and of one of its own."""
    before = {
        "active": spprof.is_active(),
        "ticks": spprof.stats()["ticks"],
        "timers": observe.profile_timers(),
        "threads": observe.native_threads(),
    }
    try:
        spprof.stop()
        before["stop"] = "worked"
    except RuntimeError as error:
        before["stop"] = str(error)
    spprof.start(interval_ms=1)
    with work.Crew([work.loop]):  # alone, so that it has most of the ticks however the threads are scheduled
        work.wait_for_ticks(200)
    profile = spprof.stop()
    names = {frame.name for sample in profile for frame in sample.stack}
    return {**before, "stats": profile.stats, "loop_seen": "loop" in names, "timers_after": observe.profile_timers()}


def fork_once():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, json.dumps(in_child()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    children.append({"status": os.waitstatus_to_exitcode(status), **(json.loads(text) if text else {})})


children = []
with work.Crew(work.KINDS[:3]):
    spprof.start(interval_ms=1)
    work.wait_for_ticks(50)
    ticks_before = spprof.stats()["ticks"]
    for _ in range(5):
        if sys.argv[1] == "main":
            fork_once()
        else:
            thread = threading.Thread(target=fork_once)
            thread.start()
            thread.join()
    work.wait_for_ticks(ticks_before + 200)
    stats = spprof.stop().stats
result(children=children, stats=stats, ticks_before=ticks_before, timers=observe.profile_timers())

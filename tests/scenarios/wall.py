"""Wall mode: every thread is seen, busy or waiting, and says which: `wall.py TICKS`."""

import sys
import threading
import time

import observe
import spprof
import work
from scenario import result

over = threading.Event()


def wait_for_event():
    over.wait()


def sleep_again_and_again():
    while not over.is_set():
        time.sleep(0.01)


waiters = [
    threading.Thread(target=wait_for_event, name="waiter"),
    threading.Thread(target=sleep_again_and_again, name="sleeper"),
]
for waiter in waiters:
    waiter.start()
before = (observe.native_threads(), observe.open_files())
with work.Crew() as crew:
    slept = observe.wakings(waiters[0].native_id)
    spprof.start(interval_ms=1, mode="wall")
    work.wait_for_ticks(int(sys.argv[1]))
    profile = spprof.stop()
    woken = observe.wakings(waiters[0].native_id) - slept
over.set()
for waiter in waiters:
    waiter.join()

states = {}
names = {}
rootless = []
for sample in profile:
    thread = sample.thread.name
    count = states.setdefault(thread, {"running": 0, "blocked": 0, "idle": 0})
    count[sample.state] += sample.weight
    names.setdefault(thread, set()).update((frame.name, frame.filename) for frame in sample.stack)
    if sample.stack and not sample.truncated and sample.stack[0].name not in ("Thread._bootstrap", "<module>"):
        rootless.append([frame.name for frame in sample.stack])
result(
    stats=profile.stats,
    states=states,
    names={thread: sorted(found) for thread, found in names.items()},
    work_file=work.__file__,
    this_file=__file__,
    hot=work.HOT,
    rounds=crew.rounds,
    rootless=rootless[:5],
    woken=woken,
    threads=[before[0], observe.native_threads() + len(waiters)],
    files=[before[1], observe.open_files()],
)

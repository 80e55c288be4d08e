"""Threads that come, go and are renamed by others, while sessions start and stop: `thread_renaming.py SESSIONS MODE`."""

import random
import sys
import threading
import time

import spprof
from scenario import result

NAMES = [f"name-{number}-{'x' * number}" for number in range(64)]
over = threading.Event()
told = []
running = [None] * 16  # places that threads come and go in


def work(place):
    told.append((threading.get_native_id(), time.monotonic_ns()))  # that is, its name was known by now
    running[place] = threading.current_thread()
    for _ in range(random.randrange(3)):
        sum(range(3000))
    threading.current_thread().name = random.choice(NAMES)
    threading.current_thread().__dict__["extra"] = place  # makes the object's dictionary


def come_and_go(place):
    while not over.is_set():
        thread = threading.Thread(target=work, args=(place,), name=random.choice(NAMES))
        thread.start()
        thread.join()


def rename():
    while not over.is_set():
        thread = random.choice(running)
        if thread is not None:
            thread.name = random.choice(NAMES)


crew = [threading.Thread(target=come_and_go, args=(place,), name=NAMES[0]) for place in range(4)]
crew += [threading.Thread(target=rename, name=NAMES[1]) for _ in range(2)]
for thread in crew:
    thread.start()
odd = []
found = 0
for _ in range(int(sys.argv[1])):
    spprof.start(interval_ms=1, mode=sys.argv[2])
    began = time.monotonic_ns()
    threading.Event().wait(0.01)
    stopping = time.monotonic_ns()
    profile = spprof.stop()
    found += len(profile.threads)
    known = {tid for tid, when in told if began <= when < stopping}
    told.clear()
    for thread in profile.threads:
        if thread.native_id in known and thread.name not in NAMES:
            odd.append(thread.name)
over.set()
for thread in crew:
    thread.join()
result(odd=odd, found=found)

"""A thread that is born in a session while no file can be opened, and waits for longer than that is so."""

import resource
import threading
import time

import spprof
from scenario import result

LOOKS = 40  # of the waiting thread and the main one, in which no stack is unknown
over = threading.Event()


def wait_for_event():
    over.wait()


def wait_until(condition):
    while not condition():
        time.sleep(0.01)


def unknown():
    return spprof.stats()["dropped"]["stack_unknown"]


def none_is_unknown():
    before = spprof.stats()
    wait_until(lambda: spprof.stats()["ticks"] >= before["ticks"] + LOOKS)
    return unknown() == before["dropped"]["stack_unknown"]


waiter = threading.Thread(target=wait_for_event, name="waiter")
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
spprof.start(interval_ms=5, mode="wall")
resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
waiter.start()
wait_until(unknown)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
wait_until(none_is_unknown)
profile = spprof.stop()
over.set()
waiter.join()
names = {frame.name for sample in profile if sample.thread.name == "waiter" for frame in sample.stack}
result(stats=profile.stats, names=sorted(names))

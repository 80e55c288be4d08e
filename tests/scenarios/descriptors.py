"""A thread that closes a file and opens another, and counts on its number, while threads come and go under a session:
`descriptors.py MODE ROUNDS`."""

import os
import sys
import threading

import spprof
from scenario import result

BORN = 40  # threads at least that come and go meanwhile

mode, rounds = sys.argv[1], int(sys.argv[2])
wrong = born = 0
done = threading.Event()


def reopen():
    """The lowest number that is free is the one that was just closed."""
    global wrong
    lowest = os.open("/dev/null", os.O_RDONLY)
    made = 0
    while made < rounds or born < BORN:
        made += 1
        os.close(lowest)
        opened = os.open("/dev/null", os.O_RDONLY)
        wrong += opened != lowest
        lowest = opened
    os.close(lowest)
    done.set()


def live():
    sum(range(20_000))


def tables():
    """How many descriptors each task of the process has."""
    return {task: len(os.listdir(f"/proc/self/task/{task}/fd")) for task in os.listdir("/proc/self/task")}


before = tables()
spprof.start(interval_ms=1, mode=mode)
beside = {task: count for task, count in tables().items() if task not in before}
reopener = threading.Thread(target=reopen)
reopener.start()
while not done.is_set():
    threads = [threading.Thread(target=live, name=f"short-{born + number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    born += len(threads)
reopener.join()
profile = spprof.stop()
result(wrong=wrong, born=born, own=list(beside.values()), threads=profile.stats["threads"])

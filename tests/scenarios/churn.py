"""Sessions that start and stop while code objects and threads come and go: `churn.py CYCLES THREADS MODE`."""

import sys
import threading

import spprof
from scenario import result

SOURCE = "def function(number):\n    return [number for _ in range(20)]\nfunction(3)"
over = threading.Event()
made = {"codes": 0, "threads": 0}


def churn_code():
    while not over.is_set():
        for number in range(50):
            space = {}
            exec(compile(SOURCE, f"file_{number}", "exec"), space)
            made["codes"] += 1


def churn_threads():
    while not over.is_set():
        threads = [threading.Thread(target=sum, args=(range(100),)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made["threads"] += len(threads)


workers = [threading.Thread(target=work) for work in (churn_code, churn_code, churn_code, churn_threads)]
for worker in workers:
    worker.start()
cycles, threads, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
done = laws = captured = 0
while done < cycles or made["threads"] < threads:
    done += 1
    spprof.start(interval_ms=1, mode=mode)
    sum(range(50_000))
    stats = spprof.stop().stats
    laws += stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())
    captured += stats["captured"]
over.set()
for worker in workers:
    worker.join()
result(done=done, laws=laws, captured=captured, made=made)

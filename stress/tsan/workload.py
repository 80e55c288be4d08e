"""workload.py HANDLER_RUNS LOOKS SEED MUTATORS RESULT: runs on an interpreter with ThreadSanitizer and
samples itself, in one session after another, beside so many threads, until handlers have run so often
and the observer has looked so often. What it found goes to RESULT as JSON."""

import contextlib
import gc
import json
import queue
import random
import signal
import sys
import threading
import time

import spprof

handed_over = queue.SimpleQueue()  # generators that one thread began and another goes on with
ending = threading.Event()
broken = []  # results of the program itself that were wrong


def expect(found, right):
    if found != right:
        broken.append(f"{found!r} is not {right!r}")


@contextlib.contextmanager
def undisturbed():
    """Around every pthread_join. Inside it ThreadSanitizer hands signals on at once, also where libc frees the thread's
    memory and ThreadSanitizer holds a lock of its own: the handler's first atomic access would wait for it for ever."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {spprof.signal_number()})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def join(threads):
    with undisturbed():
        for thread in threads:
            thread.join()


# --- what the threads do ----------------------------------------------------------------------------------


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x


def calls(draw):
    expect(fibonacci(11), 89)
    expect(sorted(range(20), key=lambda n: -n)[0], 19)
    expect(Point(1) == Point(1), True)


def count_to(n):
    for i in range(n):
        yield fibonacci(3) + i
    return n


def delegate(n):
    return (yield from count_to(n))


def generators(draw):
    expect(sum(delegate(10)), 65)
    handed_over.put((delegate(6), 0))
    for _ in range(4):
        try:
            generator, had = handed_over.get_nowait()
        except queue.Empty:
            return
        value = next(generator, None)
        expect(value, None if had == 6 else had + 2)
        if value is not None:
            handed_over.put((generator, had + 1))


async def leaf(n):
    return fibonacci(4) + n


async def awaiting(depth):
    return await (awaiting(depth - 1) if depth else leaf(1))


def coroutines(draw):
    try:
        awaiting(8).send(None)
    except StopIteration as stop:
        expect(stop.value, 4)


def raise_from(depth):
    if depth == 0:
        raise KeyError(depth)
    try:
        raise_from(depth - 1)
    except KeyError as error:
        raise KeyError(depth) from error


def recurse_for_ever(n):
    return recurse_for_ever(n + 1) + 1


def exceptions(draw):
    for depth in range(6):
        try:
            raise_from(depth)
        except KeyError as error:
            expect(error.args, (depth,))
    if draw.random() < 0.05:
        try:
            recurse_for_ever(0)
        except RecursionError:
            pass


def births(draw):
    results = []
    threads = [threading.Thread(target=lambda: results.append(fibonacci(8))) for _ in range(3)]
    for thread in threads:
        thread.start()
    join(threads)
    expect(results, [21] * 3)


def code_objects(draw):
    for i in range(5):
        names = {}
        made = compile(
            f"def made(n):\n    return n + {i}\n\ndef calls(n):\n    return made(n) + made(n)\n", "made", "exec"
        )
        exec(made, names)  # noqa: S102
        expect(names["calls"](1), 2 + 2 * i)
        # Some are still there when a session names them, and no other object's death has told of them since.
        until = time.monotonic() + draw.choice((0, 0, 0, 0.05))
        while time.monotonic() < until:
            names["calls"](1)


def collection(draw):
    ring = []
    ring.append(ring)
    del ring
    if draw.random() < 0.2:
        gc.collect()


def trace(frame, event, argument):
    return trace


def tracing(draw):
    how = draw.randrange(3)
    if how == 0:
        sys.settrace(trace)
        fibonacci(5)
        sys.settrace(None)
    elif how == 1:
        sys.setprofile(lambda frame, event, argument: None)
        fibonacci(5)
        sys.setprofile(None)


def monitoring(draw):
    tool = sys.monitoring.PROFILER_ID
    sys.monitoring.use_tool_id(tool, "tsan")
    sys.monitoring.register_callback(tool, sys.monitoring.events.PY_START, lambda code, offset: None)
    sys.monitoring.set_events(tool, sys.monitoring.events.PY_START)
    fibonacci(6)
    sys.monitoring.set_events(tool, 0)
    sys.monitoring.free_tool_id(tool)


WORK = (calls, generators, coroutines, exceptions, births, code_objects, collection, tracing)


def mutate(seed):
    draw = random.Random(seed)
    while not ending.is_set():
        draw.choice(WORK)(draw)
        if draw.random() < 0.1:
            time.sleep(0.001)


# --- sessions ------------------------------------------------------------------------------------------------


def stop(results):
    try:
        with undisturbed():  # it joins the session's thread
            results.append(spprof.stop())
    except RuntimeError:
        results.append(None)  # another thread was first


def hold_session(draw, mode):
    """Starts, looks at the counters meanwhile, and stops, now and then from two threads at once."""
    spprof.start(draw.choice((0.1, 0.2, 0.5)), max_depth=draw.choice((16, 256, 1024)), mode=mode)
    until = time.monotonic() + draw.choice((0.005, 0.05, 0.3))
    while time.monotonic() < until:
        counted = spprof.stats()
        expect(counted["ticks"], counted["captured"] + sum(counted["dropped"].values()))
        time.sleep(0.002)
    if draw.random() < 0.3:
        monitoring(draw)
    results = []
    rivals = [threading.Thread(target=stop, args=(results,)) for _ in range(draw.choice((0, 1)))]
    for rival in rivals:
        rival.start()
    stop(results)
    join(rivals)
    profiles = [profile for profile in results if profile is not None]
    expect(len(profiles), 1)
    expect(profiles[0].stats["ticks"], profiles[0].stats["captured"] + sum(profiles[0].stats["dropped"].values()))
    return profiles[0].stats


def main():
    wanted = {"cpu": int(sys.argv[1]), "wall": int(sys.argv[2])}
    draw = random.Random(int(sys.argv[3]))
    had = {"cpu": 0, "wall": 0}
    sessions, dropped, ticks, captured = 0, {}, 0, 0
    threads = [threading.Thread(target=mutate, args=(draw.random(),)) for _ in range(int(sys.argv[4]))]
    for thread in threads:
        thread.start()
    while not broken and any(had[mode] < wanted[mode] for mode in had):
        mode = draw.choice([mode for mode in had if had[mode] < wanted[mode]])
        stats = hold_session(draw, mode)
        had[mode] += stats["handler_runs"]
        sessions += 1
        ticks += stats["ticks"]
        captured += stats["captured"]
        for reason, count in stats["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
        print(f"{had['cpu']} {had['wall']}", flush=True)
    ending.set()
    join(threads)
    found = {
        "handler_runs": had["cpu"],
        "looks": had["wall"],
        "sessions": sessions,
        "drains": sessions,
        "ticks": ticks,
        "captured": captured,
        "dropped": {reason: count for reason, count in dropped.items() if count},
        "broken": broken[:5],
        "gil": sys._is_gil_enabled(),
    }
    with open(sys.argv[5], "w") as file:
        json.dump(found, file)


main()

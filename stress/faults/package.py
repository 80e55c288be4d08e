#!/usr/bin/env python3
"""Fault injection through the Python package: `package.py NAME [short]` tries every case on that interpreter,
`package.py NAME CALL ERROR once|lasting NTH` one.

Only uses on the thread that starts and stops count, and those of the session's own while it is waited for, so that they
come in the same order each time; driver.c has the others. Each case is a forked child: start, a little work, stop, with the planned use of the planned
call failing; then a start and a stop without. What must hold is what driver.c says.
"""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from stress.children import existing_python  # noqa: E402 - wherever this is run from

FIRED, BROKEN, NOT_REACHED = 0, 1, 3  # a case's exit status
HANG_SECONDS = 60


def read_calls():
    """[(name, [errors])] in the order of calls.def, which is the enum's."""
    import errno

    lines = (HERE / "calls.def").read_text().splitlines()
    found = [re.match(r"(?:FAULT|SYSTEM)\((\w+), (.*)\)$", line) for line in lines]
    return [(m[1], [0 if e == "0" else getattr(errno, e) for e in m[2].split(", ")]) for m in found if m]


class Faults:
    """The planner inside the extension."""

    def __init__(self, calls):
        import ctypes

        import spprof._native

        class Fault(ctypes.Structure):
            _fields_ = [
                ("call", ctypes.c_int),
                ("error", ctypes.c_int),
                ("nth", ctypes.c_uint),
                ("lasting", ctypes.c_bool),
                ("thread", ctypes.c_int),
            ]

        class Holdings(ctypes.Structure):
            _fields_ = [
                *[(name, ctypes.c_long) for name in ("blocks", "mappings", "files")],
                *[(name, ctypes.c_uint) for name in ("refused_deletes", "refused_unmaps", "refused_actions")],
            ]

        self._library = ctypes.CDLL(spprof._native.__file__)
        self._kind, self._reference = Fault, ctypes.byref
        self._numbers = {name: number for number, (name, _) in enumerate(calls)}
        self.holdings = Holdings.in_dll(self._library, "holdings")

    def plan(self, call, error, lasting, nth):
        import threading

        fault = self._kind(self._numbers[call], error, nth, lasting, threading.get_native_id())
        self._library.fault_plan(self._reference(fault))

    def __enter__(self):
        self._library.faults_on()

    def __exit__(self, *_):
        self._library.faults_off()

    @property
    def fired(self):
        return self._library.fault_fired()


def caught_signals():
    """Which of SIGSEGV, SIGBUS and the signal that asks threads the kernel has a handler for."""
    import spprof._native

    mask = int(re.search(r"SigCgt:\s*(\w+)", Path("/proc/self/status").read_text())[1], 16)
    return {number for number in (7, 11, spprof._native.signal_number()) if mask >> (number - 1) & 1}


def world():
    timers = len(re.findall(r"^ID:", Path("/proc/self/timers").read_text(), re.MULTILINE))
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "timers": timers,
        "handlers": caught_signals(),
    }


def settled(threads):
    """The world once the kernel has put away the threads that were joined."""
    import time

    for _ in range(10_000):
        if len(os.listdir("/proc/self/task")) == threads:
            break
        time.sleep(0.001)
    return world()


def must_be_as_before(before, holdings, started):
    import spprof._native

    now = settled(before["threads"])
    assert now["threads"] == before["threads"], f"threads: {before['threads']} before, {now['threads']} after"
    assert now["files"] == before["files"], f"files: {before['files']} before, {now['files']} after"
    assert now["timers"] == holdings.refused_deletes, f"timers: {now['timers']} are left"
    left = now["handlers"] - before["handlers"] - ({spprof._native.signal_number()} if started else set())
    assert len(left) <= holdings.refused_actions, f"signal handlers left behind: {sorted(left)}"
    assert holdings.mappings == holdings.refused_unmaps, f"{holdings.mappings} mappings are left"
    assert holdings.files == 0, f"{holdings.files} files were not closed"


def work(enough):
    while not enough():
        sum(range(1000))


def try_once(faults):
    """Whether the start succeeded."""
    import spprof

    before = settled(2)
    try:
        with faults:
            spprof.start(interval_ms=1)
    except (RuntimeError, MemoryError) as error:
        assert isinstance(error, MemoryError) or len(str(error)) > 10, f"the error says {error!r}"
        assert not spprof.is_active()
        must_be_as_before(before, faults.holdings, started=False)
        return False
    try:
        with faults:
            profile = spprof.stop()
    except MemoryError:  # the program is told, and what was recorded is kept
        profile = spprof.stop()
    stats, kept = profile.stats, sum(sample.weight for sample in profile)
    del profile  # its arrays are mappings
    assert stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())
    assert kept == stats["captured"], "a part of the recording is lost"
    assert not spprof.is_active()
    must_be_as_before(before, faults.holdings, started=True)
    return True


def must_work():
    import spprof

    spprof.start(interval_ms=1)
    work(lambda: spprof.stats()["captured"] > 0)
    profile = spprof.stop()
    assert any(frame.name == "work" for sample in profile for frame in sample.stack), (
        "no stack has the working function"
    )


def run_case(faults, call, error, lasting, nth):
    import signal
    import threading

    signal.alarm(HANG_SECONDS)
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    fired, blocks, started = 0, [], []
    # A block that is kept once is no leak: where threads overlap, there is a slot more for good. A leak goes on.
    while len(blocks) < 6 or (blocks[-1] > blocks[-3] and len(blocks) < 20):
        faults.plan(call, error, lasting, nth)
        started.append(try_once(faults))
        fired += faults.fired
        blocks.append(faults.holdings.blocks)
    assert blocks[-1] <= blocks[-3], f"the last tries keep {blocks[-1] - blocks[-3]} blocks of memory more"
    assert all(started) or fired, "a start failed without any fault"
    must_work()
    leave.set()
    other.join()
    return FIRED if fired else NOT_REACHED


def in_child(faults, case):
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            status = run_case(faults, *case)
        except BaseException as error:  # noqa: BLE001 - the child must end here whatever it was
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        print(f"ended by signal {os.WTERMSIG(status)}", file=sys.stderr, flush=True)
    return os.waitstatus_to_exitcode(status)


def every_use(faults, name, call, error, lasting):
    nth = 1
    while (status := in_child(faults, (call, error, lasting, nth))) == FIRED:
        nth += 1
    if status != NOT_REACHED:
        word = "lasting" if lasting else "once"
        sys.exit(f"to repeat: python3 stress/faults/package.py {name} {call} {error} {word} {nth}")
    return nth - 1


def try_all(name, short):
    calls = read_calls()
    faults = Faults(calls)
    total = 0
    for call, errors in calls:
        cases = sum(
            every_use(faults, name, call, error, lasting)
            for error in (errors[:1] if short else errors)
            for lasting in (False, True)
        )
        print(f"package-{name} {call} {cases}", flush=True)
        total += cases
    print(f"package-{name} cases {total}", flush=True)


def inside(name, words):
    """In the interpreter under test."""
    if not words or words == ["short"]:
        return try_all(name, bool(words))
    call, error, lasting, nth = words
    faults = Faults(read_calls())
    status = in_child(faults, (call, int(error), lasting == "lasting", int(nth)))
    print({FIRED: "holds", NOT_REACHED: "holds; the fault was not reached"}.get(status, "broken"))
    return int(status not in (FIRED, NOT_REACHED))


def usable(words):
    names = [name for name, _ in read_calls()]
    return words in ([], ["short"]) or (
        len(words) == 4 and words[0] in names and words[1].isdigit() and words[2] in ("once", "lasting")
        and words[3].isdigit() and int(words[3]) > 0
    )  # fmt: skip


def main():
    if len(sys.argv) < 2 or not usable(sys.argv[2:]):
        sys.exit("usage: package.py NAME [short | CALL ERROR once|lasting NTH]; CALL is one of stress/faults/calls.def")
    name = sys.argv[1]
    packages = ROOT / "build" / "stress" / "faults" / name
    if os.environ.get("SPPROF_FAULTS") == name:
        sys.exit(inside(name, sys.argv[2:]))
    if not (packages / "built").exists():
        sys.exit(f"stress/faults/package.py: nothing is built for {name}; build it with: ninja faults-built")
    python = existing_python(name)
    if python.returncode != 0:
        sys.exit(python.stderr.strip())
    environment = {**os.environ, "PYTHONPATH": str(packages), "SPPROF_FAULTS": name}
    interpreter = python.stdout.strip()
    os.execve(interpreter, [interpreter, __file__, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()

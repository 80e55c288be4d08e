"""Why no antagonist calls threading.settrace_all_threads: it crashes free-threaded CPython, with no profiler in the process.

    $(ci/python 3.13t) stress/chaos/evidence/trace_all_threads.py

For each thread it reads frame_obj of the frame that is current (maybe_set_opcode_trace in Python/legacy_tracing.c). Where a
function that C has called has returned, and something that it held is just being freed, that is the entry frame on the C
stack, whose frame_obj nobody has set (_PyEval_EvalFrameDefault): what is read is left from earlier calls. Here what is
freed is a file that waits for room in a pipe, so that threads are met there often. Ends with SIGSEGV within a second, or
says after a minute that it has not.
"""

import functools
import os
import threading
import time

SECONDS = 60
reading, writing = os.pipe()


def hook(frame, event, argument):
    return hook


def leave(_):
    file = open(writing, "wb", closefd=False)
    file.write(b"some")  # goes out when the file is freed, from C, after this frame has gone


def fill():
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)


def storm():
    while True:
        sorted(map(str, range(20)), key=functools.cmp_to_key(lambda left, right: -1))  # leaves something on the C stack
        sorted([1], key=leave)


def drain():
    while True:
        os.read(reading, 100)
        time.sleep(0.0003)


def main():
    fill()
    for function in (drain, storm, storm, storm, storm):
        threading.Thread(target=function, daemon=True).start()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        threading.settrace_all_threads(hook)
        threading.settrace_all_threads(None)
    print(f"no crash in {SECONDS} s", flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()

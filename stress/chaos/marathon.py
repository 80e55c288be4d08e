"""One process of the soak: mixed chaos, act after act, until it is ended.

    marathon.py SEED RESULT

After each act RESULT is written anew with all that was found so far, and before each it is said on standard error which it
is. Run with the package on PYTHONPATH, and with stopwatch.so preloaded, which times the handler.
"""

import ctypes
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "truth"))

import held  # noqa: E402 - the witnesses' folder is on the path by now
from acting import WITNESSES, Troupe  # noqa: E402
from antagonists import drawn  # noqa: E402
from result import write_whole  # noqa: E402

BUCKETS = 40


def handler_times():
    by_bucket, longest = (ctypes.c_uint64 * BUCKETS)(), ctypes.c_uint64()
    ctypes.CDLL(None).stopwatch_read(by_bucket, ctypes.byref(longest))
    return {"handler_ns": list(by_bucket), "worst_handler_ns": longest.value}


def main():
    seed, path = sys.argv[1:]
    dice, began, acts, troupe = random.Random(seed), time.monotonic(), 0, Troupe("cpu")
    first, left = held.counted(), {}
    while True:
        troupe.sessions.mode = troupe.mode = dice.choice(("cpu", "wall"))
        cast, witness, acts = drawn(dice, lasting=True), dice.choice(WITNESSES), acts + 1
        print(f"act {acts}, {troupe.mode}: {witness} with {', '.join(cast)}", file=sys.stderr, flush=True)
        troupe.act(cast, witness, dice, 0.5 + 2 * dice.random())
        now = held.settled(first)
        left |= {name: max(now[name] - first[name], left.get(name, 0)) for name in now if now[name] > first[name]}
        found = {**troupe.findings(), **now, **held.memory(), **handler_times()}
        write_whole(path, {**found, "acts": acts, "seconds": time.monotonic() - began, "left": left})


if __name__ == "__main__":
    main()

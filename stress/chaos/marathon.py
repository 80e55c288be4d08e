"""One process of the soak: mixed chaos, act after act, until it is ended.

    marathon.py SEED PROCESSORS RESULT

The first acts are each antagonist alone, in both modes, so that what it takes at all is there early; then some drawn at
random are mixed. After each act RESULT is written anew with all that was found so far, and before each it is said on
standard error which it is. Run with the package on PYTHONPATH, and with stopwatch.so preloaded, which times the handler.
"""

import ctypes
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent / "truth", HERE.parent.parent):
    sys.path.insert(0, str(folder))

import held  # noqa: E402 - the witnesses' folder is on the path by now
from acting import WITNESSES, Troupe  # noqa: E402
from antagonists import drawn, mixable  # noqa: E402

from stress.results import write_whole  # noqa: E402

MODES = ("cpu", "wall")
BUCKETS = 40


def handler_times():
    by_bucket, longest = (ctypes.c_uint64 * BUCKETS)(), ctypes.c_uint64()
    held.libc.stopwatch_read(by_bucket, ctypes.byref(longest))
    return {"handler_ns": list(by_bucket), "worst_handler_ns": longest.value}


def programme(dice):
    """(mode, cast, seconds) of one act after the other."""
    for name in mixable(lasting=True):
        for mode in MODES:
            yield mode, [name], 0.5
    while True:
        yield dice.choice(MODES), drawn(dice, lasting=True), 0.5 + 2 * dice.random()


def main():
    seed, processors, path = sys.argv[1:]
    dice, began, troupe = random.Random(seed), time.monotonic(), Troupe(MODES[0], int(processors))
    first, left = held.counted(), {}
    for acts, (mode, cast, seconds) in enumerate(programme(dice), 1):
        troupe.sessions.mode = troupe.mode = mode
        witness = dice.choice(WITNESSES)
        print(f"act {acts}, {mode}: {witness} with {', '.join(cast)}", file=sys.stderr, flush=True)
        troupe.act(cast, witness, dice, seconds)
        now = held.settled(first)
        left |= {name: max(now[name] - first[name], left.get(name, 0)) for name in now if now[name] > first[name]}
        found = {**troupe.findings(), **now, **held.memory(), **handler_times()}
        found |= {"acts": acts, "players": troupe.players, "seconds": time.monotonic() - began, "left": left}
        write_whole(path, found, indent=None)  # by the encoder in C, which makes no objects of its own


if __name__ == "__main__":
    main()

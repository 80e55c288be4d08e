"""What a walk costs: a look of the core's from outside beside the walk of another walker, at one stack in one process.

    cost.py DEPTH WALKER RESULT

The stack is this program's own and stands still. RESULT gets the nanoseconds a walk of the fastest of many batches; the two
walkers' batches take turns. Run with the driver's folder on PYTHONPATH."""

import sys
from pathlib import Path

import truth_driver

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from stress.results import write_whole

REPEATS = 3


def descend(frames, walker):
    if frames > 1:
        return descend(frames - 1, walker)
    return min(truth_driver.compare(walker) for _ in range(REPEATS))


def main():
    depth, walker, path = sys.argv[1:]
    # The module and this function are frames as well.
    ours, seed = descend(int(depth) - 2, walker)
    write_whole(path, {"ours_ns": ours, "seed_ns": seed})


main()

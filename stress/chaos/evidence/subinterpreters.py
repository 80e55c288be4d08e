"""What free-threaded CPython keeps of each interpreter that was made, run and destroyed, with no profiler in the process.

    $(ci/python 3.14t) stress/chaos/evidence/subinterpreters.py

Prints the resident memory that each of some dozens added, MiB.
"""

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import held
from antagonists.subinterpreters import Subinterpreters

FEW, MANY = 3, 20


class Plain:
    """The dice of a round that makes one."""

    @staticmethod
    def randrange(low, high):
        return low


def batch(number):
    antagonist = Subinterpreters(None)
    thread = threading.Thread(target=lambda: [antagonist.round(Plain) for _ in range(number)])
    thread.start()
    thread.join()


def main():
    batch(FEW)  # what the first ones take at all
    before = held.memory()["process"]
    batch(MANY)
    print(f"{(held.memory()['process'] - before) / MANY / 2**20:.2f} MiB of each stays")


if __name__ == "__main__":
    main()

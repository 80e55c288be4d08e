"""One cell: antagonists beside a witness, in this process.

    child.py NAMES MODE SECONDS SEED PROCESSORS RESULT

NAMES are antagonists with a plus between them, or mixed: some are drawn. MODE is cpu or wall.
PROCESSORS is how many there are for this cell. RESULT is the file that the findings go to. Run with
the package on PYTHONPATH.
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent / "truth", HERE.parent.parent):
    sys.path.insert(0, str(folder))

import antagonists  # noqa: E402 - the witnesses' folder is on the path by now
import held  # noqa: E402
from acting import WITNESSES, Troupe  # noqa: E402

from stress.results import write_whole  # noqa: E402


def main():
    names, mode, seconds, seed, processors, path = sys.argv[1:]
    dice, seconds = random.Random(seed), float(seconds)
    mixed = names == "mixed"
    names = antagonists.drawn(dice) if mixed else names.split("+")
    troupe, witness = Troupe(mode, int(processors)), dice.choice(WITNESSES)
    troupe.act(names, witness, dice, seconds / 3)  # warms up: what is needed at all is there when growth is measured
    before, kept = {**held.counted(), **held.memory()}, troupe.kept
    troupe.act(names, witness, dice, seconds * 2 / 3)
    after = {**held.settled(before), **held.memory()}
    leaks = held.leaks(before, after, troupe.kept - kept, troupe.players)
    write_whole(
        path,
        {
            **troupe.findings(),
            "names": names,
            "players": troupe.players,
            "before": before,
            "after": after,
            "leaks": leaks,
        },
    )


if __name__ == "__main__":
    main()

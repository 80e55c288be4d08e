"""shares.py NAME: prints as JSON what that interpreter captured of its ticks, in cpu and wall mode. Run in
the copy by ci/arm64."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))

import support

TICKS = 4000


def main():
    interpreter, modes = support.interpreter(sys.argv[1]), {}
    for mode, scenario in (("cpu", "capture"), ("wall", "wall")):
        stats = interpreter.run(scenario, TICKS).json["stats"]
        modes[mode] = {"ticks": stats["ticks"], "captured": stats["captured"], "dropped": stats["dropped"]}
    print(json.dumps(modes))


if __name__ == "__main__":
    main()

"""What several runs have shown together, and what a run has judged."""

import hashlib
import json
from pathlib import Path

from stress.results import bound

SOURCES = ("*.c", "*.h", "*.S")
COUNTED = ("captured", "impossible", "waiting", "moved")


def digest_of(folder):
    """The sources below a folder, each with its path."""
    digest = hashlib.sha256()
    for path in sorted(path for kind in SOURCES for path in Path(folder).rglob(kind)):
        for part in (str(path.relative_to(folder)).encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def read_run(path):
    """A run's result, or SystemExit with one line."""
    try:
        run = json.loads(Path(path).read_text())
        return {"judged": dict(run["judged"]), "cells": [dict(cell) for cell in run["cells"]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        wanted = "name files that ninja truth has left (build/results/truth.json)"
        raise SystemExit(f"truth: {path} is no result of a run ({error!r}); {wanted}") from None


def check_alike(paths, runs, any_core):
    for number, (path, run) in enumerate(zip(paths, runs, strict=True)):
        for other, before in zip(paths[:number], runs[:number], strict=True):
            if run["cells"] == before["cells"]:
                raise SystemExit(f"truth: {other} and {path} are the same run; name each once")
        differ = [name for name, of in run["judged"].items() if of != runs[0]["judged"].get(name)]
        if differ == ["core"] and any_core:
            continue
        if differ:
            wanted = "sum them apart" + (", or add --any-core" if differ == ["core"] else "")
            raise SystemExit(f"truth: {path} judged another {differ[0]} than {paths[0]}; {wanted}")


def name_of(cell):
    return f"{cell['workload']}/{cell['interpreter']}/{cell['mode']}"


def total_of(cells):
    return {key: sum(cell.get(key, 0) for cell in cells) for key in COUNTED}


def told(name, total):
    rate = bound(total["captured"], total["impossible"])
    counts = f"{total['captured']:>15,} captured"
    counts += f" ({total['waiting']:,} waiting, {total['moved']:,} moved)"
    return f"{name:12} {counts}, {total['impossible']:,} impossible ({rate} at 95 %)"


def lines_of(runs):
    """What they show together, of what was judged: all, each mode, and the swings."""
    ours = [cell for run in runs for cell in run["cells"] if cell["kind"] == "ours"]
    parts = {"all": ours}
    for mode in ("storm", "cpu", "wall"):
        parts[mode] = [cell for cell in ours if cell["mode"] == mode]
    parts["swings"] = [cell for cell in ours if cell["workload"] == "swings"]
    return [told(name, total_of(cells)) for name, cells in parts.items()]


def add_up(paths, any_core):
    """Prints it. The exit status: 1 where a cell of any run had something to complain of."""
    runs = [read_run(path) for path in paths]
    check_alike(paths, runs, any_core)
    cores = sorted({run["judged"]["core"][:12] for run in runs})
    print(f"{len(runs)} runs of core {', '.join(cores)}")
    print("\n".join(lines_of(runs)))
    wrong = [
        f"FAILED {path}: {name_of(cell)} ({cell['kind']}): {text}"
        for path, run in zip(paths, runs, strict=True)
        for cell in run["cells"]
        for text in cell["complaints"]
    ]
    if wrong:
        print("\n".join(wrong))
    return 1 if wrong else 0

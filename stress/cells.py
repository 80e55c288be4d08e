"""A cell of a run: a program that is watched to its end, and what it has found."""

import json
import subprocess
import tempfile
from pathlib import Path

from stress.children import describe, end_group

LAST_LINES = 8


def watch(command, environment, seconds, children, prefix):
    """(what it has found, what is wrong with it), each of them or None. `command(result)` is to leave
    the findings as JSON in the file `result`; past `seconds` it is said to hang. Raises Stopped where
    `children` were stopped."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        result, errors = Path(folder) / "result.json", Path(folder) / "errors"
        with open(errors, "w") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            with children.start(command(result), env=environment, **streams) as child:
                try:
                    problem = describe(child.wait(seconds))
                except subprocess.TimeoutExpired:
                    problem = "hung"
                end_group(child)  # and whatever it has started
        found = json.loads(result.read_text()) if result.exists() else None
        if found is None and problem is None:
            problem = "left no result"
        if problem is not None:
            tail = errors.read_text(errors="replace").splitlines()[-LAST_LINES:]
            problem += "".join(f"\n    {line}" for line in tail)
        return found, problem

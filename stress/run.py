"""Everything under stress, one part after the other, into build/results/stress.json.

The parts are ThreadSanitizer (tsan), injected faults (faults) and chaos (chaos); each is a command of its own too. A part
that this tree does not have is said to be missing, and the run fails.

Environment: STRESS_SEED, STRESS_ONLY and STRESS_SECONDS as stress/chaos/run.py has them.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = ROOT / "build" / "results"
sys.path.insert(0, str(ROOT))

from stress.chaos.run import seed_from_environment  # noqa: E402 - wherever this is run from
from stress.children import begun, catch_signals  # noqa: E402
from stress.results import write_whole  # noqa: E402


def parts(seed):
    """Name, command, and the file that its result goes to."""
    yield "tsan", ["stress/tsan/run.py", "--short", "--seed", str(seed)], RESULTS / "tsan.json"
    yield "faults", ["stress/faults/run.py", "--short"], RESULTS / "faults.json"
    yield "chaos", ["stress/chaos/run.py"], RESULTS / "chaos.json"


def run_part(name, command, result, seed):
    """(what it found, what is wrong with it)"""
    if not (ROOT / command[0]).exists():
        return None, f"there is no {command[0]}"
    result.unlink(missing_ok=True)
    environment = {**os.environ, "STRESS_SEED": str(seed)}
    with begun([sys.executable, *command], cwd=ROOT, env=environment) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.terminate()  # it ends what it started, and keeps what it had
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(30)
            raise
    found = json.loads(result.read_text()) if result.exists() else None
    if status:
        return found, f"ended with status {status}"
    return found, None if found is not None else f"left no {result.relative_to(ROOT)}"


def run_all(seed, found, wrong):
    for name, command, result in parts(seed):
        began = time.monotonic()
        print(f"stress: {name}", flush=True)
        found[name], problem = run_part(name, command, result, seed)
        if problem:
            wrong[name] = problem
        print(f"stress: {name} took {time.monotonic() - began:.0f} s{f': {problem}' if problem else ''}", flush=True)


def main():
    catch_signals()
    seed = seed_from_environment()
    print(f"stress: seed {seed}", flush=True)
    found, wrong, interrupted = {}, {}, False
    try:
        run_all(seed, found, wrong)
    except KeyboardInterrupt:
        interrupted = True
        print("stress: interrupted; what the parts before found was kept")
    write_whole(RESULTS / "stress.json", {"seed": seed, **found, "wrong": wrong, "interrupted": interrupted})
    for name, problem in wrong.items():
        print(f"FAILED {name}: {problem}")
    if wrong or interrupted:
        names = ("STRESS_ONLY", "STRESS_SECONDS")
        chosen = [f"{name}={shlex.quote(os.environ[name])}" for name in names if os.environ.get(name)]
        print(" ".join(["to repeat:", f"STRESS_SEED={seed}", *chosen, "ninja stress"]), flush=True)
    return 130 if interrupted else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

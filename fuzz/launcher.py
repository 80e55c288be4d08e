"""Builds a target in Python: a launcher that runs fuzz/python_driver.py on it in the environment of ci/setup.

With a planted bug the launcher has a copy of the package beside it.
"""

import shlex
import shutil
from pathlib import Path

from targets import FUZZ, PACKAGES, ROOT

# What the driver is asked for. `plain` is here for the commands that ask for it: Python has no sanitizers to leave out.
MODES = {
    "fuzz": "fuzz", "planted": "fuzz", "planted-replay": "replay", "replay": "replay", "plain": "replay",
    "coverage": "coverage",
}  # fmt: skip


def weakened(target, out):
    """A copy of the package, with the planted bug."""
    copy = Path(f"{out}-packages")
    shutil.rmtree(copy, ignore_errors=True)
    bug = target.planted
    shutil.copytree(PACKAGES, copy, ignore=shutil.ignore_patterns("__pycache__", "native"))
    (copy / (ROOT / bug.file).relative_to(PACKAGES)).write_text(bug.text())
    return copy


def build(variant, target, out):
    out.parent.mkdir(parents=True, exist_ok=True)
    packages = weakened(target, out) if variant.startswith("planted") else PACKAGES
    words = shlex.join(map(str, [FUZZ / "python_driver.py", MODES[variant], target.name, packages]))
    new = Path(f"{out}.new")
    new.write_text(
        "#!/bin/sh\n"
        f"venv=$({shlex.quote(str(ROOT / 'ci' / 'setup'))} --venv) || exit 2\n"
        "export PYTHONDONTWRITEBYTECODE=1\n"
        f'exec "$venv/bin/python" {words} "$0" "$@"\n'
    )
    new.chmod(0o755)
    new.rename(out)
    sources = sorted(str(path.relative_to(ROOT)) for path in PACKAGES.rglob("*.py"))
    Path(f"{out}.d").write_text(f"{out}: {' '.join(sources)}\n")

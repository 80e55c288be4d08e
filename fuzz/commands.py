"""What the commands in this folder have in common."""

import os
import subprocess
import sys

from targets import ROOT, TARGETS


def target_of(arguments, usage):
    """(target, other arguments) of a command line that begins with a target's name."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage.strip())
        raise SystemExit(0)
    if not arguments or arguments[0] not in TARGETS:
        raise SystemExit(f"{usage.strip()}\nTARGET is one of: {' '.join(TARGETS)}")
    return TARGETS[arguments[0]], arguments[1:]


def program(target, variant):
    """The target built that way, made where it is missing or old."""
    path = target.program(variant).relative_to(ROOT)
    try:
        built = subprocess.run(["ninja", "-C", ROOT, path], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit("fuzz: there is no ninja; provide it with: ci/setup") from None
    if built.returncode != 0:
        raise SystemExit(f"{built.stdout}{built.stderr}fuzz: it does not build; repeat it with: ninja {path}")
    return target.program(variant)


def become(path, *arguments):
    sys.stdout.flush()
    os.execv(path, [str(path), *map(str, arguments)])

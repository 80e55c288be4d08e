"""Feeds a target that is written in Python: targets/NAME.py. What fuzz/driver.c is to the targets in C.

python_driver.py fuzz TARGET PACKAGES PROGRAM ARGUMENT...      by libFuzzer (Atheris), whose arguments these are
python_driver.py replay TARGET PACKAGES PROGRAM [OPTION] FILE-OR-FOLDER...
python_driver.py coverage TARGET PACKAGES PROGRAM FILE-OR-FOLDER...

PACKAGES is the folder with the package to be tried, PROGRAM the launcher (fuzz/launcher.py) that called. A replay
prints what driver.c prints, and its exit status is 0 where nothing failed, 1 where the oracle or the package did and 2 where
there was nothing to try. OPTION: --rounds=N for the rate, --stability for how many inputs do the same when tried again.
"""

import faulthandler
import hashlib
import importlib
import importlib.util
import sys
import time
import traceback
from pathlib import Path

import lines
from targets import TARGETS

STABILITY_SECONDS = 5  # until no further input is begun with


class Refused(Exception):
    """Wrong arguments, or nothing to try; the message says it all."""


# --- the target --------------------------------------------------------------------------------------------------


def module_of(target):
    specification = importlib.util.spec_from_file_location(f"target_{target.name}", target.source)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def import_watched(module, packages):
    sys.path.insert(0, packages)
    watched = {name: importlib.import_module(name) for name in module.WATCHED}
    for name, found in watched.items():
        if not Path(found.__file__).is_relative_to(packages):
            raise Refused(f"{name} was imported from {found.__file__}, and not from {packages}")
    return watched


def atheris():
    try:
        return importlib.import_module("atheris")
    except ImportError:
        raise Refused("there is no Atheris; provide it with: ci/setup (it is made for x86-64)") from None


# --- fuzzing -----------------------------------------------------------------------------------------------------


def fuzz(target, packages, program, arguments):
    fuzzer, module = atheris(), module_of(target)
    with fuzzer.instrument_imports(include=list(module.WATCHED)):
        watched = import_watched(module, packages)
    # The number of the next edge is that of all before it.
    print(f"fuzz: {target.name}: {fuzzer._reserve_counter()} edges", file=sys.stderr)
    tried = module.Target(watched)

    def one(data):
        tried.try_one(data[: module.LARGEST])

    fuzzer.Setup([program, *arguments], one)
    fuzzer.Fuzz()


# --- inputs ------------------------------------------------------------------------------------------------------


def inputs_below(paths, largest):
    """(path, bytes) of each file that is named, or below a folder that is."""
    if not paths:
        raise Refused("there is nothing to try; name files or folders of inputs")
    for name in paths:
        path = Path(name)
        files = sorted(below for below in path.rglob("*") if is_input(below)) if path.is_dir() else [path]
        for file in files:
            try:
                with open(file, "rb") as opened:
                    yield str(file), opened.read(largest)
            except OSError as error:
                raise Refused(f"{file}: cannot be read ({error.strerror}); name a file or a folder of inputs") from None


def is_input(path):
    return path.is_file() and not path.name.startswith((".", "README"))


# --- replay ------------------------------------------------------------------------------------------------------


def complaint_of(error):
    """One line; for what no oracle raised, with the place."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, AssertionError):
        return said.partition(": ")[2]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{said} ({Path(place.filename).name}:{place.lineno})"


def try_all(target, tried, inputs):
    """Says what each came to. Returns the exit status."""
    reached = {}
    for path, data in inputs:
        print(f"{path}:", end="", flush=True)
        try:
            words, _ = tried.try_one(data)
        except Exception as error:  # noqa: BLE001 - whatever the package raises is what is looked for
            sys.stdout.flush()
            print(f"\nfuzz: {target.name}: {complaint_of(error)}", file=sys.stderr)
            print(f"fuzz: {target.name}: repeat with: fuzz/replay {target.name} {path}", file=sys.stderr)
            return 1
        print("", *words)
        reached.update(dict.fromkeys(words))
    print(f"fuzz: {target.name}: {len(inputs)} files, reached:", *reached)
    return 0


def measure(target, tried, inputs, rounds):
    began = time.process_time()
    for _ in range(rounds):
        for _, data in inputs:
            tried.try_one(data)
    count = rounds * len(inputs)
    rate = count / (time.process_time() - began)
    print(f"fuzz: {target.name}: {count} tried, {rate:.0f} a second of one core")
    return 0


def measure_stability(target, tried, inputs, files):
    """Each input twice, the second time in the opposite order: what is written and which lines run must be the same.

    Goes on to further inputs for STABILITY_SECONDS; a kept corpus has no end.
    """

    def trial(data):
        with lines.Watch(files) as watch:
            _, written = tried.try_one(data)
        digests = [
            hashlib.sha256(part if isinstance(part, bytes) else ascii(part).encode()).digest() for part in written
        ]
        return digests, watch.seen

    first, began = [], time.monotonic()
    for _, data in inputs:
        first.append((data, trial(data)))
        if time.monotonic() - began > STABILITY_SECONDS:
            break
    alike = sum(trial(data) == found for data, found in reversed(first))
    count = f"{len(first)} of {len(inputs)} files"
    print(f"fuzz: {target.name}: {count}, {100 * alike / len(first):.2f} % do the same again")
    return 0


def options_of(arguments):
    """(rounds, whether stability is asked for, paths)"""
    rounds, stability, paths = 0, False, []
    for word in arguments:
        name, _, value = word.partition("=")
        if name == "--rounds" and value.isdecimal() and int(value) > 0:
            rounds = int(value)
        elif word == "--stability":
            stability = True
        elif word.startswith("--"):
            raise Refused(f"there is no option {word}; there are: --rounds=N --stability")
        else:
            paths.append(word)
    return rounds, stability, paths


def replay(target, packages, program, arguments):
    rounds, stability, paths = options_of(arguments)
    module = module_of(target)
    inputs = list(inputs_below(paths, module.LARGEST))
    if not inputs:
        raise Refused("there is nothing to try; name files or folders of inputs")
    watched = import_watched(module, packages)
    tried = module.Target(watched)
    if rounds:
        return measure(target, tried, inputs, rounds)
    if stability:
        return measure_stability(target, tried, inputs, [found.__file__ for found in watched.values()])
    return try_all(target, tried, inputs)


def coverage(target, packages, program, arguments):
    """Which lines of the package the inputs reach, by file; on standard output, behind what a replay says."""
    module = module_of(target)
    inputs = list(inputs_below(arguments, module.LARGEST))
    files = [file_of(packages, name) for name in module.WATCHED]
    with lines.Watch(files) as watch:  # the modules are run too when they are imported
        status = try_all(target, module.Target(import_watched(module, packages)), inputs)
    for file in files:
        print(lines.row(file, Path(file).relative_to(packages), watch))
    return status


def file_of(packages, name):
    """Where a module is, without importing what is around it."""
    place = Path(packages, *name.split("."))
    return str(place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))


MODES = {"fuzz": fuzz, "replay": replay, "coverage": coverage}


def main(mode, name, packages, program, *arguments):
    if mode != "fuzz":  # libFuzzer has handlers of its own
        faulthandler.enable()
    try:
        return MODES[mode](TARGETS[name], packages, program, arguments)
    except Refused as refused:
        print(f"fuzz: {name}: {refused}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

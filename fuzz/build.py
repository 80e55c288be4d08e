#!/usr/bin/env python3
"""fuzz/build.py VARIANT TARGET OUT: builds one target. Run by ninja (targets fuzz-binaries and fuzz-replay).
fuzz/build.py --list: each target in C, the harness and the core that it takes, with commas between,
and the core's flags.

VARIANT  afl        for AFL++, without sanitizers
         afl-asan   for AFL++, with AddressSanitizer and UBSan
         planted    for AFL++, with the target's planted bug: the control that must be found;
                    planted-2 with its second
         planted-replay  the same, for files and folders; planted-2-replay
         libfuzzer  for libFuzzer, with AddressSanitizer and UBSan
         replay     for files and folders, with AddressSanitizer and UBSan
         plain      for files and folders, without sanitizers
         coverage   for files and folders, counting what is executed
         fuzz       for Atheris, of a target in Python; planted, planted-replay, replay, plain and coverage are alike

The core alone is watched by the fuzzer: branches of the harness are not worth a place in the corpus.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import launcher
from targets import FUZZ, ROOT, TARGETS, core_sources

WARNINGS = ("-Wall", "-Wextra", "-Werror")
FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", *WARNINGS, "-Icore", "-Icore/include", "-Ifuzz")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
# compiler of the core and driver, flags for everything, flags for the core alone
VARIANTS = {
    "afl": ("afl-clang-fast", ("-DFUZZ_AFL",), ()),
    "afl-asan": ("afl-clang-fast", ("-DFUZZ_AFL", *SANITIZERS), ()),
    "planted": ("afl-clang-fast", ("-DFUZZ_AFL",), ()),
    "planted-replay": ("clang", SANITIZERS, ()),
    "libfuzzer": ("clang", ("-DFUZZ_LIBFUZZER", *SANITIZERS), ("-fsanitize=fuzzer-no-link",)),
    "replay": ("clang", SANITIZERS, ()),
    "plain": ("clang", (), ()),
    "coverage": ("clang", (), ("-fprofile-instr-generate", "-fcoverage-mapping")),
}
LINK = {"libfuzzer": ("-fsanitize=fuzzer",), "coverage": ("-fprofile-instr-generate",)}


def run(command):
    environment = {**os.environ, "AFL_QUIET": "1", "AFL_LLVM_DENYLIST": str(FUZZ / "afl-denylist")}
    try:
        done = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment)
    except FileNotFoundError:
        raise SystemExit(f"fuzz/build.py: there is no {command[0]}; provide it with: ci/setup") from None
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def core_of(target):
    """The core's sources, some with what the target adds to them."""
    stand_ins = {ROOT / source: FUZZ / name for source, name in target.stand_ins}
    return [stand_ins.get(path, path) for path in core_sources()]


def with_planted_bug(bug, target, folder):
    """The same, with the source that has the bug in place of the sound one, and flags by which a
    stand-in includes it."""
    copy = Path(folder) / Path(bug.file).name
    copy.write_text(f'#line 1 "{bug.file}"\n' + bug.text())
    sources = [copy if path == ROOT / bug.file else path for path in core_of(target)]
    return sources, ["-iquote", folder, f"-I{(ROOT / bug.file).parent}"]


def compile_all(compiler, flags, sources, folder, depfiles):
    objects = []
    for source in sources:
        made = Path(folder) / f"{source.parent.name}-{source.stem}.o"
        run([compiler, *FLAGS, *flags, "-MD", "-MF", f"{made}.d", "-c", source, "-o", made])
        depfiles.append(Path(f"{made}.d"))
        objects.append(made)
    return objects


def write_depfile(out, depfiles, folder):
    """What the program was made from; the copy with the planted bug is not among it, its original is."""
    files = {str(path) for path in core_sources()}
    for depfile in depfiles:
        files.update(depfile.read_text().replace("\\\n", " ").partition(":")[2].split())
    names = sorted(name for name in files if not name.startswith(folder))
    Path(f"{out}.d").write_text(f"{out}: {' '.join(names)}\n")


def kind_of(variant):
    """Whatever the bug's number is."""
    return re.sub(r"-\d+", "", variant)


def build(variant, target, out):
    bug = target.planted_in(variant)
    compiler, flags, core_flags = VARIANTS[kind_of(variant)]
    plain = "clang" if compiler == "afl-clang-fast" else compiler
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=out.parent) as folder:
        core, include = with_planted_bug(bug, target, folder) if bug else (core_of(target), [])
        depfiles = []
        harness = [target.source, *(FUZZ / name for name in target.harness)]
        objects = compile_all(plain, flags, harness, folder, depfiles)
        objects += compile_all(compiler, flags, [FUZZ / "driver.c"], folder, depfiles)
        objects += compile_all(compiler, (*flags, *core_flags, *target.core_flags, *include), core, folder, depfiles)
        made = Path(folder) / "program"
        run([compiler, *flags, *LINK.get(variant, ()), *objects, "-o", made, "-lpthread", "-ldl", "-lrt"])
        made.rename(out)
        write_depfile(out, depfiles, str(folder))


def print_list():
    for target in [target for target in TARGETS.values() if target.language == "c"]:
        sources = ([FUZZ / name for name in target.harness], core_of(target))
        columns = [",".join(os.path.relpath(path, ROOT) for path in some) or "," for some in sources]
        print(target.name, *columns, *target.core_flags)


def main(arguments):
    if arguments == ["--list"]:
        return print_list()
    if len(arguments) != 3 or arguments[1] not in TARGETS:
        raise SystemExit(f"{__doc__}\ntargets: {' '.join(TARGETS)}")
    variant, target, out = arguments[0], TARGETS[arguments[1]], Path(arguments[2]).resolve()
    builds = {"c": (build, VARIANTS), "python": (launcher.build, launcher.MODES)}
    builder, known = builds[target.language]
    variants = dict.fromkeys([*known, *target.controls, *(f"{name}-replay" for name in target.controls)])
    if variant not in variants:
        raise SystemExit(f"fuzz/build.py: {target.name} is not built for '{variant}'; there are: {' '.join(variants)}")
    builder(variant, target, out)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Builds what the sanitizer runs: the synthetic interpreter over the core, over each broken copy of it (controls.py),
and the package for CPython with it. Into build/stress/tsan; what is up to date is left alone."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from stress.children import existing_python, run_to_its_end  # noqa: E402 - wherever this is run from

BUILD = ROOT / "build" / "stress" / "tsan"
INTERPRETERS = ("3.14t-tsan", "3.15t-tsan")  # the first is the usual one

FLAGS = "-std=gnu11 -g -fPIC -pthread -Wall -Wextra -Werror".split()
SANITIZED = ["clang", *FLAGS, "-O1", "-fsanitize=thread"]
PLAIN = ["cc", *FLAGS, "-O2"]
SYNTHETIC = [ROOT / "stress" / "interpreter" / f"{name}.c" for name in ("interpreter", "workload", "oracle", "main")]

# The extension's timers run by the clock and not by CPU time, whose ticks come at most at the kernel's own rate.
BY_THE_CLOCK = (
    (
        "ordinary/timers.c",
        "    if (syscall(SYS_timer_create, clock, ",
        "    clock = CLOCK_MONOTONIC;\n    if (syscall(SYS_timer_create, clock, ",
    ),
)


class Failed(Exception):
    """What ends the run; one line."""


def checked(command, what, **options):
    try:
        done = run_to_its_end(list(map(str, command)), cwd=ROOT, **options)
    except FileNotFoundError:
        raise Failed(f"{what} needs {command[0]}, which is not installed; provide it with: ci/setup") from None
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        hint = "; provide its run-time library with: ci/setup" if "libclang_rt" in tail else ""
        raise Failed(f"{tail}\n{what} could not be built{hint}")
    return done.stdout


def copy_core(folder, patches):
    """core/ with each patch applied; a text that is not there exactly once is an error."""
    shutil.copytree(ROOT / "core", folder / "core", ignore=shutil.ignore_patterns("python", "example", "__pycache__"))
    for name, before, after in patches:
        path = folder / "core" / name
        text = path.read_text()
        if text.count(before) != 1:
            raise Failed(f"core/{name} has {text.count(before)} places like {before.strip().splitlines()[0]!r}, not 1")
        path.write_text(text.replace(before, after))


def is_current(target, stamp):
    return (
        target.exists() and target.with_suffix(".stamp").exists() and target.with_suffix(".stamp").read_text() == stamp
    )


def sources_of(*folders):
    return sorted(path for folder in folders for path in folder.rglob("*.[chp]*") if path.is_file())


def stamp_of(*parts):
    digest = hashlib.sha256(repr(parts).encode())
    for path in [*sources_of(ROOT / "core", ROOT / "stress" / "interpreter"), HERE / "heap.c", HERE / "build.py"]:
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def make(target, stamp, patches, recipe):
    """Runs recipe(folder with the core, output path) unless `target` is up to date. Whole or not at all."""
    if is_current(target, stamp):
        return target
    folder = target.with_suffix(f".{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        copy_core(folder, patches)
        made = folder / target.name
        recipe(folder / "core", made)
        made.replace(target)
        target.with_suffix(".stamp").write_text(stamp)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def includes(core):
    return [f"-I{core}", f"-I{core}/include", f"-I{ROOT}/stress/interpreter"]


def core_files(core, without=()):
    return [
        path for folder in (core, core / "ordinary") for path in sorted(folder.glob("*.c")) if path.name not in without
    ]


def sanitized_interpreter(name, patches=()):
    """The synthetic interpreter with explicit delivery, under ThreadSanitizer, over a copy of the core."""

    def recipe(core, made):
        threads = made.parent / "threads.o"
        command = [*SANITIZED, *includes(core), "-Dmmap=heap_mmap", "-Dmunmap=heap_munmap"]
        checked([*command, "-c", core / "ordinary" / "threads.c", "-o", threads], name)
        files = [*core_files(core, ("threads.c", "timers.c")), *SYNTHETIC, HERE / "heap.c"]
        files.append(ROOT / "stress" / "interpreter" / "delivery_explicit.c")
        checked([*SANITIZED, "-DEXPLICIT_DELIVERY", *includes(core), *files, threads, "-ldl", "-lrt", "-o", made], name)

    return make(BUILD / f"interpreter-{name}", stamp_of(name, SANITIZED, patches), patches, recipe)


def plain_interpreter():
    """The synthetic interpreter without a sanitizer: real timers, real signals."""

    def recipe(core, made):
        files = [*core_files(core), *SYNTHETIC, ROOT / "stress" / "interpreter" / "delivery_kernel.c"]
        wrap = "-Wl,--wrap=timers_open,--wrap=timers_close"
        checked([*PLAIN, *includes(core), *files, wrap, "-ldl", "-lrt", "-o", made], "the uninstrumented interpreter")

    return make(BUILD / "interpreter-plain", stamp_of("plain", PLAIN), (), recipe)


def package_folder(interpreter):
    return ROOT / "build" / "python" / interpreter


def package(interpreter):
    """The package for that interpreter, one of INTERPRETERS. Returns the interpreter's path."""
    found, folder = existing_python(interpreter), package_folder(interpreter)
    if found.returncode != 0:
        raise Failed(found.stderr.strip().splitlines()[-1])

    def recipe(core, made):
        objects = []
        for path in core_files(core):
            objects.append(made.parent / f"{path.stem}.o")
            rings = ["-Dmmap=heap_mmap", "-Dmunmap=heap_munmap"] if path.name == "threads.c" else []
            checked([*SANITIZED, *includes(core), *rings, "-c", path, "-o", objects[-1]], f"the core for {interpreter}")
        objects.append(made.parent / "heap.o")
        checked([*SANITIZED, "-c", HERE / "heap.c", "-o", objects[-1]], f"the core for {interpreter}")
        checked(["ar", "rcs", made, *objects], f"the core for {interpreter}")
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "CC": "clang", "CFLAGS": "-fsanitize=thread"}
        checked(
            ["ci/extension", interpreter, folder / "built", made], f"the package for {interpreter}", env=environment
        )

    make(
        BUILD / f"libspprof-{interpreter}.a",
        stamp_of("package", SANITIZED, found.stdout, extension_sources()),
        BY_THE_CLOCK,
        recipe,
    )
    return Path(found.stdout.strip())


def extension_sources():
    return [path.read_text() for path in sources_of(ROOT / "core" / "python" / "native")] + [
        (ROOT / "ci" / "extension").read_text()
    ]

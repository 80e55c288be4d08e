"""Every call of the core made to fail (stress/faults), and cores that would not stand it."""

import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import support

from stress.interpreters import FREE_THREADED

FAULTS = support.ROOT / "stress" / "faults"
BUILT = support.BUILD / "stress" / "faults"
LISTED = re.compile(r"^(FAULT|SYSTEM|SOUND)\((\w+), (.*)\)$", re.MULTILINE)


@pytest.fixture(scope="session")
def driver():
    support.ninja("build/stress/faults/driver")
    return BUILT / "driver"


def listed():
    """{call: kind} of calls.def."""
    return {name: kind for kind, name, _ in LISTED.findall((FAULTS / "calls.def").read_text())}


def symbols(path, *options):
    run = subprocess.run(["nm", "-P", *options, path], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in run.stdout.splitlines() if " " in line}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, cwd=support.ROOT)


def cases(outcome):
    """{call: cases}, from the lines of a program that was to try them all."""
    assert outcome.returncode == 0, outcome.stderr
    return {line.split()[1]: int(line.split()[2]) for line in outcome.stdout.splitlines()}


# --- the list ------------------------------------------------------------------------------------------


def outside():
    """What the core asks the linker for and does not have."""
    support.ninja("build/libspprof.a")
    archive = support.BUILD / "libspprof.a"
    of_the_linker = {"_GLOBAL_OFFSET_TABLE_", "__start_spprof_loads", "__stop_spprof_loads"}
    return symbols(archive, "-u") - symbols(archive, "--defined-only") - of_the_linker


def test_every_call_is_listed():
    system_calls = {name for name, kind in listed().items() if kind == "SYSTEM"}
    source = "".join(path.read_text() for path in (support.ROOT / "core").rglob("*.c"))
    made = set(re.findall(r"\bSYS_(\w+)", source))
    assert outside() - {"syscall"} - listed().keys() == set()
    assert made - listed().keys() == set()
    assert system_calls <= made


def test_every_fault_is_of_a_call_that_is_made():
    faults = {name for name, kind in listed().items() if kind == "FAULT"}
    assert faults - outside() == set()


# --- the cases ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["cpu-sink", "cpu-drain", "wall-sink", "wall-drain"])
def test_every_use_of_every_call(driver, form):
    counts = cases(run(driver, form, "short"))
    assert counts.pop("cases") == sum(counts.values()) > 300
    only_in = {
        "cpu": {"timer_create", "timer_settime", "timer_delete", "clock_gettime"},
        "wall": {"fopen", "fclose", "process_vm_writev"},
    }
    reached = {call for call, count in counts.items() if count}
    mode = form.partition("-")[0]
    assert {"malloc", "mmap", "sigaction", "pthread_create", "process_vm_readv", "open", *only_in[mode]} <= reached


def test_no_fault_is_left_untried(driver):
    """Every call that can fail is reached in one form or another, or by the package."""
    support.ninja("build/stress/faults/driver")
    reached = {"calloc"}  # by the package: test_package
    for form in ("cpu-drain", "wall-drain"):
        for name, kind in listed().items():
            if kind != "SOUND" and "not reached" not in run(driver, form, name, "1", "once", "1").stdout:
                reached.add(name)
    assert {name for name, kind in listed().items() if kind != "SOUND"} - reached == set()


@pytest.mark.freethreading
@pytest.mark.parametrize("name", FREE_THREADED)
def test_package(interpreter, name):
    interpreter(name)
    support.ninja(f"build/stress/faults/{name}/built")
    counts = cases(run(sys.executable, FAULTS / "package.py", name, "short"))
    assert counts.pop("cases") == sum(counts.values()) > 100
    assert all(counts[call] for call in ("malloc", "calloc", "mmap", "sigaction", "pthread_create", "timer_create"))


# --- cores that would not stand it ---------------------------------------------------------------------

# (file, what is taken out, what is put in its place, form, what the fault injector must say)
WEAKER = {
    "start_that_fails_leaves_its_threads": (
        "session.c", "        return 0;\n    stop_thread();\n    if (error == -EAGAIN)", "        return 0;\n    if (error == -EAGAIN)",
        "cpu-sink", "threads are left over|hung",
    ),
    "start_that_fails_leaves_its_timers": (
        "threads.c", "            close_slot(tenant, SPPROF_DETACHED);\n        return error;", "            ;\n        return error;",
        "cpu-sink", "timers are left",
    ),
    "start_that_fails_leaves_its_rings": (
        "session.c", "        quiesce();\n        threads_release();", "        quiesce();",
        "cpu-sink", "mappings are left",
    ),
    "start_that_fails_keeps_the_fault_signals": (
        "session.c", "    if (error != 0) {\n        give_fault_signals_back();", "    if (error != 0) {",
        "cpu-sink", "signal handlers are left behind",
    ),
    "start_that_fails_keeps_the_ticks_signal": (
        "session.c", "        if (took_ticks)\n            signals_give_back(sampler.signal);\n", "",
        "cpu-sink", "signal handlers are left behind",
    ),
    "start_that_fails_stays_active": (
        "session.c", "    atomic_write(active_write, &sampler.active, false);\n    threads_end();", "    threads_end();",
        "cpu-sink", "a session is active|a start failed",
    ),
    "no_word_about_memory": (
        "session.c", 'fail(ENOMEM, "no memory for a session")', "-ENOMEM",
        "cpu-sink", "a start failed and said",
    ),
    "memory_that_is_not_checked": (
        "threads.c", "        if (memory == MAP_FAILED)\n            return false;\n", "",
        "cpu-sink", "signal 11|hung",
    ),
    "a_forked_child_that_knows_its_parents_threads": (
        "threads.c", "    atomic_write(counter_outcome, &registry.discovered, 0);\n    atomic_write(counter_outcome, &registry.abandoned, 0);", "    atomic_write(counter_outcome, &registry.abandoned, 0);",
        "cpu-sink", "parent's threads",
    ),
    "a_file_left_open": (
        "threads.c", "    close(file);\n", "",
        "cpu-sink", "files",
    ),
    "maps_left_open_in_wall_mode": (
        "stack.c", "    fclose(maps);\n", "",
        "wall-sink", "files",
    ),
    "a_line_of_maps_not_freed": (
        "stack.c", "    free(line);\n", "",
        "wall-sink", "blocks of memory more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WEAKER)
def test_weaker_core_is_found(driver, tmp_path, name):
    file, old, new, form, sign = WEAKER[name]
    core = tmp_path / "core"
    shutil.copytree(support.ROOT / "core", core)
    path = core / "ordinary" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    made = build_with(core, tmp_path)
    outcome = run(made, form, "short")
    assert outcome.returncode == 1
    assert re.search(sign, outcome.stderr), outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith(f"to repeat: {made} {form} ")


def build_with(core, folder):
    """The fault injector with another core."""
    objects = []
    for source in sorted([*core.glob("*.c"), *(core / "ordinary").glob("*.c")]):
        made = folder / (source.stem + ".o")
        flags = ["-std=gnu11", "-O2", "-g", "-fPIC", "-w", f"-I{core}", f"-I{core}/include"]
        subprocess.run(["cc", *flags, "-c", source, "-o", made], check=True)
        objects.append(made)
    archive = folder / "libspprof.a"
    subprocess.run(["ar", "rcs", archive, *objects], check=True)
    subprocess.run([FAULTS / "build.sh", folder / "faults" / "driver", archive], check=True, cwd=support.ROOT)
    return folder / "faults" / "driver"


# --- its command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [[], ["gpu-sink"], ["cpu-sink", "long"], ["cpu-sink", "exit", "1", "once", "1"], ["cpu-sink", "open", "1", "twice", "1"],
              ["cpu-sink", "open", "1", "once", "0"]]
)  # fmt: skip
def test_bad_words(driver, words):
    outcome = run(driver, *words)
    assert outcome.returncode == 2
    assert len(outcome.stderr.splitlines()) == 1 and outcome.stderr.startswith("usage: ")


def test_one_case(driver):
    assert run(driver, "cpu-sink", "open", "2", "once", "1").stdout == "holds\n"
    assert run(driver, "cpu-sink", "open", "2", "once", "999").stdout == "holds; the fault was not reached\n"


def test_as_many_programs_at_once_as_there_are_processors_for(monkeypatch, capsys):
    runner = support.module_of(FAULTS / "run.py")
    monkeypatch.setenv("STRESS_PROCESSORS", "3")
    monkeypatch.setattr("stress.lanes.free_memory", lambda: 1 << 50)
    meeting = threading.Barrier(3)

    def meet(name, command, children):
        meeting.wait(support.HANG_SECONDS)
        return {"open": len(name)}

    monkeypatch.setattr(runner, "run", meet)
    monkeypatch.setattr(runner, "commands", lambda short: ((name, [name]) for name in "abcdef"))
    assert runner.run_all(True) == {name: {"open": 1} for name in "abcdef"}
    assert capsys.readouterr().out == "3 programs at once, on 3 processors\n"


# --- the whole run -----------------------------------------------------------------------------------------


def running(program):
    return subprocess.run(["pgrep", "-f", str(program)], capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_interrupting_leaves_nothing(driver, how, tmp_path):
    """In a tree of its own, whose drivers are nobody else's."""
    modules = [f"stress/{name}.py" for name in ("faults/run", "children", "interpreters", "lanes", "results")]
    for name in [*modules, "build/stress/faults/driver"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(support.ROOT / name, tmp_path / name)
    program = tmp_path / "build/stress/faults/driver"
    with subprocess.Popen(
        [sys.executable, "stress/faults/run.py"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        until = time.monotonic() + support.HANG_SECONDS
        while len(running(program)) < 2 and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(how)
        complaint = child.stderr.read()
    assert child.returncode == 130, complaint
    assert complaint.splitlines()[-1] == "to repeat: stress/faults/run.py"
    assert running(program) == []
    assert not (tmp_path / "build/results").exists()

"""The command line, run as a child process over a stand-in for the native extension.

What a program prints and how it exits is compared with the same program under the interpreter alone.
"""

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "core" / "python"

# Stands for the extension in the child. Its one sample has the launcher's frames outermost, as a real one.
FAKE_NATIVE = """
import os, struct, sys, types

native = types.ModuleType("spprof._native")
native.REASONS = ("ring_full",)
owner = process = None
codes = [
    ("_run_code", "<frozen runpy>", 80), ("run", LAUNCH, 1), ("<module>", "app.py", 1), ("work", "app.py", 3),
]
stats = {
    "ticks": 5, "captured": 4, "dropped": {"ring_full": 1}, "samples": 1, "handler_runs": 5, "threads": 1,
    "threads_refused": 0, "unguarded_ticks": 0, "ticks_in_progress": 0, "slots_abandoned": 0,
    "unasked_ticks": 0, "clock_step_ns": 0,
    "process_cpu_ns": 0, "watched_cpu_ns": 0, "own_cpu_ns": 0,
    "recording": 0, "recording_bytes": 0, "file_failures": 0, "file_error": 0, "duration_ns": 10**9,
}

def is_active():
    return process == os.getpid()

def start(interval_ns, max_depth, mode, memory_bytes, recording, settings, active, limbo, file):
    global owner, process
    if "FAKE_REFUSAL" in os.environ:
        raise RuntimeError(os.environ["FAKE_REFUSAL"])
    if is_active():
        return False
    owner, process = settings, os.getpid()
    stats["recording"], stats["recording_bytes"] = recording, memory_bytes  # so that a test sees what arrived
    stats["duration_ns"] = interval_ns  # so that a test sees what arrived
    return True

def stop(*settings):
    global process
    if not is_active() or (settings and settings[0] is not owner):
        return None
    process = None
    nodes = b"".join(struct.pack("=iii", index - 1, index, 1) for index in range(4))
    samples = struct.pack("=qqIiII", 0, 0, 0, 3, 4, 0)
    return types.SimpleNamespace(owner=owner, delivered=lambda: None, profile=lambda: {
        "codes": codes, "nodes": [nodes], "samples": [samples], "threads": [(os.getpid(), "x", None, 0)], "stats": stats,
    })

native.pause = native.resume = native.release_termination = lambda: None

def catch_termination(deliver):
    if "FAKE_NO_THREAD" in os.environ:
        raise RuntimeError(os.environ["FAKE_NO_THREAD"])

native.catch_termination = catch_termination
native.is_active, native.start, native.stop, native.stats = is_active, start, stop, lambda: (owner, stats)
sys.modules["spprof._native"] = native
"""


class Folder:
    """A folder to run command lines in."""

    def __init__(self, path, site):
        self.path = path
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._environment |= {"PYTHONPATH": f"{site}{os.pathsep}{PACKAGE}", "PYTHONDONTWRITEBYTECODE": "1"}

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def python(self, *arguments, **environment):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    def spprof(self, *arguments, **environment):
        return self.python("-m", "spprof", *arguments, **environment)

    def profiled(self, *arguments, **environment):
        """A run with the output in `out`."""
        return self.spprof("run", "-o", "out", *arguments, **environment)

    def files(self):
        return sorted(path.name for path in self.path.iterdir())


@pytest.fixture
def folder(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    launch = str(PACKAGE / "spprof" / "launch.py")
    (site / "sitecustomize.py").write_text(FAKE_NATIVE.replace("LAUNCH", repr(launch)))
    work = tmp_path / "work"
    work.mkdir()
    return Folder(work, site)


def program_part(stderr):
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("spprof: "))


def assert_refused(run, *words):
    """One clear line, status 2, nothing on standard output."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert run.stderr.startswith("spprof: ")
    assert run.stderr.count("\n") == 1
    for word in words:
        assert word in run.stderr


# --- what belongs to the program -------------------------------------------------------------------

SHOW = """
import json, pickle, sys
class Mine: pass
names = {name: str(globals().get(name)) for name in ("__name__", "__file__", "__package__", "__builtins__", "__doc__")}
spec = __spec__ and (__spec__.name, __spec__.origin)
back = pickle.loads(pickle.dumps(Mine())).__class__ is Mine
code = sys._getframe().f_code.co_filename
main = sys.modules["__main__"].__dict__ is globals()
print(json.dumps([sys.argv, sys.path[0], names, spec, type(__loader__).__name__, back, code, main]))
"""

WAYS = [
    ["show.py", "-o", "x", "--help", "-m", "--", "-i5"],
    ["./sub/../show.py"],
    ["link.py"],
    ["container", "--version"],
    ["archive.zip"],
    ["-m", "show", "-f", "nope"],
    ["-m", "container", "-h"],
    ["-m", "container.inner"],
    ["compiled.pyc"],
]


@pytest.fixture
def shown(folder):
    folder.write("show.py", SHOW)
    folder.write("sub/real.py", SHOW)
    folder.path.joinpath("link.py").symlink_to("sub/real.py")
    folder.write("container/__main__.py", SHOW)
    folder.write("container/__init__.py", "")
    folder.write("container/inner.py", SHOW)
    with zipfile.ZipFile(folder.path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", SHOW)
    compile_it = "import py_compile; py_compile.compile('show.py', 'compiled.pyc', doraise=True)"
    assert folder.python("-c", compile_it).returncode == 0
    return folder


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_program_sees_what_it_sees_without_the_profiler(shown, way):
    alone, profiled = shown.python(*way), shown.profiled(*way)
    assert alone.returncode == profiled.returncode == 0, profiled.stderr
    if way == ["compiled.pyc"]:  # the interpreter has another loader for it
        alone.stdout = alone.stdout.replace("SourcelessFileLoader", "SourceFileLoader")
    assert json.loads(profiled.stdout) == json.loads(alone.stdout)


def test_separator_before_the_program(shown):
    run = shown.spprof("run", "-o", "out", "--", "show.py", "--", "a")
    assert json.loads(run.stdout)[0] == ["show.py", "--", "a"]


ENDS = {
    "falls_through": "print('hello')",
    "exit_int": "import sys; sys.exit(7)",
    "exit_none": "import sys; sys.exit()",
    "exit_true": "import sys; sys.exit(True)",
    "exit_text": "import sys; sys.exit('the end')",
    "exit_object": "import sys; sys.exit((1, 2))",
    "exit_256": "import sys; sys.exit(256)",
    "exit_from_thread": "import sys, threading; threading.Thread(target=sys.exit, args=(3,)).start()",
    "exception": "def f():\n    raise ValueError('x')\nf()",
    "chained": "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError('k') from e",
    "syntax_error": "print('never')\nthis is not Python",
    "interrupt": "raise KeyboardInterrupt",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(10)",
    "excepthook": "import sys; sys.excepthook = lambda *a: print('mine', a[0].__name__); 1 / 0",
    "excepthook_fails": "import sys\ndef hook(*a):\n    raise KeyError\nsys.excepthook = hook\n1 / 0",
    "excepthook_exits": "import sys; sys.excepthook = lambda *a: sys.exit(9); 1 / 0",
    "last_exception": "import atexit, sys; atexit.register(lambda: print(sys.last_value)); 1 / 0",
    "no_stderr": "import sys; sys.stderr = None; sys.exit('unheard')",
    "closed_stderr": "import sys; sys.stderr.close()",
    "thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()",
    "pool": "import concurrent.futures as f\npool = f.ThreadPoolExecutor(1)\npool.submit(print, 'job')",
    "atexit": "import atexit; atexit.register(print, 'bye')",
    "exec_style_main": "if __name__ == '__main__':\n    print('main')",
}


@pytest.mark.parametrize("end", ENDS)
def test_program_ends_as_without_the_profiler(folder, end):
    folder.write("app.py", ENDS[end])
    alone, profiled = folder.python("app.py"), folder.profiled("app.py")
    assert profiled.returncode == alone.returncode
    assert profiled.stdout == alone.stdout
    assert program_part(profiled.stderr) == alone.stderr
    assert folder.files() == ["app.py", "out"]


def test_interrupted_program_dies_by_the_signal(folder):
    folder.write("app.py", ENDS["interrupt"])
    run = folder.profiled("app.py")
    assert run.returncode == -signal.SIGINT
    assert run.stderr.count("KeyboardInterrupt") == 2  # the source line and the exception


def test_failing_package_is_reported_as_the_programs_own_exception(folder):
    folder.write("package/__init__.py", "raise ImportError('broken inside')")
    folder.write("package/inner.py", "")
    run = folder.profiled("-m", "package.inner")
    assert run.returncode == 1
    assert "broken inside" in run.stderr
    assert "spprof/" not in program_part(run.stderr)
    assert "runpy" not in run.stderr
    assert "out" in folder.files()


def test_threads_are_part_of_the_session(folder):
    folder.write(
        "app.py",
        "import spprof, threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(.2), print(spprof.is_active()))).start()",
    )
    assert folder.profiled("app.py").stdout == "True\n"


def test_forked_child_saves_and_says_nothing(folder):
    folder.write(
        "app.py",
        "import os, sys\nif os.fork() == 0:\n    print('child', flush=True)\n    sys.exit(5)\n"
        "status = os.waitstatus_to_exitcode(os.wait()[1])\nprint(status, os.listdir())",
    )
    run = folder.profiled("app.py")
    assert run.returncode == 0
    assert run.stdout == "child\n5 ['app.py']\n"
    own = [line for line in run.stderr.splitlines() if line.startswith("spprof: ")]
    assert [line for line in own if "samples of" in line or "saved" in line or "session" in line] == [own[0], own[-1]]


def test_what_the_recording_may_take_arrives(folder):
    folder.write("app.py", "import spprof; stats = spprof.stats(); print(stats['recording'], stats['recording_mb'])")
    assert folder.profiled("app.py").stdout == "timeline 256.0\n"
    assert folder.profiled("--recording", "counts", "--memory", "3", "app.py").stdout == "counts 3.0\n"


# --- the output ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "suffix"),
    [([], ".speedscope.json"), (["-f", "collapsed"], ".collapsed.txt")],
    ids=["default", "collapsed"],
)
def test_default_output(folder, options, suffix):
    folder.write("my app.py", "import os; print(os.getpid())")
    run = folder.spprof("run", *options, "my app.py")
    name = f"spprof-my_app-{run.stdout.strip()}{suffix}"
    assert folder.files() == ["my app.py", name]
    assert run.stderr.endswith(f"spprof: saved to {folder.path / name}\n")


def test_launcher_frames_are_not_in_the_profile(folder):
    folder.write("app.py", "")
    folder.profiled("-f", "collapsed", "app.py")
    stacks = (folder.path / "out").read_text()
    assert stacks == "MainThread;<module> (app.py:1);work (app.py:1) 4\n[lost samples];[lost: ring_full] 1\n"


def test_console_script_frames_are_not_in_the_profile(folder):
    code = "import sys; from spprof.cli import main; sys.exit(main())"
    script = folder.write("console", code)
    folder.write("app.py", "import sys; print(sys.path[0])")
    site = folder.path.parent / "site" / "sitecustomize.py"
    site.write_text(site.read_text().replace('"<frozen runpy>"', repr(str(script))))
    run = folder.python(str(script), "run", "-o", "out", "-f", "collapsed", "app.py")
    assert run.returncode == 0, run.stderr
    assert (folder.path / "out").read_text().startswith("MainThread;<module> (app.py:1);")
    assert run.stdout == f"{folder.path}\n"


def test_output_is_where_the_command_line_meant_whatever_the_program_does(folder):
    folder.write("app.py", "import os, sys; os.chdir('/'); sys.stdout.close(); sys.stderr = None; sys.path.clear()")
    run = folder.profiled("app.py")
    assert run.returncode == 0
    assert json.loads((folder.path / "out").read_text())["profiles"]
    assert "saved to" in run.stderr


def test_summary(folder):
    folder.write("app.py", "")
    run = folder.profiled("-i", "250.5", "app.py")
    assert run.stderr.splitlines()[:2] == [
        "spprof: 1 samples of 1 thread in 0.25 s, cpu mode, a tick every 250.5 ms",
        "spprof: captured 4 of 5 ticks (80.00 %); lost: ring_full 1 (20.00 %)",
    ]
    assert "spprof:  100.00 %  work (app.py:3)" in run.stderr


@pytest.mark.parametrize(("own", "status"), [(0, 1), (7, 7), (256, 1)])
def test_failed_save_is_told_and_gives_a_status(folder, own, status):
    folder.write("app.py", f"import os, sys; os.rmdir('gone'); sys.exit({own})")
    (folder.path / "gone").mkdir()
    run = folder.spprof("run", "-o", "gone/out", "app.py")
    assert run.returncode == status
    assert run.stderr.splitlines()[-1].startswith(f"spprof: cannot save the profile to {folder.path}/gone/out: No such")
    assert "Traceback" not in run.stderr
    assert folder.files() == ["app.py"]


@pytest.mark.parametrize("restart", ["", "; spprof.start()"], ids=["stopped", "replaced"])
def test_program_that_stops_the_session(folder, restart):
    folder.write("app.py", "import spprof; spprof.stop()" + restart)
    run = folder.profiled("app.py")
    assert run.returncode == 1
    assert run.stderr == "spprof: the program stopped the profiling session itself, so there is no profile to save\n"
    assert folder.files() == ["app.py"]


def test_program_that_starts_a_session(folder):
    folder.write("app.py", "import spprof\ntry:\n    spprof.start()\nexcept RuntimeError as error:\n    print(error)")
    run = folder.profiled("app.py")
    assert (run.returncode, run.stdout) == (0, "a session is already active; stop it first\n")
    assert "out" in folder.files()


# --- command lines that are refused ----------------------------------------------------------------

REFUSED = {
    "no_command": ([], ["run"]),
    "wrong_command": (["go"], ["go"]),
    "no_run": (["app.py", "1"], ["spprof run app.py"]),
    "no_program": (["run"], ["no program"]),
    "no_module": (["run", "-m"], ["no program"]),
    "unknown_option": (["run", "--fast", "app.py"], ["--fast"]),
    "abbreviated_option": (["run", "--form", "collapsed", "app.py"], ["--form"]),
    "interval_zero": (["run", "-i", "0", "app.py"], ["between 0.1 and 10000 milliseconds"]),
    "interval_large": (["run", "-i", "10001", "app.py"], ["between 0.1 and 10000 milliseconds"]),
    "interval_nan": (["run", "-i", "nan", "app.py"], ["between 0.1 and 10000 milliseconds"]),
    "interval_text": (["run", "-i", "fast", "app.py"], ["'fast' is not a number of milliseconds"]),
    "format": (["run", "-f", "svg", "app.py"], ["svg", "speedscope", "collapsed"]),
    "mode": (["run", "--mode", "gpu", "app.py"], ["gpu", "cpu"]),
    "memory_zero": (["run", "--memory", "0", "app.py"], ["between 1 and 1048576 megabytes"]),
    "memory_part": (["run", "--memory", "1.5", "app.py"], ["'1.5' is not a whole number of megabytes"]),
    "recording": (["run", "--recording", "all", "app.py"], ["all", "timeline", "counts"]),
    "script_missing": (["run", "nope.py"], ["'nope.py'"]),
    "script_with_newline": (["run", "no\npe.py"], ["pe.py"]),
    "folder_without_main": (["run", "empty"], ["__main__", "'empty'"]),
    "module_missing": (["run", "-m", "nope"], ["nope"]),
    "submodule_missing": (["run", "-m", "package.nope"], ["package.nope"]),
    "submodule_of_missing": (["run", "-m", "nope.inner"], ["nope.inner"]),
    "package_without_main": (["run", "-m", "package"], ["package.__main__"]),
    "module_empty": (["run", "-m", ""], ["no module"]),
    "module_relative": (["run", "-m", ".app"], ["no module"]),
    "output_folder_missing": (["run", "-o", "nope/x", "app.py"], ["nope"]),
    "output_is_folder": (["run", "-o", "empty", "app.py"], ["Is a directory"]),
    "output_is_device": (["run", "-o", "/dev/null", "app.py"], ["Not a regular file"]),
    "output_folder_is_file": (["run", "-o", "app.py/x", "app.py"], ["Not a directory"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_the_program_runs(folder, case):
    folder.write("app.py", "print('ran')")
    folder.write("package/__init__.py", "")
    folder.path.joinpath("empty").mkdir()
    arguments, words = REFUSED[case]
    assert_refused(folder.spprof(*arguments), *words)
    assert folder.files() == ["app.py", "empty", "package"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_refused_without_permission(folder):
    folder.write("app.py", "print('ran')").chmod(0)
    assert_refused(folder.profiled("app.py"), "cannot read 'app.py'", "Permission denied")
    (folder.path / "app.py").chmod(0o600)
    (folder.path / "locked").mkdir(0o500)
    assert_refused(folder.spprof("run", "-o", "locked/out", "app.py"), "Permission denied")


def test_refusal_keeps_the_earlier_output(folder):
    folder.write("out", "earlier")
    folder.write("app.py", "")
    assert_refused(folder.profiled("-i", "0", "app.py"))
    assert_refused(folder.profiled("nope.py"))
    assert folder.path.joinpath("out").read_text() == "earlier"


def test_refused_where_the_profiler_cannot_start(folder):
    folder.write("app.py", "print('ran')")
    run = folder.profiled("app.py", FAKE_REFUSAL="this interpreter is too old")
    assert_refused(run, "this interpreter is too old")
    assert folder.files() == ["app.py"]


def test_refused_where_no_thread_waits_for_signals(folder):
    folder.write("app.py", "print('ran')")
    folder.write("host.py", "import spprof.cli, sys; spprof.cli.main(); sys.exit(2 + spprof.is_active())")
    run = folder.python("host.py", "run", "-o", "out", "app.py", FAKE_NO_THREAD="no thread could be started")
    assert_refused(run, "no thread could be started")
    assert folder.files() == ["app.py", "host.py"]


def test_refused_without_the_extension(folder):
    folder.write("app.py", "print('ran')")
    (folder.path.parent / "site" / "sitecustomize.py").write_text("import sys; sys.modules['spprof._native'] = None")
    assert_refused(folder.profiled("app.py"), "native extension", "install spprof")


def test_version_and_help(folder):
    assert folder.spprof("--version").stdout == "spprof 0.1.0\n"
    run = folder.spprof("run", "--help")
    assert run.returncode == 0
    assert "SCRIPT | -m MODULE" in run.stdout
    assert folder.files() == []

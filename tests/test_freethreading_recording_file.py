"""A program that ends without a word, or does what a file may not like, while its session appends to a file."""

import json
import os
import signal
import subprocess

import pytest
from test_profile import spprof

PROGRAM = '''
import os, signal, subprocess, sys, threading, time
import spprof

def hot(until=0):
    """Burns CPU time until the file has more in it than there was, twice: what ran before is in it then."""
    for _ in range(2):
        size = os.stat(PATH).st_size
        while os.stat(PATH).st_size <= size + 500 and os.path.exists(PATH):
            spin()

def spin():
    return sum(number * number % 7 for number in range(5000))

def crash():
    import ctypes
    ctypes.string_at(8)

PATH = os.environ["RECORDING"]
WAYS = {
    "_exit": lambda: os._exit(7),
    "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(4)"]),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
    "crash": crash,
    "end": lambda: None,
}

def fork():
    """A child that runs on beside its parent, and one that ends at once."""
    child = os.fork()
    if child == 0:
        for _ in range(100):
            spin()
        os._exit(0)
    subprocess.run([sys.executable, "-c", ""], check=True)
    os.waitpid(child, 0)

def main():
    hot()
    if "fork" in sys.argv:
        fork()
        hot()
    with open(os.environ["NOTE"], "w") as note:
        note.write(f"{time.process_time()} {os.stat(PATH).st_size}")
    WAYS[sys.argv[1]]()

main()
'''


@pytest.fixture
def command(freethreaded, tmp_path):
    """Runs `python -m spprof ARGUMENTS` in an empty folder that holds program.py."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON_GIL", "PYTHONPATH")}
    environment |= {"PYTHONPATH": str(freethreaded.packages), "RECORDING": str(tmp_path / "app.spprof")}
    environment["NOTE"] = str(tmp_path / "note")

    def run(*arguments, **options):
        line = [freethreaded.path, "-m", "spprof", *map(str, arguments)]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, **options
        )

    run.folder, run.path = tmp_path, tmp_path / "app.spprof"
    return run


def check_cut_short(command, used):
    """What the program had run before its last look at the file is there."""
    told = command("report", "app.spprof")
    assert told.returncode == 0, told.stderr
    assert "without its end" in told.stdout.splitlines()[0]
    assert "spin" in told.stdout or "<genexpr>" in told.stdout
    profile = spprof.load(command.path)
    assert not profile.is_whole
    stats = profile.stats
    assert stats["ticks"] == stats["captured"] + sum(stats["dropped"].values()) > 0
    assert used - stats["process_cpu_s"] < 2
    assert sum(sample.weight for sample in profile) == stats["captured"]
    assert not [frame for sample in profile for frame in sample.stack[:1] if "/spprof/" in frame.filename]


@pytest.mark.parametrize(
    ("way", "status"),
    [("_exit", 7), ("exec", 4), ("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT), ("crash", -signal.SIGSEGV)],
)
def test_program_that_ends_without_a_word_leaves_what_it_did(command, way, status):
    done = command("run", "-i", "2", "-f", "recording", "-o", "app.spprof", "program.py", way)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    check_cut_short(command, float((command.folder / "note").read_text().split()[0]))


def test_program_that_ends_well_has_a_whole_file_and_its_threads_names(command):
    done = command("run", "-i", "2", "-o", "app.spprof", "program.py", "end")
    assert done.returncode == 0, done.stderr
    assert "saved to" in done.stderr and "spprof report" in done.stderr
    profile = spprof.load(command.path)
    assert profile.is_whole and profile.threads[0].name == "MainThread"
    assert f"captured {profile.stats['captured']} of {profile.stats['ticks']} tick" in done.stderr
    assert profile.stats["captured"] == sum(sample.weight for sample in profile)
    told = command("report", "app.spprof")
    lines = [line.removeprefix("spprof: ") for line in done.stderr.splitlines()]
    assert told.stdout.splitlines() == lines[:-1]
    assert told.stderr == ""
    assert not list(command.folder.glob(".spprof-*")) and not list(command.folder.glob("*.part"))


def test_forks_in_mid_session_leave_one_file_of_the_parent(command):
    done = command("run", "-i", "2", "-o", "app.spprof", "program.py", "_exit", "fork")
    assert done.returncode == 7, done.stderr
    check_cut_short(command, float((command.folder / "note").read_text().split()[0]))


def test_report_writes_other_formats(command):
    command("run", "-i", "2", "-o", "app.spprof", "program.py", "kill")
    for name in ("a.txt", "a.json", "a.spprof"):
        done = command("report", "app.spprof", "-o", name)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "without its end" in done.stderr
    assert "spin" in (command.folder / "a.txt").read_text()
    assert json.loads((command.folder / "a.json").read_text())["profiles"]
    assert spprof.load(command.folder / "a.spprof").stats == spprof.load(command.path).stats


def test_report_refuses_in_one_line(command):
    (command.folder / "text").write_text("no recording")
    (command.folder / "app.spprof").write_bytes(b"")
    for arguments in (
        ["nothing"],
        ["text"],
        ["app.spprof"],
        [],
        ["text", "-f", "svg"],
        ["text", "-f", "collapsed"],
        ["."],
    ):
        done = command("report", *arguments)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("spprof: ") and done.stderr.count("\n") == 1, done.stderr


SESSIONS = """
import json, os, resource, sys
import spprof

def spin():
    return sum(number * number % 7 for number in range(5000))

def until(condition):
    while not condition():
        spin()

path = sys.argv[1]
def size():
    return os.stat(path).st_size
"""


def session(freethreaded, tmp_path, text):
    program = tmp_path / "sessions.py"
    program.write_text(SESSIONS + text)
    environment = {**os.environ, "PYTHONPATH": str(freethreaded.packages)}
    line = [freethreaded.path, program, tmp_path / "app.spprof"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_full_disk_is_counted_and_the_session_goes_on(freethreaded, tmp_path):
    found = session(
        freethreaded,
        tmp_path,
        """
spprof.start(1, file=path)
until(lambda: size() > 4000)
resource.setrlimit(resource.RLIMIT_FSIZE, (size() + 10, resource.RLIM_INFINITY))
until(lambda: spprof.stats()["file_failures"] > 1)
during = spprof.stats()
part = spprof.load(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
kept = spprof.stop()
print(json.dumps([during, part.is_whole, part.stats, kept.stats]))
""",
    )
    during, is_whole, part, kept = found
    assert during["file_error"] == os.strerror(27) and not is_whole
    assert 0 < part["captured"] < kept["captured"]
    assert kept["file_error"] == "" and kept["file_failures"] >= during["file_failures"]
    loaded = spprof.load(tmp_path / "app.spprof")
    assert loaded.is_whole and loaded.stats["captured"] == kept["captured"]


def test_disk_that_stays_full_is_said_at_the_end(freethreaded, tmp_path):
    kept, before = session(
        freethreaded,
        tmp_path,
        """
spprof.start(1, file=path)
until(lambda: size() > 4000)
resource.setrlimit(resource.RLIMIT_FSIZE, (size() + 10, resource.RLIM_INFINITY))
until(lambda: spprof.stats()["file_failures"] > 0)
before = spprof.stats()["captured"]
print(json.dumps([spprof.stop().stats, before]))
""",
    )
    assert kept["file_error"] == os.strerror(27) and kept["captured"] >= before
    loaded = spprof.load(tmp_path / "app.spprof")
    assert not loaded.is_whole and 0 < loaded.stats["captured"] <= kept["captured"]


def test_timeline_that_becomes_counts_while_it_is_written(freethreaded, tmp_path):
    """Of threads that take turns in running, so that no two records in a row are one."""
    kept = session(
        freethreaded,
        tmp_path,
        """
def deep(number):
    return deep(number - 1) if number else spin()

turn = 0
def varied():
    global turn
    turn += 1
    deep(turn % 150)
    return spprof.stats()["recording"] == "counts"

spprof.start(0.1, memory_mb=1, file=path)
until(varied)
print(json.dumps(spprof.stop().stats))
""",
    )
    loaded = spprof.load(tmp_path / "app.spprof")
    assert kept["recording"] == "counts" and kept["recording_full"]
    assert loaded.is_whole and loaded.stats == kept
    assert sum(sample.weight for sample in loaded) == kept["captured"]


def test_each_session_of_a_program_has_its_own_file_and_exit_completes_the_last(freethreaded, tmp_path):
    found = session(
        freethreaded,
        tmp_path,
        """
open(path, "w").write("an earlier file")
try:
    spprof.start(file=path + "/nowhere/x")
except OSError as error:
    refused = type(error).__name__
assert not spprof.is_active()
with spprof.Profiler(1, file=path) as profiler:
    until(lambda: size() > 4000)
    try:
        spprof.start(file=path)
    except RuntimeError as error:
        second = str(error)
first = spprof.load(path)
same = list(first) == list(profiler.profile) and first.stats == profiler.profile.stats
spprof.start(1, file=path)
until(lambda: size() > 4000)
print(json.dumps([refused, second, first.is_whole, same]))
""",
    )
    assert found == ["NotADirectoryError", "a session is already active; stop it first", True, True]
    assert spprof.load(tmp_path / "app.spprof").is_whole


def test_file_costs_the_program_no_descriptor_while_it_runs(freethreaded, tmp_path):
    """The program counts on the lowest number."""
    found = session(
        freethreaded,
        tmp_path,
        """
spprof.start(1, file=path)
numbers, before = set(), size()
while size() < before + 10_000:
    number = os.open("/dev/null", os.O_RDONLY)
    numbers.add(number)
    os.close(number)
spprof.stop()
print(json.dumps(sorted(numbers)))
""",
    )
    assert found == [3]

"""`python -m spprof run` of programs that SIGTERM or SIGHUP ends: what is saved, what is said, and what they die of."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
import support

from stress.children import end_group, undisturbed

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)

PRELUDE = """
import ctypes, os, signal, sys, threading, time
import spprof

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def spin():
    return sum(number * number % 7 for number in range(20000))

def be_sampled():
    enough = spprof.stats()["samples"] + 20  # in which it is somewhere: it does next to nothing else meanwhile
    while spprof.stats()["samples"] < enough:
        spin()

def action_of(number):  # the kernel's: a handler (Cgt), none (Ign), or the default
    status = open("/proc/self/status").read()
    kinds = {kind: int(status.split(f"Sig{kind}:")[1].split()[0], 16) >> (number - 1) & 1 for kind in ("Cgt", "Ign")}
    return next((kind for kind, is_set in kinds.items() if is_set), "default")

be_sampled()
"""


class Running:
    """A program that runs under the profiler, in a folder that has nothing else but it."""

    def __init__(self, child, folder):
        self.child, self.folder = child, folder

    def line(self):
        return self.child.stdout.readline().rstrip("\n")

    def wait_for(self, text):
        """Until the program prints that line."""
        seen = []
        for line in self.child.stdout:
            seen.append(line.rstrip("\n"))
            if seen[-1] == text:
                return
        pytest.fail(f"it ended without {text!r}: it printed {seen} and said {self.child.stderr.read()!r}")

    def send(self, number):
        self.child.send_signal(number)

    def go(self):
        self.child.stdin.write("go\n")
        self.child.stdin.flush()

    def end(self):
        """Exit status, standard output from here on, and standard error."""
        output, errors = self.child.communicate(timeout=support.HANG_SECONDS)
        return self.child.returncode, output, errors

    def files(self):
        return sorted(path.name for path in self.folder.iterdir() if path.name != "program.py")

    def wait_until_it_waits(self):
        """Until its main thread does, by all that can be seen from here, or it has ended."""
        asleep = 0
        while asleep < 20 and self.child.poll() is None:
            state = re.search(r"\) (\w)", open(f"/proc/{self.child.pid}/stat").read())[1]
            asleep = asleep + 1 if state == "S" else 0
            time.sleep(0.01)

    def must_die_of(self, number, output=""):
        """With its profile whole, and one summary."""
        status, printed, errors = self.end()
        assert status == -number, errors
        assert printed == output
        assert errors.count("samples of") == 1
        assert errors.endswith(f"spprof: saved to {self.folder / 'profile.json'}\n")
        assert all(line.startswith("spprof: ") for line in errors.splitlines()), errors
        self.must_have_profile()

    def must_have_profile(self):
        assert self.files() == ["profile.json"]
        written = json.loads((self.folder / "profile.json").read_text())
        frames = [(frame["name"], os.path.basename(frame.get("file", ""))) for frame in written["shared"]["frames"]]
        stacks = [[frames[index] for index in stack] for stack in written["profiles"][0]["samples"]]
        outermost = {stack[0] for stack in stacks if ("spin", "program.py") in stack}
        assert outermost == {("<module>", "program.py")}, "the launcher's frames are not the program's"

    def must_die_unsaid(self, number):
        assert self.end() == (-number, "", "")
        assert self.files() == []


class Runner:
    """Starts programs under one interpreter."""

    def __init__(self, interpreter, folder):
        self._interpreter, self._folder = interpreter, folder

    @contextlib.contextmanager
    def __call__(self, program, *, options=(), before=(), **more):
        (self._folder / "program.py").write_text(PRELUDE + program)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(self._interpreter.packages)
        command = [*before, self._interpreter.path, "-m", "spprof", "run", "-i", "1", *options]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with contextlib.ExitStack() as ends, support.hearing(signal.SIGHUP):
            with undisturbed():
                child = subprocess.Popen(
                    [*command, "-o", "profile.json", "program.py"],
                    cwd=self._folder,
                    env=environment,
                    text=True,
                    start_new_session=True,
                    **pipes,
                    **more,
                )
                ends.enter_context(child)
                ends.callback(end_group, child)
            net = threading.Timer(support.HANG_SECONDS, child.kill)
            net.start()
            ends.callback(net.cancel)
            yield Running(child, self._folder)


@pytest.fixture
def running(freethreaded, tmp_path):
    return Runner(freethreaded, tmp_path)


@pytest.fixture
def running_everywhere(every_interpreter, tmp_path):
    return Runner(every_interpreter, tmp_path)


# --- the signal ends the program ---------------------------------------------------------------------------

READY = """
say("ready", *(signal.getsignal(number).name for number in (signal.SIGTERM, signal.SIGHUP)))
"""

WAYS_TO_WAIT = {
    "sleep": "time.sleep(10**6)",
    "compute": "while True: spin()",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "accept": "import socket; socket.create_server(('127.0.0.1', 0)).accept()",
    "read": "os.read(0, 1)",
    "join": "thread = threading.Thread(target=lambda: [spin() for _ in iter(int, 1)]); thread.start(); thread.join()",
    "at the end, for its threads": "threading.Thread(target=time.sleep, args=(10**6,)).start()",
}


@BOTH
@pytest.mark.parametrize("way", WAYS_TO_WAIT)
def test_signal_has_the_profile_saved_and_ends_the_program(running_everywhere, number, way):
    with running_everywhere(READY + WAYS_TO_WAIT[way]) as run:
        run.wait_for("ready SIG_DFL SIG_DFL")
        run.send(number)
        run.must_die_of(number)


def test_signal_in_wall_mode(running):
    with running(READY + "time.sleep(10**6)", options=["--mode", "wall"]) as run:
        run.wait_for("ready SIG_DFL SIG_DFL")
        run.send(signal.SIGTERM)
        run.must_die_of(signal.SIGTERM)


def test_calls_into_the_system_go_on_while_the_profile_is_saved(running):
    program = """
replace, read = os.replace, threading.Event()

def stalling(*names):
    say("saving")
    read.wait()
    replace(*names)

os.replace = stalling
say("ready")
room = ctypes.create_string_buffer(3)
say(ctypes.CDLL(None).read(0, room, 3), room.raw)
read.set()
time.sleep(10**6)
"""
    with running(program) as run:
        run.wait_for("ready")
        run.wait_until_it_waits()
        run.send(signal.SIGTERM)
        run.wait_for("saving")
        run.go()
        run.must_die_of(signal.SIGTERM, output="3 b'go\\n'\n")


def test_no_exit_function_runs_and_no_buffer_is_written(running):
    program = "import atexit\natexit.register(say, 'exit function')\nsys.stdout.write('buffered')\n"
    with running(program + "signal.raise_signal(signal.SIGTERM)\ntime.sleep(10**6)") as run:
        run.must_die_of(signal.SIGTERM)


def test_sampling_ends_when_the_signal_comes(running):
    """Before the interpreter is asked for anything, which may take a while."""
    program = """
from spprof import command
deliver = command.Delivery._stop_and_save

def looking(delivery):
    say(spprof.is_active())
    return deliver(delivery)

command.Delivery._stop_and_save = looking
signal.raise_signal(signal.SIGTERM)
time.sleep(10**6)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM, output="False\n")


def test_thread_for_it_is_not_in_the_profile(running):
    with running(READY + "time.sleep(10**6)", options=["--mode", "wall"]) as run:
        run.wait_for("ready SIG_DFL SIG_DFL")
        run.send(signal.SIGTERM)
        run.must_die_of(signal.SIGTERM)
        profiles = json.loads((run.folder / "profile.json").read_text())["profiles"]
        assert [profile["name"] for profile in profiles if profile["samples"]] == ["MainThread"]


def test_program_that_stopped_the_session_dies_of_the_signal(running):
    with running("spprof.stop()\nsay('ready')\ntime.sleep(10**6)") as run:
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        said = "spprof: the program stopped the profiling session itself, so there is no profile to save\n"
        assert run.end() == (-signal.SIGTERM, "", said)
        assert run.files() == []


def test_want_of_memory_is_told_and_the_program_dies_of_the_signal(running):
    program = """
from spprof import command

def end(settings):
    raise MemoryError

command.session.end = end
signal.raise_signal(signal.SIGTERM)
time.sleep(10**6)
"""
    with running(program) as run:
        said = f"spprof: cannot save the profile to {run.folder / 'profile.json'}: out of memory\n"
        assert run.end() == (-signal.SIGTERM, "", said)
        assert run.files() == []


def test_full_disk_is_told_and_the_program_dies_of_the_signal(running):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
    with running(limit + "say('ready')\ntime.sleep(10**6)") as run:
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        status, _, errors = run.end()
        assert status == -signal.SIGTERM
        said = f"spprof: cannot save the profile to {run.folder / 'profile.json'}: File too large"
        assert errors.splitlines()[-1] == said
        assert "Traceback" not in errors
        assert run.files() == []


def test_profile_is_saved_before_anyone_has_to_read_what_is_said(running):
    """Nobody reads standard error, and its pipe is full."""
    fill = """
import fcntl
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
say("ready")
time.sleep(10**6)
"""
    with running(fill) as run:
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        while run.files() != ["profile.json"]:
            assert run.child.poll() is None
            time.sleep(0.01)
        run.must_have_profile()
        assert run.child.poll() is None
        assert run.end()[0] == -signal.SIGTERM, "now that it is read"


# --- the signal is the program's ------------------------------------------------------------------------

OWN_HANDLERS = {
    "signal": "signal.signal(signal.SIGTERM, lambda *_: (say('mine'), sys.exit(7)))\nsay('ready')\ntime.sleep(10**6)",
    "asyncio": """
import asyncio

async def serve():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    say("ready")
    await over.wait()
    say("mine")

asyncio.run(serve())
sys.exit(7)
""",
    "sigwait": """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
say("ready")
signal.sigwait([signal.SIGTERM])
say("mine")
sys.exit(7)
""",
}


@pytest.mark.parametrize("way", OWN_HANDLERS)
def test_program_with_a_handler_of_its_own_ends_as_it_wants(running, way):
    with running(OWN_HANDLERS[way]) as run:
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        status, output, errors = run.end()
        assert (status, output) == (7, "mine\n"), errors
        assert errors.count("samples of") == 1
        run.must_have_profile()


def test_handler_that_c_code_sets_has_the_signal_alone(running):
    """The handler is _exit: it is called with the signal's number."""
    program = """
libc = ctypes.CDLL(None)
libc.signal(int(signal.SIGTERM), libc._exit)
say("ready")
time.sleep(10**6)
"""
    with running(program) as run:
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        assert run.end() == (signal.SIGTERM, "", "")


def test_default_action_that_the_program_sets_is_what_it_gets(running):
    program = """
former = signal.signal(signal.SIGTERM, lambda *_: None)
say(former.name)
signal.signal(signal.SIGTERM, former)
say("ready")
time.sleep(10**6)
"""
    with running(program) as run:
        assert run.line() == "SIG_DFL"
        run.wait_for("ready")
        run.send(signal.SIGTERM)
        run.must_die_unsaid(signal.SIGTERM)


def test_thread_for_it_takes_no_signal_that_the_program_blocks(running):
    program = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
for number in (signal.SIGUSR1, signal.SIGTERM):
    os.kill(os.getpid(), number)
say(sorted(number.name for number in signal.sigpending()))
"""
    with running(program) as run:
        assert run.end()[:2] == (0, "['SIGTERM', 'SIGUSR1']\n")


def test_what_was_ignored_at_the_start_stays_ignored(running):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    program = "say(signal.getsignal(signal.SIGHUP).name)\nsys.stdin.readline()\nsay('went on')"
    with running(program, preexec_fn=ignore) as run:
        run.wait_for("SIG_IGN")
        run.send(signal.SIGHUP)
        run.go()
        status, output, errors = run.end()
        assert (status, output) == (0, "went on\n"), errors
        run.must_have_profile()


def test_first_process_of_a_container_goes_on(running):
    """No default action ends it, so it has none that could be put off."""
    container = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*container, "true"], capture_output=True).returncode != 0:
        pytest.skip("this kernel, or a sandbox, gives no process namespaces")
    program = "say(os.getpid())\nsignal.raise_signal(signal.SIGTERM)\nsay('went on')"
    with running(program, before=container) as run:
        status, output, errors = run.end()
        assert (status, output) == (0, "1\nwent on\n"), errors
        run.must_have_profile()


def test_signals_are_given_back_before_the_interpreter_ends(running):
    program = "import atexit\natexit.register(lambda: say(action_of(signal.SIGTERM), action_of(signal.SIGHUP)))\n"
    with running(program + "say(action_of(signal.SIGTERM), action_of(signal.SIGHUP))") as run:
        status, output, errors = run.end()
        assert (status, output) == (0, "Cgt Cgt\ndefault default\n"), errors


def test_handler_of_the_programs_is_not_given_back(running):
    program = """
import atexit
signal.signal(signal.SIGTERM, signal.SIG_IGN)
atexit.register(lambda: say(action_of(signal.SIGTERM), action_of(signal.SIGHUP)))
"""
    with running(program) as run:
        assert run.end()[:2] == (0, "Ign default\n")


def test_handler_that_is_put_back_after_the_run_is_the_default_action(running):
    """As C code does that restores what signal(2) has told it."""
    program = """
import atexit
libc = ctypes.CDLL(None)
libc.signal.restype = ctypes.c_void_p
former = libc.signal(int(signal.SIGTERM), libc._exit)

def restore():
    libc.signal(int(signal.SIGTERM), ctypes.c_void_p(former))
    signal.raise_signal(signal.SIGTERM)
    say("went on")

atexit.register(restore)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM)


def test_interpreter_that_is_being_finalized_is_asked_for_nothing(running):
    """C code of the program may end the interpreter without the launcher."""
    program = """
class Last:
    def __del__(self, send=signal.raise_signal, number=signal.SIGTERM, sleep=time.sleep):
        send(number)
        sleep(10**6)

def asked(delivery, say=os.write):
    say(1, b"asked")

from spprof import command
command.Delivery._stop_and_save = asked
sys.last = Last()  # until the modules are cleared
ctypes.pythonapi.PyRun_SimpleString(b"raise SystemExit(3)")
"""
    with running(program) as run:
        run.must_die_unsaid(signal.SIGTERM)


# --- children -------------------------------------------------------------------------------------------

FORKS = {
    "fork": "child = os.fork()",
    # Without any of libc's or CPython's hooks: the number is that of clone.
    "clone": "child = ctypes.CDLL(None).syscall(220 if os.uname().machine == 'aarch64' else 56, 17, 0, 0, 0, 0)",
}


@BOTH
@pytest.mark.parametrize("way", FORKS)
def test_child_that_is_signalled_dies_and_the_parent_goes_on(running, number, way):
    program = f"""
{FORKS[way]}
if child == 0:
    os.kill(os.getpid(), {int(number)})
    os._exit(9)
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.listdir())
"""
    with running(program) as run:
        status, output, errors = run.end()
        assert (status, output) == (0, f"{-number} ['program.py']\n"), errors
        assert errors.count("samples of") == 1
        run.must_have_profile()


def test_forked_child_has_the_default_actions(running):
    program = """
child = os.fork()
if child == 0:
    say(action_of(signal.SIGTERM), action_of(signal.SIGHUP))
    os._exit(0)
os.waitpid(child, 0)
"""
    with running(program) as run:
        assert run.end()[:2] == (0, "default default\n")


def test_child_that_comes_out_of_the_program_ends_by_itself(running):
    program = """
child = os.fork()
if child == 0:
    sys.exit(5)
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
signal.raise_signal(signal.SIGTERM)
time.sleep(10**6)
"""
    with running(program) as run:
        assert run.line() == "5"
        run.must_die_of(signal.SIGTERM)


def test_forks_find_no_thread_for_it_and_later_signals_do(running_everywhere):
    program = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
say("warnings:" + "; ".join(str(warning.message) for warning in caught))
time.sleep(10**6)
"""
    with running_everywhere(program) as run:
        assert run.line() == "warnings:"
        run.send(signal.SIGTERM)
        run.must_die_of(signal.SIGTERM)


def test_signal_that_comes_around_a_fork_waits_for_its_end(running):
    program = """
from spprof import _native
_native.resume()  # as of a fork that was under way when the session began
_native.pause()
_native.pause()
_native.resume()
signal.raise_signal(signal.SIGTERM)
say("threads:", len(os.listdir("/proc/self/task")))
_native.resume()
time.sleep(10**6)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM, output="threads: 1\n")


def test_forks_start_no_thread_when_nothing_is_waited_for(running):
    program = """
from spprof import _native
_native.release_termination()
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
say("threads:", len(os.listdir("/proc/self/task")))
"""
    with running(program) as run:
        assert run.end()[:2] == (0, "threads: 2\n"), "the program's and the session's"


@pytest.mark.parametrize(
    ("end", "status"),
    [("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM), ("sys.exit(5)", 5)],
    ids=["signalled", "by_itself"],
)
def test_program_that_forks_while_its_profile_is_saved(running, end, status):
    """The fork does not wait for the thread that saves, and the child has nothing of it."""
    program = f"""
replace, saving, forked = os.replace, threading.Event(), threading.Event()

def stalling(*names):
    saving.set()
    forked.wait()
    replace(*names)

os.replace = stalling
signal.raise_signal(signal.SIGTERM)
saving.wait()
sys.stderr = open(os.devnull, "w")  # CPython's warning: at this moment there is a second thread
child = os.fork()
if child == 0:
    {end}
    os._exit(9)
say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
forked.set()
time.sleep(10**6)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM, output=f"{status}\n")


NO_THREAD = """
import resource
from spprof import _native

def let_no_thread_start():
    over = threading.Event()
    for _ in range(8):  # they take the stacks that libc has kept of others
        threading.Thread(target=over.wait, daemon=True).start()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1, limits[1]))
    return limits
"""


def test_signal_dies_at_once_where_its_thread_cannot_be_started_after_a_fork(running):
    program = """
_native.pause()
signal.raise_signal(signal.SIGTERM)
let_no_thread_start()
_native.resume()
say("went on")
"""
    with running(NO_THREAD + program) as run:
        run.must_die_unsaid(signal.SIGTERM)


def test_signals_are_given_back_where_their_thread_cannot_be_started_after_a_fork(running):
    program = """
_native.pause()
limits = let_no_thread_start()
_native.resume()
resource.setrlimit(resource.RLIMIT_AS, limits)
say(action_of(signal.SIGTERM), action_of(signal.SIGHUP))
"""
    with running(NO_THREAD + program) as run:
        status, output, errors = run.end()
        assert (status, output) == (0, "default default\n"), errors
        run.must_have_profile()


def test_beginning_fails_where_no_thread_can_be_started(running):
    program = """
_native.release_termination()
limits = let_no_thread_start()
try:
    _native.catch_termination(print)
except RuntimeError as error:
    said = error
resource.setrlimit(resource.RLIMIT_AS, limits)
say(said)
say(action_of(signal.SIGTERM), action_of(signal.SIGHUP))
"""
    with running(NO_THREAD + program) as run:
        said = "no thread could be started: Resource temporarily unavailable"
        status, output, errors = run.end()
        assert (status, output) == (0, f"{said}\ndefault default\n"), errors


def test_another_run_in_the_same_process(running):
    """After the first; meanwhile it is refused, and the first goes on."""
    program = """
from spprof import _native
try:
    _native.catch_termination(print)
except RuntimeError as error:
    say(error)
say("threads:", len(os.listdir("/proc/self/task")))
_native.release_termination()
_native.catch_termination(lambda: say("delivered"))
signal.raise_signal(signal.SIGTERM)
time.sleep(10**6)
"""
    refusal = "another run of this process waits for SIGTERM and SIGHUP; start this one in a process of its own"
    with running(program) as run:
        assert run.end() == (-signal.SIGTERM, f"{refusal}\nthreads: 3\ndelivered\n", "")


# --- several signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_that_is_sent_twice_is_one(running, second):
    """As `timeout` sends it: to its child, and to the group of both."""
    program = f"""
for number in ({int(signal.SIGTERM)}, {int(second)}):
    os.kill(os.getpid(), number)
time.sleep(10**6)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM)


NEVER_SAVED = {
    "python": """
def stalling(*names):
    say("saving")
    threading.Event().wait()

os.replace = stalling
signal.raise_signal(signal.SIGTERM)
time.sleep(10**6)
""",
    # A call into C that keeps the GIL, where there is one.
    "c": "say('saving')\nctypes.PyDLL(None).pause()\n",
}


@pytest.mark.parametrize("way", NEVER_SAVED)
def test_later_signal_ends_a_program_whose_profile_is_never_saved(running_everywhere, way):
    with running_everywhere(NEVER_SAVED[way]) as run:
        run.wait_for("saving")
        while run.child.poll() is None:
            run.send(signal.SIGTERM)
            time.sleep(0.05)
        assert run.child.returncode == -signal.SIGTERM
        assert way == "c" or "profile.json" not in run.files()


# --- the signal comes when the program has ended ---------------------------------------------------------


def test_signal_while_the_profile_is_saved_at_the_programs_end(running):
    program = """
replace = os.replace

def signalled(*names):
    signal.raise_signal(signal.SIGTERM)
    replace(*names)

os.replace = signalled
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM)


def test_program_that_ends_while_its_profile_is_saved_for_a_signal(running):
    program = """
replace, ended = os.replace, threading.Event()

def stalling(*names):
    ended.wait()
    replace(*names)

os.replace = stalling
threading._register_atexit(ended.set)
signal.raise_signal(signal.SIGTERM)
"""
    with running(program) as run:
        run.must_die_of(signal.SIGTERM)


def test_program_that_has_ended_waits_for_the_signal_that_it_dies_of(running):
    """The signal comes after the profile was saved; its thread is kept until the main thread waits or has ended."""
    program = """
import atexit, gc
from spprof import command, session
atexit.register(say, "exit function")
release = session.release_termination
delivery = next(found for found in gc.get_objects() if type(found) is command.Delivery)

class Stalling:
    def __enter__(self):
        say("thread")
        sys.stdin.readline()

    def __exit__(self, *error):
        pass

def signalled():
    delivery._lock = Stalling()
    signal.raise_signal(signal.SIGTERM)
    release()

session.release_termination = signalled
"""
    with running(program) as run:
        assert run.line() == "thread"
        run.wait_until_it_waits()
        if run.child.poll() is None:
            run.go()
        run.must_die_of(signal.SIGTERM)

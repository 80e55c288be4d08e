"""What runs in processes of its own: how it is found, how it is ended, and what its end says."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# By what a run is ended: an interrupt, a request, the end of its terminal.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Those that stay ignored where they are: nohup and job control mean it, and so does Python itself.
KEPT = (
    *(signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGPIPE, signal.SIGXFSZ),
)


def existing_python(name):
    """ci/python's answer, as subprocess.run gives it."""
    return subprocess.run([ROOT / "ci" / "python", "--existing", name], capture_output=True, text=True)


@contextlib.contextmanager
def undisturbed():
    """Interrupts wait until what is begun here is known to whoever has to end it. They come to the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came, former = [], {}
    for number in heard():
        former[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def heard():
    """Those by which this run is ended: nohup has the end of the terminal ignored."""
    return [number for number in ENDS if signal.getsignal(number) is not signal.SIG_IGN]


def hear_signals():
    """Gives signals that were ignored when this process began their default action again. What is
    started inherits the ignoring: a shell has SIGINT ignored in the background, for instance, and
    with SIGCHLD ignored every child seems to succeed. Main thread only."""
    for number in signal.valid_signals() - {*KEPT}:
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


def catch_signals():
    """Every end of a run comes as KeyboardInterrupt, whatever was ignored when this process began;
    under nohup the end of its terminal is none. Main thread only, before anything is started."""
    hear_signals()
    for number in heard():
        signal.signal(number, signal.default_int_handler)


def kill_group(child):
    """The child, which leads a session of its own, and whatever it started. Does not wait."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def end_group(child):
    """As kill_group, and waits for the child."""
    kill_group(child)
    child.wait()


class Stopped(Exception):
    """The run was interrupted."""


class Children:
    """Children that several threads start. Stopping ends them all, and lets none start."""

    def __init__(self):
        self.lock, self.running, self.stopped = threading.Lock(), set(), False

    @contextlib.contextmanager
    def start(self, command, **options):
        """`with children.start(...) as child`: it leads a session of its own, and ends with the block
        where that raises. `options` are subprocess.Popen's. Raises Stopped instead, or at the end,
        where all were stopped."""
        with self.lock:
            if self.stopped:
                raise Stopped
            child = subprocess.Popen(command, start_new_session=True, **options)
            self.running.add(child)
        try:
            yield child
        except BaseException:
            end_group(child)
            raise
        finally:
            with self.lock:
                self.running.discard(child)
        if self.stopped:
            raise Stopped

    def stop(self):
        with self.lock:
            self.stopped = True
            for child in self.running:
                kill_group(child)


@contextlib.contextmanager
def begun(command, **options):
    """`with begun(...) as child`: a child that leads a session of its own and that no interrupt leaves behind. `options`
    are subprocess.Popen's."""
    with contextlib.ExitStack() as ends:
        with undisturbed():
            child = subprocess.Popen(command, start_new_session=True, **options)
            ends.callback(end_group, child)
        yield child


def run_to_its_end(command, env=None, **options):
    """As subprocess.run, with both outputs as text. Interrupted, it leaves neither what the command has started, as a
    compiler does, nor what that keeps in the folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="spprof-") as folder:
        environment = {**(os.environ if env is None else env), "TMPDIR": folder}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with begun(command, env=environment, text=True, **streams, **options) as child:
            output, errors = child.communicate()
        return subprocess.CompletedProcess(command, child.returncode, output, errors)


def describe(status):
    """What an exit status says of a failure; None of 0."""
    if status < 0:
        return f"crashed with {signal.Signals(-status).name}"
    return f"exited with status {status}" if status else None

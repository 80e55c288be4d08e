"""What a run prints while it goes on, and how it is ended."""

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from stress.children import Stopped


class Failed(Exception):
    """What ends the run; one line."""


def say(text):
    print(text, flush=True)


class Progress:
    """One line a second, written over the one before on a terminal."""

    def __init__(self):
        self.terminal, self.shown, self.begun = sys.stdout.isatty(), -1, time.monotonic()

    def __call__(self, text):
        second = int(time.monotonic() - self.begun)
        if second == self.shown or (not self.terminal and second % 10):
            return
        self.shown = second
        line = f"{second:4} s  {text}"
        print(f"\r\033[K{line}" if self.terminal else line, end="" if self.terminal else "\n", flush=True)

    def clear(self):
        if self.terminal:
            print("\r\033[K", end="", flush=True)


def in_threads(children, jobs, describe):
    """Runs the jobs, each in a thread of its own, and shows how far they are. The first failure is raised here."""
    progress, failures = Progress(), []

    def guarded(job):
        try:
            job()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)
            children.stop()

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            progress(describe())
            threads[0].join(0.2) if threads[0].is_alive() else time.sleep(0.2)
    except BaseException:
        children.stop()
        raise
    finally:
        for thread in threads:
            thread.join()
        progress.clear()
    if failures:
        raise failures[0]

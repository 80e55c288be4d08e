"""Threads that have ended, got their names late, or have odd ones: `thread_names.py MODE WAY`.

WAY "plain" names them as programs do; "odd" has names that are hard to write, objects that are not `threading`'s, and a
class with a say in its attributes; "replaced" has its own dictionary of threads; "taken" all dict watchers taken.
Each thread does its work in a function of its own, so that samples tell which thread is which.
"""

import _thread
import ctypes
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import spprof
from scenario import result

CPU_SECONDS = 0.15
mode, way = sys.argv[1:]
functions = {}
calls = []


def function_of(number):
    """A function that burns CPU time, and is told from others by its name."""
    space = {"time": time, "seconds": CPU_SECONDS}
    exec(
        f"def burn_{number}():\n"
        "    until = time.thread_time() + seconds\n"
        "    while time.thread_time() < until:\n"
        "        pass\n",
        space,
    )
    return space[f"burn_{number}"]


def expect(name):
    """A new function, whose samples must be of a thread of that name."""
    functions[f"burn_{len(functions)}"] = name
    return function_of(len(functions) - 1)


def run(target, **arguments):
    thread = threading.Thread(target=target, **arguments)
    thread.start()
    thread.join()
    return thread


def renamed(name, burn):
    threading.current_thread().name = name
    burn()


def lives_on(name, done):
    expect(name)()
    threading.current_thread().name = name
    done.set()
    threading.Event().wait()


def plain():
    done = threading.Event()
    long_name = "a-name-much-longer-than-the-kernel-keeps"
    run(expect(long_name), name=long_name)
    run(renamed, name="early", args=("late-name", expect("late-name")))
    with ThreadPoolExecutor(1, thread_name_prefix="database-connection-checker") as pool:
        for burn in [expect("database-connection-checker_0")]:
            pool.submit(burn)
    run(expect("Thread-"))  # with the name that `threading` gives it
    threading.Thread(target=lives_on, args=("the-last-name-of-one-that-lives", done), daemon=True).start()
    done.wait()


def foreign_code(name):
    """Notes that code of the program was asked for a name by somebody but `threading`."""
    caller = sys._getframe(2).f_code
    if caller.co_filename != threading.__file__ or caller.co_name == "_delete":
        calls.append(name)


class Own(threading.Thread):
    """Reads of its attributes run Python code."""

    def __getattribute__(self, name):
        if name in ("_name", "_native_id"):
            foreign_code(name)
        return super().__getattribute__(name)


class Property(threading.Thread):
    """Its name is not the object's own attribute, so it has the kernel's."""

    @property
    def _name(self):
        foreign_code("property")
        return "of a property"

    @_name.setter
    def _name(self, name):
        pass


class Lists(list):
    """A name that is no text."""


def odd():
    for name in ("größe-ünïcode-ждать", "semi;colon\nline", "lone \udc80 surrogate", "\U0001f40d" * 9, "nul \0 here"):
        run(renamed, name="early", args=(name, expect(name)))
    run(renamed, name="early", args=("", expect("thread ")))
    for thread in (Own(target=expect("own"), name="own"), Property(target=expect(None))):
        thread.start()
        thread.join()
    run(lambda burn: (setattr(threading.current_thread(), "_name", Lists()), burn()), args=(expect(None),))
    done = _thread.allocate_lock()
    done.acquire()

    def foreign(burn):
        threading.current_thread()  # makes a Thread object for a thread that `threading` has not started
        burn()
        done.release()

    _thread.start_new_thread(foreign, (expect("Dummy-"),))
    done.acquire()


def living():
    done = threading.Event()
    threading.Thread(target=lives_on, args=("lives", done), daemon=True).start()
    done.wait()


def replaced():
    former = threading._active
    threading._active = dict(former)
    run(lambda burn: burn(), name="in a dictionary that nobody watches", args=(expect(None),))
    threading._active = former
    run(expect("again"), name="again")


if way == "taken":
    harmless = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p)
    while True:
        try:
            ctypes.pythonapi.PyDict_AddWatcher(harmless)
        except RuntimeError:
            break
spprof.start(interval_ms=1, mode=mode)
{"plain": plain, "odd": odd, "replaced": replaced, "taken": living}[way]()
expect("MainThread")()
profile = spprof.stop()

shown = {}
for sample in profile:
    for frame in sample.stack:
        if frame.name in functions:
            shown.setdefault(frame.name, set()).add(sample.thread.name)
result(
    expected=functions,
    shown={function: sorted(names) for function, names in shown.items()},
    calls=calls,
    tids=[thread.native_id for thread in profile.threads],
)

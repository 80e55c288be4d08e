"""Where the process's first thread has its stack (core/ordinary/stack.h), where the kernel says and where it does not."""

import ctypes
import os
import resource
import threading

import pytest
import synthetic
from fresh import check as in_child

USUAL, MOST = 8 << 20, 1 << 30


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "files.c", "-shared")


class Bounds:
    """As the library finds them."""

    def __init__(self, path, no_proc):
        self.library = ctypes.CDLL(str(path))
        ctypes.c_bool.in_dll(self.library, "no_proc").value = no_proc
        self.library.stack_initial_high.restype = ctypes.c_size_t
        self.library.stack_note_caller()
        self.library.stack_learn_first()
        low, high = ctypes.c_size_t(), ctypes.c_size_t()
        reader = synthetic.Reader()
        self.library.stack_find(
            ctypes.byref(reader), os.getpid(), ctypes.c_size_t(1 << 40), ctypes.byref(low), ctypes.byref(high)
        )
        self.low, self.high = low.value, high.value
        assert self.high == self.library.stack_initial_high()


def stack_mapping():
    with open("/proc/self/maps") as maps:
        line = next(line for line in maps if line.rstrip().endswith("[stack]"))
    return [int(part, 16) for part in line.split()[0].split("-")]


def as_the_kernel_says(path):
    low, high = stack_mapping()
    found = Bounds(path, no_proc=False)
    assert found.low <= low < found.high <= high


def test_kernel_says(files):
    in_child(as_the_kernel_says, files)


def by_the_limit(path, limit, size):
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (limit, hard))
    found = Bounds(path, no_proc=True)
    assert found.high - found.low == size


@pytest.mark.parametrize(
    ("limit", "size"),
    [(USUAL, USUAL), (64 << 20, 64 << 20), (MOST, MOST), (2 * MOST, USUAL), (resource.RLIM_INFINITY, USUAL)],
)
def test_without_proc_the_limit_says(files, limits, limit, size):
    in_child(by_the_limit, files, limit, size)


class OfAnother:
    """The search for the stack of a thread that is not the process's first."""

    def __init__(self, path, no_proc):
        self.library = ctypes.CDLL(str(path))
        ctypes.c_bool.in_dll(self.library, "no_proc").value = no_proc
        self.library.stack_find.restype = None

    def find(self, thread_id):
        low, high = ctypes.c_size_t(7), ctypes.c_size_t(7)
        reader, at = synthetic.Reader(), ctypes.c_size_t(thread_id)
        self.library.stack_find(ctypes.byref(reader), 1, at, ctypes.byref(low), ctypes.byref(high))
        return low.value, high.value


def found_and_not(path):
    """By the mapping, where libc's note is not known."""
    stack = synthetic.Area(16 * synthetic.PAGE)
    search = OfAnother(path, no_proc=False)
    assert search.find(stack.end) == (stack.start, stack.end)
    ctypes.c_bool.in_dll(search.library, "no_proc").value = True
    assert search.find(stack.end) == (0, 0)


def test_stack_of_another_thread_without_a_note(files):
    in_child(found_and_not, files)


def note_that_cannot_be(path):
    """It says of a block that the descriptor is not in."""
    search = OfAnother(path, no_proc=True)
    learner = threading.Thread(target=search.library.stack_learn)
    learner.start()
    learner.join()
    words = 4096 // 8
    descriptor = (ctypes.c_uint64 * words)(*[0x10008] * words)
    with synthetic.fault_handler(search.library):
        assert search.find(ctypes.addressof(descriptor)) == (0, 0)


def test_note_that_cannot_be_leaves_no_bound(files):
    in_child(note_that_cannot_be, files)

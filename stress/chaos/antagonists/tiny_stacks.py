"""Threads with an alternate signal stack that is hardly larger than what the kernel needs, with a guard page below."""

import ctypes
import os
import time

from antagonists import Antagonist, busy, busy_result, expect, together

PAGE = os.sysconf("SC_PAGE_SIZE")
AT_MINSIGSTKSZ = 51
PROT_NONE, SS_DISABLE = 0, 2


class Stack(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.getauxval.restype = ctypes.c_ulong


def size_of_one():
    """Room for a signal, a fault inside its handler, and a page for the handlers: as the C library's SIGSTKSZ is."""
    return -(-(2 * libc.getauxval(AT_MINSIGSTKSZ) + PAGE) // PAGE) * PAGE


def on_tiny_stack(limit):
    size = size_of_one()
    base = libc.mmap(None, PAGE + size, 3, 0x22, -1, 0)  # readable and writable; private and anonymous
    expect(base not in (None, ctypes.c_void_p(-1).value), "no memory for an alternate stack")
    expect(libc.mprotect(base, PAGE, PROT_NONE) == 0, "no guard for an alternate stack")
    expect(libc.sigaltstack(ctypes.byref(Stack(base + PAGE, 0, size)), None) == 0, "no alternate stack")
    try:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            expect(busy(limit) == busy_result(limit), "a thread with a tiny stack computed something else")
    finally:
        libc.sigaltstack(ctypes.byref(Stack(None, SS_DISABLE, 0)), None)
        libc.munmap(base, PAGE + size)


class TinyStacks(Antagonist):
    in_company = True

    def round(self, dice):
        limit = dice.randrange(1, 1000)
        together([lambda: on_tiny_stack(limit)] * dice.randrange(1, 5))

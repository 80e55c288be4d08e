"""A session whose rings nobody drains, through the C interface: they fill up, and what finds no room is counted."""

import ctypes
import os
import threading

import work
from scenario import result
from spprof import _native

REASONS = ["captured", *_native.REASONS]


class Config(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("interval", ctypes.c_uint64),
        ("max_depth", ctypes.c_uint32),
        ("ring_bytes", ctypes.c_uint32),
        ("runtime", ctypes.c_void_p),
        ("code_type", ctypes.c_void_p),
        ("thread_state", ctypes.c_void_p),
        ("sink", ctypes.c_void_p),
        ("sink_context", ctypes.c_void_p),
        ("caught_up", ctypes.c_void_p),
        ("mode", ctypes.c_int),
    ]


class Sample(ctypes.Structure):
    _fields_ = [
        ("time", ctypes.c_uint64),
        ("thread", ctypes.c_uint64),
        ("tid", ctypes.c_int32),
        ("weight", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("frames", ctypes.c_void_p),
    ]


class Stats(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("ticks", ctypes.c_uint64),
        ("by_reason", ctypes.c_uint64 * 32),
        ("samples", ctypes.c_uint64),
        ("handler_runs", ctypes.c_uint64),
        ("threads", ctypes.c_uint64),
        ("threads_refused", ctypes.c_uint64),
        ("unguarded_ticks", ctypes.c_uint64),
        ("duration", ctypes.c_uint64),
        ("ticks_in_progress", ctypes.c_uint64),
        ("slots_abandoned", ctypes.c_uint64),
        ("unasked_ticks", ctypes.c_uint64),
        ("clock_step", ctypes.c_uint64),
        ("process_cpu", ctypes.c_uint64),
        ("watched_cpu", ctypes.c_uint64),
        ("own_cpu", ctypes.c_uint64),
    ]


core = ctypes.CDLL(os.environ["SPPROF_LIBRARY"])
core.spprof_error.restype = ctypes.c_char_p
core.spprof_drain.restype = ctypes.c_int64
get_thread_state = ctypes.pythonapi.PyThreadState_Get
get_thread_state.restype = ctypes.c_void_p


def stats():
    numbers = Stats(size=ctypes.sizeof(Stats))
    assert core.spprof_get_stats(ctypes.byref(numbers)) == 0, core.spprof_error()
    return {
        "ticks": numbers.ticks,
        "samples": numbers.samples,
        "by_reason": dict(zip(REASONS, numbers.by_reason, strict=False)),
    }


drained = []


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Sample))
def sink(_, sample):
    drained.append([sample.contents.weight, sample.contents.depth])


config = Config(
    size=ctypes.sizeof(Config), interval=1_000_000, max_depth=16, ring_bytes=4096, thread_state=get_thread_state()
)
with work.Crew([work.recurse] * 2) as crew:
    error = core.spprof_start(ctypes.byref(config))
    assert error == 0, core.spprof_error()
    while stats()["by_reason"]["ring_full"] < 100:
        threading.Event().wait(0.02)
    rounds_then = list(crew.rounds)
    while min(now - then for now, then in zip(crew.rounds, rounds_then, strict=True)) < 10:
        threading.Event().wait(0.02)  # a full ring does not hold the program up
    core.spprof_drain(sink, None)
    drained_live = len(drained)
    assert core.spprof_stop() == 0, core.spprof_error()
final = stats()
core.spprof_drain(sink, None)
result(
    stats=final,
    drained_live=drained_live,
    drained=len(drained),
    drained_weight=sum(weight for weight, _ in drained),
    deepest=max(depth for _, depth in drained),
)

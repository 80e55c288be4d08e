"""Where a profile's arrays are, and whether its copy says the same when it is gone."""

import ctypes
import pickle

import spprof
import work
from scenario import result


def is_mapped(address):
    with open("/proc/self/maps") as maps:
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps]
    return any(first <= address < end for first, end in ranges)


class View(ctypes.Structure):
    """Py_buffer, of which the rest does not matter here."""

    _fields_ = [("address", ctypes.c_void_p), ("rest", ctypes.c_char * 128)]


def address_of(array):
    view = View()
    read_only = 0
    assert ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(array), ctypes.byref(view), read_only) == 0
    address = view.address
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
    return address


spprof.start(interval_ms=1)
for _ in range(200):
    work.loop()
profile = spprof.stop()
samples = [(sample.time_ns, sample.weight, sample.stack) for sample in profile]
addresses = [address_of(profile._records.native[name][0]) for name in ("nodes", "samples")]
before = [is_mapped(address) for address in addresses]
pickled = pickle.dumps(profile)
del profile
after = [is_mapped(address) for address in addresses]
copy = pickle.loads(pickled)
result(
    samples=len(samples),
    before=before,
    after=after,
    same=[(sample.time_ns, sample.weight, sample.stack) for sample in copy] == samples,
)

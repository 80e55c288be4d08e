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


def address_of(array):
    return ctypes.addressof(ctypes.c_char.from_buffer(array))


spprof.start(interval_ms=1)
for _ in range(200):
    work.loop()
profile = spprof.stop()
samples = [(sample.time_ns, sample.weight, sample.stack) for sample in profile]
addresses = [address_of(profile._records.native[name]) for name in ("nodes", "samples")]
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

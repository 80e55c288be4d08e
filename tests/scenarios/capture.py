"""Eight threads, each with its own kind of work, sampled: `capture.py TICKS`."""

import sys

import spprof
import work
from scenario import result

ticks = int(sys.argv[1])
with work.Crew() as crew:
    spprof.start(interval_ms=1)
    work.wait_for_ticks(ticks)
    profile = spprof.stop()

threads = {}
names = {}
odd_frames = []
for sample in profile:
    thread = sample.thread.name
    threads[thread] = threads.get(thread, 0) + sample.weight
    for frame in sample.stack:
        names.setdefault(thread, set()).add((frame.name, frame.filename))
        if frame.filename == frame.name or frame.first_line < 1:
            odd_frames.append(frame.name)

result(
    stats=profile.stats,
    weight=sum(threads.values()),
    threads=threads,
    names={thread: sorted(found) for thread, found in names.items()},
    odd_frames=odd_frames,
    work_file=work.__file__,
    hot=work.HOT,
    rounds=crew.rounds,
)

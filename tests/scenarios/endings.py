"""A process that ends, in one way or another, in the middle of a session: `endings.py WAY CHILDREN`."""

import os
import sys
import threading

import spprof
import work
from scenario import result


def keep_busy():
    while True:
        work.loop()


way = sys.argv[1]
result(way=way)
for _ in range(3):
    threading.Thread(target=keep_busy, daemon=True).start()
spprof.start(interval_ms=1)
work.wait_for_ticks(100)
if way == "exec":
    os.execv(sys.executable, [sys.executable, "-c", "print('another program', sum(range(2 * 10**6)))"])
elif way == "_exit":
    os._exit(3)
elif way == "exit":
    sys.exit(4)
elif way == "exception":
    raise KeyError("the program's own")
elif way == "subprocess":
    import subprocess

    for _ in range(int(sys.argv[2])):
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    print("children ran", spprof.stop().stats["captured"] > 0)
elif way != "end":
    raise SystemExit(f"no way of ending is called {way}")

"""Functions that spend their time in one known statement, run by more and more threads: `lines.py TICKS`.

More threads than before make CPython 3.14t give the functions more copies of their bytecode, in an array that is
replaced as it grows, while the session goes on.
"""

import ast
import sys
import threading

import spprof
import work
from scenario import result

DATA = list(range(20_000))


def squares():
    values = [number * 3 + 1 for number in DATA if number != 7]
    return values


def counted():
    number = 0
    while number < 60_000: number += 1  # fmt: skip
    return number


def nested():
    def inner():
        found = {key: key ^ 21 for key in DATA}
        return found

    result = inner()
    return result


class Holder:
    def method(self):
        pairs = [(left, right) for left in range(150)
                 for right in range(150)]  # fmt: skip
        return pairs


HOT = [squares, counted, nested, Holder().method]


def statements():
    """For each hot function: the lines of its hot statement, and all of its lines."""
    with open(__file__) as file:
        tree = ast.parse(file.read())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in ("squares", "counted", "inner", "method"):
            hot = next(s for s in node.body if isinstance(s, ast.While) or holds_comprehension(s))
            found[node.name] = [(hot.lineno, hot.end_lineno), (node.lineno, node.end_lineno)]
    return found


def holds_comprehension(statement):
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.ListComp | ast.DictComp)


def run_all(over):
    while not over.is_set():
        for function in HOT:
            function()


over = threading.Event()
threads = []
spprof.start(interval_ms=1)
ticks = int(sys.argv[1])
crews = [1, 8, 24]
for number, size in enumerate(crews, 1):
    while len(threads) < size:
        threads.append(threading.Thread(target=run_all, args=(over,)))
        threads[-1].start()
    work.wait_for_ticks(ticks * number // len(crews))
profile = spprof.stop()
over.set()
for thread in threads:
    thread.join()

known = statements()
counts = {name: {"on_statement": 0, "elsewhere": 0, "outside": 0} for name in known}
lines_elsewhere = []
all_outside = []
for sample in profile:
    for frame in sample.stack:
        if frame.filename != __file__ or frame.name == "<module>":
            continue
        name = frame.name.split(".")[-1]
        if name in known and not known[name][1][0] <= frame.line <= known[name][1][1]:
            all_outside.append([frame.name, frame.line])
    top = sample.stack[-1] if sample.stack else None
    name = top.name.split(".")[-1] if top else None
    if top is None or top.filename != __file__ or name not in known:
        continue
    (first, last), (begin, end) = known[name]
    where = "on_statement" if first <= top.line <= last else "elsewhere" if begin <= top.line <= end else "outside"
    counts[name][where] += 1
    if where != "on_statement":
        lines_elsewhere.append([name, top.line])
result(stats=profile.stats, counts=counts, lines_elsewhere=lines_elsewhere, all_outside=all_outside)

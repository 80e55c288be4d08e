"""session.py POINTS MODE PART RESULT: steps the workload in this interpreter and writes what was found
to RESULT.

PART is NUMBER/PARTS: each of so many children has one piece of the workload in so many. Runs under the
interpreter under test with step_driver on its path. Prints a line for every piece of work that is done:
"points N". MODE is `all` (whole rounds of everything, until there are POINTS), `short` (one quick round,
new threads followed until a while after their last frame), `every` (as `all`, but the allocator's loop
is stepped through too) or `control` (one falsified stack, which has to be found).
"""

import collections
import gc
import json
import sys
import sysconfig
import types
from pathlib import Path

import step_driver
import symbols
import workload

# When a thread ends, mimalloc visits one abandoned segment 1,024 times in every heap of the thread, some million
# instructions that no Python code and no frame is part of (Objects/mimalloc/segment.c).
PASSED_OVER = "_mi_abandoned_collect"
TAIL = 5000


def step(pieces):
    for piece in pieces:
        step_driver.run(piece)
        if not step_driver.settle():
            sys.exit(f"{piece.__name__}: a thread is still being stepped")
        print("points", step_driver.points(), flush=True)


def step_rounds(points, number, parts):
    while True:
        step(workload.PIECES[number::parts])
        workload.warm()
        step(workload.SPECIALISED[number::parts])
        if step_driver.points() >= points:
            return


def step_control():
    step_driver.plant()
    step([workload.recursion])


# --- what was found -----------------------------------------------------------------------------------


def code_objects():
    """Every code object that a function of this process can reach, by its address."""
    waiting = [thing.__code__ for thing in gc.get_objects() if isinstance(thing, types.FunctionType)]
    found = {}
    while waiting:
        code = waiting.pop()
        if id(code) not in found:
            found[id(code)] = code
            waiting.extend(constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return found


def named_stack(stack, codes):
    names = []
    for address, instruction, first_line in stack:
        code = codes.get(address)
        where = f"{code.co_qualname} ({Path(code.co_filename).name}:{first_line})" if code else f"{address:#x}"
        names.append(f"{where} at instruction {instruction}")
    return names


def dropped_points(places, maps):
    """{reason: {phase: {function: points}}}"""
    dropped = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    for reason, phase, counter, count in places:
        dropped[reason][phase][symbols.function_at(counter, maps)] += count
    return {reason: {name: dict(found.most_common()) for name, found in of.items()} for reason, of in dropped.items()}


def findings():
    maps, codes = symbols.read_maps(), code_objects()
    totals = step_driver.totals()
    totals["dropped"] = dropped_points(totals.pop("places"), maps)
    broken = totals.pop("broken")
    totals["broken"] = [
        found
        | {
            "function": symbols.function_at(found["pc"], maps),
            "before": named_stack(found["before"], codes),
            "after": named_stack(found["after"], codes),
        }
        for found in broken
    ]
    totals["version"] = sys.version.split()[0]
    totals["free_threaded"] = bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and not sys._is_gil_enabled()
    return totals


def main():
    points, mode, result = int(sys.argv[1]), sys.argv[2], Path(sys.argv[4])
    number, parts = map(int, sys.argv[3].split("/"))
    if mode == "short":
        step_driver.set_tail(TAIL)
    if mode != "every":
        step_driver.pass_over(symbols.address_of(PASSED_OVER, symbols.read_maps()))
    workload.prepare()
    if mode == "control":
        step_control()
    elif mode == "short":
        workload.warm()
        step(workload.SHORT[number::parts])
    else:
        step_rounds(points, number, parts)
    result.write_text(json.dumps(findings()))


if __name__ == "__main__":
    main()

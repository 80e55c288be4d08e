"""The oracles of the ground-truth harness: what each program can show, and what none can. And a short real run."""

import json
import os
import subprocess
import sys
import threading
import weakref

import pytest
import support
import synthetic

TRUTH = support.ROOT / "stress" / "truth"
sys.path.insert(0, str(TRUTH))

import workloads  # noqa: E402
from grammar import NO_LINE, Source  # noqa: E402 - a folder of its own, beside the package
from judge import Bench, judge, stacks_of  # noqa: E402

runner = support.module_of(TRUTH / "run.py")

from stress.interpreters import FREE_THREADED  # noqa: E402 - the path that run.py itself has set


def line_in(text, fragment, after=""):
    """The number of the first line that contains `fragment`, behind the first that contains `after`."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if after in line)
    return next(i for i, line in enumerate(lines) if i >= begin and fragment in line) + 1


def text_of(module):
    return (TRUTH / "workloads" / f"{module}.py").read_text()


def chain(prefix, levels, call_line, last_line):
    """Numbered functions that call each other, the innermost on a line of its own."""
    return [(prefix.format(i), call_line(i)) for i in range(levels - 1)] + [
        (prefix.format(levels - 1), last_line(levels - 1))
    ]


# --- possible stacks, made by hand: workload -> [(role, stack)] ------------------------------------------


def families_stacks(depth):
    text = text_of("families")
    left = ("Families.take_turns", line_in(text, "                left()"))
    right = ("Families.take_turns", line_in(text, "                right()"))
    first_right = 2 * (depth - 1) + 5
    whole_left = [left, *chain("left_{:03}", depth, lambda i: 2 * i + 2, lambda i: 2 * i + 4)]
    whole_right = [
        right,
        *chain("right_{:03}", depth, lambda i: first_right + 2 * i + 2, lambda i: first_right + 2 * i + 3),
    ]
    return [
        ("turns-0", whole_left),
        ("turns-1", whole_right),
        ("turns-0", whole_left[:3]),
        ("turns-0", [left, ("left_000", 1)]),
        ("turns-0", [left]),
    ]


def chunks_stacks():
    entry = ("Chunks.sway", line_in(text_of("chunks"), "first(depth)"))
    deep = [entry, *chain("level_{:02}", 60, lambda i: 5 * i + 4, lambda i: 5 * i + 2)]
    return [("chunks-0", deep), ("chunks-1", deep[:20]), ("chunks-1", deep[:2]), ("chunks-0", [entry])]


def generators_stacks():
    text = text_of("generators")
    first = [
        ("first_thread", line_in(text, "first_resumes(lock, generator)", "def first_thread")),
        ("first_resumes", line_in(text, "return next(generator)")),
    ]
    second = [
        ("second_thread", line_in(text, "second_sends(lock, coroutine)")),
        ("second_sends", line_in(text, "generator.send", "def second_sends")),
    ]
    relay = [("relay", line_in(text, "yield from middle")), ("middle", line_in(text, "yield from produce"))]
    step = [("produce", line_in(text, "step(number)) %")), ("step", line_in(text, "total += part ^"))]
    work = [
        ("work", line_in(text, "await pause()")),
        ("pause", line_in(text, "await Pause()")),
        ("Pause.__await__", line_in(text, "yield 1")),
    ]
    return [
        ("first", [*first, *relay, *step]),
        ("first", [*first, *relay]),
        ("first", [*first, ("doubled", line_in(text, "in produce(limit)")), *step]),
        ("second", [*second, *work]),
        ("second", [*second, *work[:1]]),
    ]


def swings_stacks():
    text = text_of("swings")
    entry = [
        [("Swings.take_turns", line_in(text, f"  lead_{name}(")), (f"lead_{name}", line_in(text, f"  {name}.send"))]
        for name in ("left", "right")
    ]
    left, right = ((f"{name}_swing", line_in(text, "send(False)", f"def {name}_swing")) for name in ("left", "right"))
    on_left, on_right = (
        (f"{name}_swing", line_in(text, "linger()", f"def {name}_swing")) for name in ("left", "right")
    )
    linger = ("linger", line_in(text, "total += part"))
    return [
        ("swings-0", [*entry[0], left, on_right, linger]),
        ("swings-1", [*entry[1], right, on_left, linger]),
        ("swings-0", [*entry[0], left, (on_right[0], on_right[1] + 1)]),
    ]


def exceptions_stacks():
    from workloads.exceptions import LEVELS, text_of_level

    text = text_of("exceptions")
    made = "".join(text_of_level(i) for i in range(LEVELS))
    entry = [
        ("Exceptions.fall", line_in(text, "self.fall_once(tidied)")),
        ("Exceptions.fall_once", line_in(text, "first(tidied)")),
    ]

    def call_line(i):
        return line_in(made, f"unwind_{i + 1:02}(tidied)", f"def unwind_{i:02}")

    tidying = line_in(made, "tidied[8] = 1")
    whole = [*entry, *chain("unwind_{:02}", LEVELS, call_line, lambda i: line_in(made, "raise ValueError(0)"))]
    return [
        ("exceptions-0", whole),
        ("exceptions-1", whole[:12]),
        ("exceptions-1", [*whole[:10], ("unwind_08", tidying)]),
        ("exceptions-0", [entry[0], ("Exceptions.fall_once", line_in(text, "tidied.clear()"))]),
    ]


def callbacks_stacks():
    text = text_of("callbacks")
    nested = [
        ("call_back", line_in(text, "        arrange()")),
        ("arrange", line_in(text, "return sorted(")),
        ("weigh", line_in(text, "functools.reduce(")),
        ("combine", line_in(text, "sum(map(leaf")),
        ("leaf", line_in(text, "number * 7")),
    ]
    compared = [
        ("call_back", line_in(text, "        compare()")),
        ("compare", line_in(text, "return Answer() in")),
        ("Answer.__eq__", line_in(text, "arrange() == other")),
        *nested[1:4],
    ]
    picked = [
        ("call_back", line_in(text, "        spread()")),
        ("spread", line_in(text, "filter(pick")),
        ("pick", line_in(text, "return max(")),
        ("pick.<locals>.<lambda>", line_in(text, "return max(")),
        nested[4],
    ]
    return [("callbacks-0", nested), ("callbacks-1", compared), ("callbacks-0", picked)]


def classes_stacks():
    text = text_of("classes")

    def at(function, fragment, after):
        return function, line_in(text, fragment, after)

    named = at("Named.__init__", "super().__init__(x)", "class Named")
    point = at("Point.__init__", "self.y", "class Point")
    return [
        ("classes-0", [at("instantiate", "Named(2)", "def instantiate"), named, point]),
        (
            "classes-1",
            [
                at("instantiate", "Owned(3)", "def instantiate"),
                at("Owned.__init__", "super().__init__(x)", "class Owned"),
                named,
                point,
            ],
        ),
        (
            "classes-0",
            [
                at("instantiate", "Made(4)", "def instantiate"),
                at("Made.__new__", "Point(x)", "class Made"),
                point,
            ],
        ),
        (
            "classes-0",
            [
                at("instantiate", "Counted(5)", "def instantiate"),
                at("Counting.__call__", "super().__call__", "class Counting"),
                at("Counted.__init__", "self.x", "class Counted"),
            ],
        ),
    ]


def compiled_stacks():
    text = text_of("compiled")
    entry = ("keep_making", line_in(text, "make_and_run(number)", "def keep_making"))
    call = ("make_and_run", line_in(text, "        outer()"))
    return [
        ("compiled-0", [entry, call, ("outer_123", 23 + 2), ("inner_123", 23 + 6)]),
        ("compiled-1", [entry, call, ("outer_7", 7 + 1)]),
        ("compiled-1", [entry, ("make_and_run", line_in(text, "exec(compile(")), ("<module>", 5)]),
    ]


def births_stacks():
    text, library = text_of("births"), open(threading.__file__).read()
    child = [
        ("module_child", line_in(text, "live(number)", "def module_child")),
        ("live", line_in(text, "total += part")),
    ]
    bootstrap = [
        ("Thread._bootstrap", line_in(library, "self._bootstrap_inner()")),
        ("Thread._bootstrap_inner", line_in(library, "self.run()", "def _bootstrap_inner")),
        ("Thread.run", line_in(library, "self._target(*")),
    ]
    return [
        (None, [("bare_child", line_in(text, "live(number)", "def bare_child")), child[1]]),
        (None, [*bootstrap, *child]),
        (None, bootstrap[:1]),
    ]


def hooks_stacks():
    text = text_of("hooks")
    outer = ("outer", line_in(text, "for value in values"))
    values = ("values", line_in(text, "yield inner(number)"))
    inner = ("inner", line_in(text, "total += part"))
    first = {name: (name, line_in(text, "outer(4)", f"def {name}(stage")) for name in ("profile", "trace", "monitor")}
    hook = {name: (name, line_in(text, f"def {name}")) for name in ("profile_hook", "trace_hook", "monitor_hook")}
    return [
        ("profile", [first["profile"], outer, values, inner, hook["profile_hook"]]),
        ("trace", [first["trace"], outer, values, hook["trace_hook"]]),
        ("monitor", [first["monitor"], outer, values, inner, hook["monitor_hook"]]),
        ("monitor", [first["monitor"], outer, values, inner]),
    ]


def of_one_thread(stacks):
    return [(role, stack) for role, stack in stacks if role == "turns-0"]


def guests():
    """A hook, and what a set of weak references does of a death: on any thread of the process."""
    library = open(weakref.WeakSet.__init__.__code__.co_filename).read()
    removal = ("WeakSet.__init__.<locals>._remove", line_in(library, "self = selfref()"))
    return ("monitor_hook", line_in(text_of("hooks"), "def monitor_hook")), removal


def mixture_stacks():
    hook, removal = guests()
    return [
        ("turns-0", [*families_stacks(20)[0][1], hook]),
        ("turns-0", [*families_stacks(20)[0][1], removal]),
        ("turns-0", [*families_stacks(20)[0][1], hook, removal]),
        ("turns-0", [*families_stacks(20)[0][1], removal, hook]),
        ("turns-0", [*families_stacks(20)[0][1], hook, removal, hook]),
        chunks_stacks()[0],
        *generators_stacks(),
        ("callbacks-0", callbacks_stacks()[0][1]),
        ("classes-0", [*classes_stacks()[0][1], hook]),
        births_stacks()[1],
        *hooks_stacks(),
    ]


POSSIBLE = {
    "families_5": lambda: families_stacks(5),
    "families_20": lambda: families_stacks(20),
    "families_100": lambda: families_stacks(100),
    **{f"shares_{depth}": lambda depth=depth: of_one_thread(families_stacks(depth)) for depth in (5, 20, 100)},
    "chunks": chunks_stacks,
    "generators": generators_stacks,
    "swings": swings_stacks,
    "exceptions": exceptions_stacks,
    "callbacks": callbacks_stacks,
    "classes": classes_stacks,
    "compiled": compiled_stacks,
    "births": births_stacks,
    "hooks": hooks_stacks,
    "mixture": mixture_stacks,
}

every_workload = pytest.mark.parametrize("name", list(workloads.WORKLOADS))


@every_workload
def test_possible_stacks_are_accepted(name):
    workload = workloads.make(name)
    for role, stack in POSSIBLE[name]():
        assert workload.possible(role, stack), (role, stack)


def damaged(stack):
    """(what was done, stack): none of these is a state of any workload."""
    yield "its root cut off", stack[1:]
    for i in range(len(stack)):
        yield f"frame {i} twice", [*stack[: i + 1], *stack[i:]]
    for i in range(1, len(stack) - 1):
        yield f"frame {i} missing", [*stack[:i], *stack[i + 1 :]]
    for i, (function, line) in enumerate(stack[:-1]):
        yield f"caller {i} elsewhere", [*stack[:i], (function, line + 1000), *stack[i + 1 :]]
        yield f"caller {i} without a line", [*stack[:i], (function, NO_LINE), *stack[i + 1 :]]
        yield f"caller {i} on another line", [*stack[:i], (function, line - 1), *stack[i + 1 :]]
    yield "an unknown function on top", [*stack, ("stranger", 1)]
    yield "its end elsewhere", [*stack[:-1], (stack[-1][0], stack[-1][1] + 5000)]
    yield "its root doubled", [stack[0], *stack]


@every_workload
def test_damaged_stacks_are_refused(name):
    workload = workloads.make(name)
    stacks = [(role, stack) for role, stack in POSSIBLE[name]() if len(stack) > 2]
    allowed = {(role, tuple(stack)) for role, stack in POSSIBLE[name]()}
    assert stacks
    for role, stack in stacks:
        # A hook may be called for whatever is below it: the damage is done there.
        hooks = [frame for frame in stack if frame[0].endswith(("_hook", "_remove"))]
        for what, bad in damaged(stack[: len(stack) - len(hooks)]):
            if (role, tuple(bad)) not in allowed:
                assert not workload.possible(role, [*bad, *hooks]), (what, role, bad)


def test_hook_does_not_stand_on_its_own_like():
    """A removal does: while a thread is told of one death it may collect what tells it of another."""
    workload = workloads.make("mixture")
    stack = families_stacks(20)[0][1]
    hook, removal = guests()
    assert workload.possible("turns-0", [*stack, hook])
    assert not workload.possible("turns-0", [*stack, hook, hook])
    assert workload.possible("turns-0", [*stack, removal, removal])


@every_workload
def test_another_threads_stack_and_an_empty_one_are_refused(name):
    workload = workloads.make(name)
    stacks = POSSIBLE[name]()
    entries = {role: stack[0][0] for role, stack in stacks}
    for role, stack in stacks:
        for other, entry in entries.items():
            if other is not None and entry != stack[0][0]:
                assert not workload.possible(other, stack), (other, stack)
        if role is not None:
            assert not workload.possible(role, []), "a thread that always has frames was shown without"


@pytest.mark.parametrize("name", ["families_5", "families_20", "families_100"])
def test_families_do_not_mix(name):
    workload = workloads.make(name)
    (_, left), (_, right) = POSSIBLE[name]()[:2]
    for cut in range(1, len(left)):
        assert not workload.possible("turns-0", [*left[:cut], *right[cut:]]), cut
        assert not workload.possible("turns-0", [*right[:cut], *left[cut:]]), cut
    assert workload.family("turns-0", left) == "left"
    assert workload.family("turns-0", right) == "right"


def test_two_threads_on_one_generator_do_not_mix():
    workload = workloads.make("generators")
    stacks = generators_stacks()
    first, second = stacks[0][1], stacks[3][1]
    assert not workload.possible("first", [*first[:2], *second[2:]]), "a coroutine under next()"
    assert not workload.possible("first", [first[0], second[1], *second[2:]])
    assert not workload.possible("second", first)
    assert not workload.possible("first", first[2:]), "a generator without its resumer"


def test_numbers_of_one_making_agree():
    workload = workloads.make("compiled")
    entry, call, outer, inner = compiled_stacks()[0][1]
    assert not workload.possible("compiled-0", [entry, call, outer, ("inner_124", 24 + 4)])
    assert not workload.possible("compiled-0", [entry, call, ("outer_123", 24 + 2), inner]), "another's line"
    assert not workload.possible("compiled-0", [entry, call, outer, ("inner_123", 22)]), "above its own text"
    assert not workload.possible("compiled-0", [entry, call, inner])


def test_threads_are_born_and_end_without_frames():
    workload = workloads.make("births")
    assert workload.possible(None, [])
    assert not workload.possible(None, births_stacks()[1][1][2:]), "without the frames that every thread begins with"


def test_hooks_stand_on_top_alone():
    workload = workloads.make("hooks")
    stack = hooks_stacks()[0][1]
    assert not workload.possible("profile", [*stack, stack[-2]]), "something below a hook"
    assert not workload.possible("profile", stack[-1:]), "a hook for nothing"


# --- the judge ---------------------------------------------------------------------------------------------


def test_files_must_fit_and_counts_add_up():
    workload = workloads.make("families_5")
    file = workload.grammar and next(f for f in workload.files if f.endswith("families.py"))
    entry, first = families_stacks(5)[3][1]
    nodes = [
        (-1, entry[0], file, entry[1]),
        (0, first[0], "<families>", first[1]),
        (0, first[0], "<families>", first[1]),  # another instruction of the same line
        (0, first[0], "elsewhere.py", first[1]),
    ]
    rows = [(3, 10, 1), (4, 10, 2), (5, 10, 3), (2, 10, -1)]
    bench = Bench(workload, {10: "turns-0"}, 1, lambda stack: False, "child.py")
    found = judge(bench, stacks_of({"nodes": nodes, "rows": rows}))
    assert (found["captured"], found["impossible"], found["impossible_empty"]) == (14, 7, 2)
    assert found["waiting"] == 0
    main = Bench(workload, {}, 10, lambda stack: True, file)
    assert judge(main, stacks_of({"nodes": nodes, "rows": rows}))["waiting"] == 14
    assert found["families"] == {"left": 7}
    assert found["distinct"] == 3


def test_a_source_knows_its_lines():
    source = Source("class A:\n    @property\n    def f(self):\n        return g(\n            h())\n")
    assert source.bodies["A.f"] == range(2, 6)
    assert source.lines("A.f", "g") == {4}
    with pytest.raises(AssertionError, match="no line with"):
        source.lines("A.f", "k")


# --- for real --------------------------------------------------------------------------------------------------


def run_truth(folder, *flags, **environment):
    support.ninja("truth-drivers")
    command = [sys.executable, TRUTH / "run.py", "--json", folder / "truth.json", *flags]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)
    return done, json.loads((folder / "truth.json").read_text())


def test_no_impossible_stack_in_a_short_run(tmp_path):
    done, found = run_truth(tmp_path, "--short", "--no-controls", TRUTH_SECONDS="24")
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["totals"]["impossible"] == 0
    assert found["totals"]["captured"] > 100_000
    for cell in found["cells"]:
        assert cell["law"] and cell["captured"] > 0, cell
        assert (cell["mode"] == "wall") <= cell["waiting"] < cell["captured"], cell
    assert {cell["mode"] for cell in found["cells"]} == {"storm", "cpu", "wall"}
    summed = add_up(tmp_path / "truth.json")
    assert summed.stdout.splitlines()[1].split()[1] == f"{found['totals']['captured']:,}"


def test_a_walker_of_ones_own_is_judged_and_its_lies_fail_the_run(tmp_path):
    walker = support.BUILD / "stress" / "seed_walker.so"
    done, found = run_truth(
        tmp_path, "--no-controls", TRUTH_SECONDS="6", TRUTH_ONLY="generators/3.13t", WALKER=str(walker)
    )
    assert [cell["walker"] for cell in found["cells"]] == ["seed"]
    assert found["totals"]["captured"] > 0
    if found["totals"]["impossible"]:
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1].startswith("to repeat: ")


@pytest.mark.parametrize(
    "bad, sign", [("LIES", "impossible stacks"), ("CRASHES", "crashed with SIGSEGV"), ("HANGS", "hung")]
)
def test_a_walker_that_lies_or_crashes_or_hangs_fails_the_run(tmp_path, bad, sign):
    walker = synthetic.build(tmp_path, "bad_walker.c", "-shared", f"-DBAD={bad}", f"-I{support.ROOT / 'stress'}")
    done, found = run_truth(
        tmp_path,
        *("--no-controls", "--patience", "5"),
        TRUTH_SECONDS="2",
        TRUTH_ONLY="families_5/3.14t",
        WALKER=str(walker),
    )
    assert done.returncode == 1, done.stdout
    assert sign in done.stdout
    assert any(sign in complaint for complaint in found["cells"][0]["complaints"])
    assert done.stdout.splitlines()[-1].startswith("to repeat: ")


@pytest.mark.parametrize("cell, spins", [("swings/3.14t/wall", True), ("shares_5/3.14t/wall", False)])
def test_only_back_to_back_looks_are_spun_for(tmp_path, cell, spins):
    """At an interval of its own a cell has the session's own waits: the product's shares."""
    _, found = run_truth(tmp_path, "--no-controls", TRUTH_SECONDS="3", TRUTH_ONLY=cell)
    assert [(each["spun"] > 0) for each in found["cells"]] == [spins]


def write_run(path, core="a", walker="", complaints=(), **counts):
    of_cell = {"captured": 100, "impossible": 0, "waiting": 10, "moved": 5, **counts}
    cells = [
        {"workload": workload, "interpreter": "3.14t", "mode": mode, "kind": kind, **of_cell}
        for workload, mode, kind in (
            ("swings", "cpu", "ours"),
            ("births", "storm", "ours"),
            ("generators", "wall", "control:seed-3.14t"),
        )
    ]
    for cell in cells:
        cell["complaints"] = list(complaints)
    path.write_text(json.dumps({"judged": {"core": core * 64, "walker": walker}, "cells": cells}))
    return path


def add_up(*arguments):
    command = [sys.executable, TRUTH / "run.py", "--sum", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_runs_of_the_same_sources_add_up(tmp_path):
    first = write_run(tmp_path / "1.json")
    second = write_run(tmp_path / "2.json", captured=1_000_000)
    done = add_up(first, second)
    assert done.returncode == 0 and done.stderr == ""
    told = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert {name: words[1] for name, words in told.items()} == {
        "all": "2,000,200", "storm": "1,000,100", "cpu": "1,000,100", "wall": "0", "swings": "1,000,100",
    }  # fmt: skip
    assert "(40 waiting, 20 moved)" in done.stdout and "0 impossible (<= 1.5e-06 at 95 %)" in done.stdout


def test_what_a_run_complained_of_its_sum_does(tmp_path):
    first = write_run(tmp_path / "1.json")
    second = write_run(tmp_path / "2.json", complaints=["1 impossible stacks"], impossible=1)
    done = add_up(first, second)
    assert done.returncode == 1
    assert "2 impossible" in done.stdout.splitlines()[1]
    assert f"FAILED {second}: swings/3.14t/cpu (ours): 1 impossible stacks" in done.stdout


def test_runs_that_judged_something_else_do_not_add_up(tmp_path):
    first = write_run(tmp_path / "1.json")
    other = write_run(tmp_path / "2.json", core="b", captured=1)
    walker = write_run(tmp_path / "3.json", walker="/x.so", captured=1)
    damaged = tmp_path / "4.json"
    damaged.write_text("[]")
    for flags, sign in (
        ((first, other), "judged another core"),
        ((first, walker), "judged another walker"),
        ((first, walker, "--any-core"), "judged another walker"),
        ((first, first), "are the same run"),
        ((first, damaged), "is no result of a run"),
        ((first, tmp_path / "none.json"), "is no result of a run"),
    ):
        done = add_up(*flags)
        assert done.returncode == 1 and done.stdout == "", flags
        assert sign in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert add_up(first, other, "--any-core").returncode == 0


def test_sources_that_differ_have_another_digest(tmp_path):
    (tmp_path / "a.c").write_text("x")
    first = runner.digest_of(tmp_path)
    (tmp_path / "a.pyc").write_text("x")
    assert runner.digest_of(tmp_path) == first
    (tmp_path / "a.c").write_text("y")
    second = runner.digest_of(tmp_path)
    (tmp_path / "a.c").rename(tmp_path / "b.c")
    assert len({first, second, runner.digest_of(tmp_path)}) == 3


def test_growing_memory_is_a_complaint():
    steady = {"heap_grown": 3 << 20, "grown": 30 << 20, "held": 3 << 20}
    assert list(runner.growth(steady)) == []
    assert list(runner.growth({**steady, "heap_grown": 5 << 20})) == ["the heap grew by 2.0 MiB"]
    assert list(runner.growth({**steady, "grown": 43 << 20})) == ["the memory grew by 40.0 MiB"]


def of_time(workload, mode, left, right, true=0.5):
    cell = runner.Cell(workload, "3.14t", mode)
    cell.found = {"families": {"left": left, "right": right}, "truth": {"left": true, "right": 1 - true}}
    return cell


def test_shares_of_ticks_are_a_cells_shares():
    assert runner.shares(of_time("families_5", "wall", 3, 1)) == [("left", 0.75, 0.5), ("right", 0.25, 0.5)]
    assert runner.shares(of_time("families_5", "storm", 3, 1)) == [], "a storm does not look by the time"


def test_share_that_leans_fails_its_cell():
    assert runner.leaning(of_time("shares_20", "cpu", 5095, 4905)) == []
    leans = runner.leaning(of_time("shares_20", "cpu", 5110, 4890))
    assert leans[0] == "left is shown with 0.511 of the time instead of 0.500" and len(leans) == 2
    assert runner.leaning(of_time("families_20", "cpu", 9, 1)) == []
    assert runner.leaning(of_time("shares_20", "wall", 50, 49)) == [
        "fewer than 10,000 ticks: give it more time (TRUTH_SECONDS)"
    ]


@pytest.mark.parametrize("processors, count", [(1, 1), (2, 1), (3, 1), (12, 4), (1000, 9)])
def test_as_many_cells_at_once_as_there_are_processors_for(monkeypatch, capsys, processors, count):
    monkeypatch.setenv("STRESS_PROCESSORS", str(processors))
    meeting = threading.Barrier(count)

    def run_cell(cell, python, seconds, patience, children):
        assert 0 < seconds < 90
        cell.problem = "met"
        meeting.wait(support.HANG_SECONDS)

    monkeypatch.setattr(runner, "run_cell", run_cell)
    monkeypatch.setattr(runner.sys.modules["stress.lanes"], "free_memory", lambda: 1 << 50)
    cells = [runner.Cell("families_5", "3.14t", "wall") for _ in range(count * (9 // count))]
    assert runner.run_all(cells, {"3.14t": "python"}, 90, 1)
    assert capsys.readouterr().out.startswith(f"{count} cells at once, on {processors} processors\n")
    assert runner.summary(cells, 1, False)["processors"] == processors


def test_swings_have_half_of_a_runs_time_and_begin_first():
    cells = [cell for cell in runner.choose_cells(runner.parse([])) if cell.kind == "ours"]
    swings = [cell for cell in cells if cell.workload == "swings"]
    share = sum(cell.weight for cell in swings) / sum(cell.weight for cell in cells)
    assert 0.45 < share < 0.55
    assert cells[: len(swings)] == swings and len(swings) == len(FREE_THREADED) * 3


def test_the_line_that_repeats_a_run_names_its_processors(monkeypatch):
    monkeypatch.setenv("STRESS_PROCESSORS", "5")
    monkeypatch.setenv("TRUTH_SECONDS", "9")
    assert runner.repeat_command(runner.parse([])) == "TRUTH_SECONDS=9 STRESS_PROCESSORS=5 ninja truth"
    flags = ["--short", "--interpreter", "3.14t"]
    assert runner.repeat_command(runner.parse(flags)).endswith("run.py --short --interpreter 3.14t")


def test_interpreters_that_are_named_are_judged_alone():
    first, *_, last = FREE_THREADED
    options = runner.parse(["--no-controls", "--interpreter", first, "--interpreter", last])
    assert {cell.interpreter for cell in runner.choose_cells(options)} == {first, last}
    options = runner.parse(["--no-controls"])
    assert {cell.interpreter for cell in runner.choose_cells(options)} == {*FREE_THREADED}

"""The Python side of the profiler, over a stand-in for the native extension: sessions, profiles and file formats."""

import ast
import asyncio
import dataclasses
import json
import os
import struct
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
import synthetic

try:
    import spprof
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core" / "python"))
    import spprof

from spprof import calltree, formats, records, report, session

REASONS = ("bounds", "ring_full", "busy")


class FakeNative:
    """Stands for the extension: keeps its rules, hands out `collected` at the end of each session."""

    REASONS = REASONS

    def __init__(self, collected):
        self.collected = collected
        self.started = []
        self.bounds = []
        self.kept = None
        self.failures = 0  # so often there is no memory for a profile
        self.refusal = None
        self.process = None
        self.owner = None

    def is_active(self):
        return self.process == os.getpid()

    def start(self, interval_ns, max_depth, mode, memory_bytes, recording, owner, active, limbo, file):
        if self.refusal:
            raise RuntimeError(self.refusal)
        if self.is_active():
            return False
        self.process = os.getpid()
        self.owner = owner
        self.started.append((interval_ns, max_depth))
        self.bounds.append((memory_bytes, recording))
        self.kept = None
        return True

    def stop(self, *owner):
        if self.is_active() and (not owner or owner[0] is self.owner):
            self.process = None
            return self.recording()
        kept = self.kept if self.kept and (not owner or owner[0] is self.kept.owner) else None
        self.kept = None
        return kept

    def recording(self):
        def profile():
            if self.failures:
                self.failures -= 1
                raise MemoryError
            return self.collected

        return SimpleNamespace(owner=self.owner, profile=profile, delivered=lambda: None)

    def put_back(self, recording):
        self.kept = recording

    def pause(self):
        pass

    resume = pause

    def stats(self):
        return self.owner, self.collected["stats"]


def native_stats(captured=0, samples=0, **dropped):
    return {
        "ticks": captured + sum(dropped.values()),
        "captured": captured,
        "dropped": dict.fromkeys(REASONS, 0) | dropped,
        "samples": samples,
        "handler_runs": samples,
        "threads": 1,
        "threads_refused": 0,
        "unguarded_ticks": 0,
        "ticks_in_progress": 0,
        "slots_abandoned": 0,
        "unasked_ticks": 0,
        "clock_step_ns": 0,
        "process_cpu_ns": 0,
        "watched_cpu_ns": 0,
        "own_cpu_ns": 0,
        "recording": 0,
        "recording_bytes": 3 << 20,
        "file_failures": 0,
        "file_error": 0,
        "duration_ns": 1_500_000_000,
    }


def blocks(form, rows):
    """Records as the extension has them."""
    whole = b"".join(struct.pack(form, *row) for row in rows)
    size = records.BLOCK * struct.calcsize(form)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def collected(codes=(), nodes=(), samples=(), threads=((11, "main"),), **dropped):
    """What the extension hands over, from tuples: `samples` are (time, thread, node, weight, flags)."""
    samples = list(samples)
    captured = sum(weight for _, _, _, weight, _ in samples)
    return {
        "codes": list(codes),
        "nodes": blocks("=iii", nodes),
        "samples": blocks("=qqIiII", [(time, time, *rest) for time, *rest in samples]),
        "threads": [(native_id, name, None, 0) for native_id, name in threads],
        "stats": native_stats(captured, len(samples), **dropped),
    }


CODES = [("main", "app.py", 1), ("work", "app.py", 10), ("leaf", "lib.py", 5)]
# main:2 -> work:11 -> leaf:6, main:2 -> work:12, and main:2 -> work:11 -> work:11 (recursive)
NODES = [(-1, 0, 2), (0, 1, 11), (1, 2, 6), (0, 1, 12), (1, 1, 11)]


def make_profile(codes=CODES, nodes=NODES, samples=(), threads=((11, "main"),), interval_ms=10, **dropped):
    native = collected(codes, nodes, samples, threads, **dropped)
    named = records.name_threads(native["threads"], {}, "")
    return spprof.Profile(native, mode="cpu", interval_ms=interval_ms, threads=named)


@pytest.fixture
def native(monkeypatch):
    fake = FakeNative(collected(CODES, NODES, [(5, 0, 2, 1, 0)]))
    monkeypatch.setattr(session, "_native", fake)
    monkeypatch.setattr(session, "_is_prepared", True)  # a fork's hooks stay for good
    return fake


# --- sessions --------------------------------------------------------------------------------------


def test_start_passes_nanoseconds_and_depth(native):
    spprof.start(0.1, max_depth=7)
    assert spprof.is_active()
    spprof.stop()
    spprof.start()
    spprof.stop()
    assert native.started == [(100_000, 7), (10_000_000, 1024)]


def test_stop_returns_the_profile_with_the_settings(native):
    spprof.start(2.5)
    profile = spprof.stop()
    assert (profile.mode, profile.interval_ms) == ("cpu", 2.5)
    assert not spprof.is_active()
    assert [[frame.name for frame in sample.stack] for sample in profile] == [["main", "work", "leaf"]]


def test_start_passes_what_the_recording_may_take(native):
    spprof.start()
    spprof.stop()
    spprof.start(memory_mb=3, recording="counts")
    spprof.stop()
    with spprof.Profiler(recording="counts"):
        pass
    assert native.bounds == [(256 << 20, 0), (3 << 20, 1), (256 << 20, 1)]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"memory_mb": 0}, ValueError, "memory_mb must be between 1 and 1048576 megabytes, not 0"),
        ({"memory_mb": (1 << 20) + 1}, ValueError, "memory_mb must be between"),
        ({"memory_mb": 1.5}, TypeError, "memory_mb must be an int, not float"),
        ({"memory_mb": True}, TypeError, "memory_mb must be an int, not bool"),
        ({"recording": "all"}, ValueError, "recording must be 'timeline' or 'counts', not 'all'"),
    ],
)
def test_bad_bounds_are_refused(native, arguments, error, told):
    for refused in (spprof.start, spprof.Profiler, spprof.profile):
        with pytest.raises(error, match=f"^{told}"):
            refused(**arguments)
    assert not native.started


def test_profile_that_there_is_no_memory_for_can_be_had_later(native):
    """The session is over; what it collected is not lost."""
    spprof.start()
    native.failures = 2
    for _ in range(2):
        with pytest.raises(MemoryError):
            spprof.stop()
        assert not spprof.is_active()
    assert len(list(spprof.stop())) == 1
    with pytest.raises(RuntimeError, match="no session is active"):
        spprof.stop()


def test_next_session_takes_the_place_of_what_nobody_took(native):
    spprof.start()
    native.failures = 1
    with pytest.raises(MemoryError):
        spprof.stop()
    spprof.start(2)
    assert spprof.stop().interval_ms == 2
    with pytest.raises(RuntimeError):
        spprof.stop()


def test_threads_that_nothing_is_known_of_have_a_name(native):
    """There was no memory to find out about them."""
    native.collected = collected(CODES, NODES, [(5, 1, 2, 1, 0)])
    native.collected["stats"]["threads"] = 2
    spprof.start()
    (sample,) = spprof.stop()
    assert sample.thread == spprof.Thread(1, 0, "thread 1, unknown")


def test_second_start_is_refused_and_leaves_the_first(native):
    spprof.start(1)
    with pytest.raises(RuntimeError, match="^a session is already active; stop it first$"):
        spprof.start(2)
    assert spprof.stop().interval_ms == 1


def test_stop_without_session(native):
    with pytest.raises(RuntimeError, match="no session is active"):
        spprof.stop()


@pytest.mark.parametrize("interval", [0.1, 1, 10_000, 9999.5])
def test_interval_accepted(native, interval):
    spprof.start(interval)
    spprof.stop()
    assert native.started[0][0] == round(interval * 1e6)


@pytest.mark.parametrize(
    ("interval", "error"),
    [
        (0.0999, ValueError),
        (10_000.1, ValueError),
        (0, ValueError),
        (-5, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (True, TypeError),
        ("10", TypeError),
        (None, TypeError),
    ],
)
def test_interval_refused(native, interval, error):
    with pytest.raises(error, match="^the interval must be "):
        spprof.start(interval)
    assert native.started == []


@pytest.mark.parametrize(("depth", "error"), [(0, ValueError), (4097, ValueError), (True, TypeError), (1.5, TypeError)])
def test_depth_refused(native, depth, error):
    with pytest.raises(error, match="^max_depth must be "):
        spprof.start(max_depth=depth)
    assert native.started == []


def test_mode_refused_by_name(native):
    with pytest.raises(ValueError, match="^mode must be 'cpu' or 'wall', not 'gpu'$"):
        spprof.start(mode="gpu")
    assert native.started == []


def test_without_extension_only_start_fails(monkeypatch):
    monkeypatch.setattr(session, "_native", None)
    monkeypatch.setattr(session, "_why_missing", "No module named 'spprof._native'", raising=False)
    assert not spprof.is_active()
    assert spprof.stats()["ticks"] == 0
    with pytest.raises(RuntimeError) as caught:
        spprof.start()
    assert "spprof._native" in str(caught.value)
    assert "install spprof" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="no session is active"):
        spprof.stop()


def test_refused_start_keeps_the_settings_of_the_last_session(native):
    spprof.start(3)
    spprof.stop()
    native.refusal = "cannot sample"
    with pytest.raises(RuntimeError, match="^cannot sample$"):
        spprof.start(4)
    assert spprof.stats()["interval_ms"] == 3


def test_stats_in_public_units(native):
    assert spprof.stats()["interval_ms"] == 0
    spprof.start(4)
    stats = spprof.stats()
    assert (stats["interval_ms"], stats["mode"], stats["duration_s"]) == (4, "cpu", 1.5)
    assert "duration_ns" not in stats
    assert set(stats["dropped"]) == set(REASONS)
    assert stats["ticks"] == stats["captured"] + sum(stats["dropped"].values())
    spprof.stop()


def test_session_left_active_is_stopped_at_exit(native, monkeypatch):
    hooks = []
    monkeypatch.setattr(session.atexit, "register", hooks.append)
    monkeypatch.setattr(session.os, "register_at_fork", lambda **_: None)
    monkeypatch.setattr(session, "_is_prepared", False)
    spprof.start()
    spprof.stop()
    spprof.start()
    assert len(hooks) == 1
    hooks[0]()
    assert not spprof.is_active()
    hooks[0]()  # with nothing to stop


def test_forked_child_has_no_session(native):
    spprof.start()
    assert _in_forked_child(spprof.is_active) is False
    assert spprof.is_active()
    spprof.stop()


def _in_forked_child(function):
    """The function's result, as JSON has it, computed in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return json.loads(text)


def test_profiler_block(native):
    with spprof.Profiler(interval_ms=1, max_depth=5) as profiler:
        assert spprof.is_active()
        assert profiler.profile is None
    assert not spprof.is_active()
    assert profiler.profile.interval_ms == 1
    assert native.started == [(1_000_000, 5)]


def test_profiler_keeps_the_profile_and_the_exception_of_a_failing_block(native):
    profiler = spprof.Profiler()
    with pytest.raises(KeyError), profiler:
        raise KeyError
    assert profiler.profile is not None


def test_profiler_checks_arguments_before_the_block():
    with pytest.raises(ValueError, match="interval"):
        spprof.Profiler(interval_ms=0)


def test_profiler_leaves_a_session_that_is_not_its_own(native):
    with spprof.Profiler() as profiler:
        spprof.stop()
        spprof.start()
    assert profiler.profile is None
    assert spprof.is_active()
    spprof.stop()


def test_profiler_inside_a_session_is_refused_and_ends_nothing(native):
    with spprof.Profiler():
        with pytest.raises(RuntimeError, match="already active"), spprof.Profiler():
            pass
        assert spprof.is_active()


def test_decorator_bare(native):
    @spprof.profile
    def double(number):
        assert spprof.is_active()
        return 2 * number

    assert double.__name__ == "double"
    assert double.last_profile is None
    assert double(4) == 8
    assert isinstance(double.last_profile, spprof.Profile)
    assert not spprof.is_active()


def test_decorator_saves_each_call(native, tmp_path):
    path = tmp_path / "out.txt"

    @spprof.profile(interval_ms=5, path=path, format="collapsed")
    def nothing():
        pass

    nothing()
    assert path.read_text().startswith("main;main (app.py:2);")
    path.unlink()
    nothing()
    assert path.exists()
    assert native.started == [(5_000_000, 1024)] * 2


def test_decorator_recursive_call_shares_the_session(native):
    @spprof.profile
    def countdown(number):
        return countdown(number - 1) if number else "done"

    assert countdown(3) == "done"
    assert len(native.started) == 1


def test_decorator_keeps_exception_and_profile(native):
    @spprof.profile
    def fail():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert fail.last_profile is not None
    assert not spprof.is_active()


def test_decorator_coroutine_is_profiled_to_its_end(native):
    active = []

    @spprof.profile
    async def step():
        await asyncio.sleep(0)
        active.append(spprof.is_active())
        return 5

    coroutine = step()
    assert not spprof.is_active()
    assert asyncio.run(coroutine) == 5
    assert active == [True]
    assert step.last_profile is not None


def test_decorator_refuses_what_it_could_not_profile():
    with pytest.raises(TypeError, match="generator function"):

        @spprof.profile
        def numbers():
            yield 1

    with pytest.raises(ValueError, match="speedscope, collapsed"):
        spprof.profile(format="svg")
    with pytest.raises(ValueError, match="interval"):
        spprof.profile(interval_ms=0)


def test_profiler_as_decorator(native):
    profiler = spprof.Profiler(interval_ms=2)

    @profiler
    def nothing():
        pass

    nothing()
    assert profiler.profile is nothing.last_profile is not None
    assert native.started == [(2_000_000, 1024)]


# --- profiles --------------------------------------------------------------------------------------


def test_samples_are_decoded():
    profile = make_profile(
        samples=[(7, 1, 2, 3, 0), (9, 0, -1, 1, 0), (11, 0, 0, 1, 1), (12, 0, 1, 1, 2)], threads=[(11, "a"), (12, "b")]
    )
    first, empty, detached, truncated = profile
    assert first.stack == (
        spprof.Frame("main", "app.py", 2, 1),
        spprof.Frame("work", "app.py", 11, 10),
        spprof.Frame("leaf", "lib.py", 6, 5),
    )
    assert (first.time_ns, first.weight, first.thread) == (7, 3, spprof.Thread(1, 12, "b"))
    assert (first.detached, first.truncated) == (False, False)
    assert empty.stack == ()
    assert (detached.detached, detached.truncated) == (True, False)
    assert (truncated.detached, truncated.truncated) == (False, True)


def test_ticks_by_place():
    """Samples of one place are one, whatever else is among their flags."""
    samples = [(0, 0, 2, 5, 0), (1, 0, 2, 1, 4), (2, 0, 2, 2, 1), (3, 1, 2, 3, 2), (4, 1, -1, 4, 0)]
    profile = make_profile(samples=samples, threads=[(11, "a"), (12, "b")])
    assert profile.ticks_by_place() == {
        (0, 2, False, False): 6,
        (0, 2, True, False): 2,
        (1, 2, False, True): 3,
        (1, -1, False, False): 4,
    }


def test_functions_by_own_ticks_recursion_counted_once():
    profile = make_profile(samples=[(0, 0, 2, 5, 0), (1, 0, 3, 2, 0), (2, 0, 4, 1, 0), (3, 0, -1, 9, 0)])
    assert [
        (found.name, found.filename, found.first_line, found.self, found.total) for found in profile.functions()
    ] == [
        ("leaf", "lib.py", 5, 5, 5),
        ("work", "app.py", 10, 3, 8),
        ("main", "app.py", 1, 0, 8),
    ]


def test_functions_are_told_apart_by_first_line_and_joined_over_equal_code():
    codes = [("<lambda>", "a.py", 1), ("<lambda>", "a.py", 9), ("<lambda>", "a.py", 1)]
    profile = make_profile(codes, [(-1, 0, 1), (-1, 1, 9), (-1, 2, 1)], [(0, 0, node, 1, 0) for node in range(3)])
    assert [(found.first_line, found.self) for found in profile.functions()] == [(1, 2), (9, 1)]


def test_functions_without_ticks_are_left_out():
    (function,) = make_profile(samples=[(0, 0, 0, 1, 0)]).functions()
    assert (function.name, function.self, function.total) == ("main", 1, 1)


def test_functions_of_a_deep_recursion():
    depth = 4096
    nodes = [(node - 1, 0, 1) for node in range(depth)]
    (function,) = make_profile([("down", "a.py", 1)], nodes, [(0, 0, depth - 1, 1, 0)] * 3).functions()
    assert (function.self, function.total) == (3, 3)


def test_trimmed_removes_outer_launcher_frames_only():
    codes = [("launch", "run.py", 1), ("main", "app.py", 1), ("leaf", "lib.py", 5)]
    nodes = [(-1, 0, 1), (0, 0, 2), (1, 1, 3), (2, 0, 4), (-1, 2, 5)]  # node 3: the program calls the launcher's code
    samples = [(0, 0, 3, 1, 0), (0, 0, 1, 2, 0), (0, 0, 4, 1, 0)]
    profile = make_profile(codes, nodes, samples, ring_full=1)
    trimmed = profile.trimmed(lambda frame: frame.filename == "run.py")
    assert [[frame.name for frame in sample.stack] for sample in trimmed] == [
        ["main", "launch"],
        ["launch", "launch"],
        ["leaf"],
    ]
    assert trimmed.stats == profile.stats
    assert "run.py" in "".join(formats.get("speedscope").write(profile.tree))
    assert {found.name for found in trimmed.functions()} == {"main", "leaf", "launch"}
    assert len(next(iter(profile)).stack) == 4  # the original is as it was


def test_thread_names():
    found = [
        (1, "python", None, 0), (2, "python", None, 0), (3, "worker", None, 0), (4, "", None, 0), (1, "python", None, 0),
        (5, "worker", "its last name", 0), (6, "worker", "", 0), (1, "worker", "of that life", 1_500_000_000),
    ]  # fmt: skip
    named = records.name_threads(found, {1: "MainThread", 5: "another's"}, "python")
    assert [(thread.index, thread.native_id, thread.name) for thread in named] == [
        (0, 1, "thread 1"),  # an earlier thread whose id was used again
        (1, 2, "thread 2"),
        (2, 3, "worker"),
        (3, 4, "thread 4"),
        (4, 1, "thread 1"),
        (5, 5, "its last name"),
        (6, 6, "thread 6"),
        (7, 1, "of that life"),
    ]
    assert named[7].cpu_s == 1.5
    assert records.name_threads([(1, "python", None, 0)], {1: "MainThread"}, "python")[0].name == "MainThread"


def test_stop_names_the_living_threads(native):
    native.collected["threads"] = [(threading.get_native_id(), "kernel's", None, 0)]
    spprof.start()
    assert spprof.stop().threads[0].name == threading.current_thread().name


def test_living_thread_whose_name_fails_costs_no_profile(native):
    class Nameless(threading.Thread):
        @property
        def name(self):
            raise KeyError("no name")

        @name.setter
        def name(self, name):
            pass

    over = threading.Event()
    thread = Nameless(target=over.wait)
    thread.start()
    native.collected["threads"] = [(thread.native_id, "kernel's", None, 0), (threading.get_native_id(), "", None, 0)]
    spprof.start()
    names = [thread.name for thread in spprof.stop().threads]
    over.set()
    thread.join()
    assert names == ["kernel's", threading.current_thread().name]


# --- formats ---------------------------------------------------------------------------------------

NASTY = [
    "a;b",
    "a\nb",
    "a\\x3bb",
    "a\\",
    "\udc80",
    "",
    "x\u2028y",
    "\x85",
    "\x1b[31m",
    "tab\t",
    "naïve",
    "a b",
    "[truncated]",
]


def saved(profile, tmp_path, format):
    path = tmp_path / "profile"
    profile.save(path, format)
    return path.read_bytes().decode("utf-8")  # strictly


def parsed_collapsed(text):
    """Stacks of a collapsed file back as tuples of names with their ticks. A repeated stack fails."""
    stacks = {}
    for line in text.split("\n")[:-1]:
        stack, _, ticks = line.rpartition(" ")
        names = tuple(ast.literal_eval('"' + name.replace('"', '\\"') + '"') for name in stack.split(";"))
        assert names not in stacks
        stacks[names] = int(ticks)
    return stacks


def check_speedscope(text):
    """The rules of speedscope's file-format schema for sampled profiles, and those that tie samples to frames."""
    document = json.loads(text)
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert document["exporter"].startswith("spprof ")
    frames = document["shared"]["frames"]
    for frame in frames:
        assert isinstance(frame["name"], str)
        assert isinstance(frame.get("file", ""), str)
        assert isinstance(frame.get("line", 1), int)
        assert set(frame) <= {"name", "file", "line"}
    assert 0 <= document["activeProfileIndex"] < len(document["profiles"])
    for timeline in document["profiles"]:
        assert set(timeline) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert timeline["type"] == "sampled"
        assert timeline["unit"] == "milliseconds"
        assert len(timeline["samples"]) == len(timeline["weights"])
        assert all(stack and all(0 <= index < len(frames) for index in stack) for stack in timeline["samples"])
        assert timeline["endValue"] - timeline["startValue"] == pytest.approx(sum(timeline["weights"]))
    return document


def named_samples(document, timeline):
    frames = document["shared"]["frames"]
    return [tuple(frames[index]["name"] for index in stack) for stack in timeline["samples"]]


EVERYTHING = {
    "samples": [(0, 0, 2, 3, 0), (1, 1, 3, 1, 1), (2, 1, 1, 1, 2), (3, 0, -1, 2, 0), (4, 0, 2, 1, 0)],
    "threads": [(11, "main"), (12, "worker")],
    "ring_full": 4,
}


def test_speedscope(tmp_path):
    document = check_speedscope(saved(make_profile(**EVERYTHING, interval_ms=0.1), tmp_path, "speedscope"))
    main, worker, lost = document["profiles"]
    assert [timeline["name"] for timeline in document["profiles"]] == ["main", "worker", "[lost samples]"]
    assert named_samples(document, main) == [("main", "work", "leaf"), ("[no Python frame]",), ("main", "work", "leaf")]
    assert main["weights"] == [0.3, 0.2, 0.1]
    assert named_samples(document, worker) == [("main", "work", "[C code, detached]"), ("[truncated]", "main", "work")]
    assert (named_samples(document, lost), lost["weights"]) == ([("[lost: ring_full]",)], [0.4])
    assert document["activeProfileIndex"] == 0
    assert {"name": "work", "file": "app.py", "line": 10} in document["shared"]["frames"]


def test_speedscope_function_is_one_frame_whatever_the_line(tmp_path):
    document = check_speedscope(saved(make_profile(samples=[(0, 0, 1, 1, 0), (1, 0, 3, 1, 0)]), tmp_path, "speedscope"))
    assert document["profiles"][0]["samples"][0] == document["profiles"][0]["samples"][1]


def test_speedscope_opens_the_busiest_thread(tmp_path):
    profile = make_profile(samples=[(0, 1, 0, 5, 0), (0, 0, 0, 1, 0)], threads=[(1, "a"), (2, "b")])
    assert check_speedscope(saved(profile, tmp_path, "speedscope"))["activeProfileIndex"] == 1


def test_speedscope_of_nothing(tmp_path):
    (timeline,) = check_speedscope(saved(make_profile([], []), tmp_path, "speedscope"))["profiles"]
    assert timeline["samples"] == []


@pytest.mark.parametrize("name", [*NASTY, "x" * 2_000_000], ids=lambda name: ascii(name[:12]))
def test_speedscope_keeps_any_name(tmp_path, name):
    profile = make_profile([(name, name, 1)], [(-1, 0, 1)], [(0, 0, 0, 1, 0)], threads=[(1, name)])
    text = saved(profile, tmp_path, "speedscope")
    assert text.isascii()
    document = check_speedscope(text)
    assert document["shared"]["frames"] == [{"name": name, "file": name, "line": 1}]
    assert document["profiles"][0]["name"] == (name or "thread 1")


def test_collapsed(tmp_path):
    assert parsed_collapsed(saved(make_profile(**EVERYTHING), tmp_path, "collapsed")) == {
        ("main", "main (app.py:2)", "work (app.py:11)", "leaf (lib.py:6)"): 4,
        ("worker", "main (app.py:2)", "work (app.py:12)", "[C code, detached]"): 1,
        ("worker", "[truncated]", "main (app.py:2)", "work (app.py:11)"): 1,
        ("main", "[no Python frame]"): 2,
        ("[lost samples]", "[lost: ring_full]"): 4,
    }


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_collapsed_keeps_any_name_on_one_line(tmp_path, name):
    profile = make_profile([(name, name, 1)], [(-1, 0, 0)], [(0, 0, 0, 7, 0)], threads=[(1, name)])
    text = saved(profile, tmp_path, "collapsed")
    assert len(text.splitlines()) == 1  # by any idea of what ends a line
    assert parsed_collapsed(text) == {(name or "thread 1", f"{name} ({name})"): 7}


def test_collapsed_joins_equal_stacks_of_code_loaded_twice(tmp_path):
    profile = make_profile([("f", "a.py", 1)] * 2, [(-1, 0, 3), (-1, 1, 3)], [(0, 0, 0, 1, 0), (0, 0, 1, 1, 0)])
    assert saved(profile, tmp_path, "collapsed") == "main;f (a.py:3) 2\n"


def test_threads_of_one_name_stay_apart(tmp_path):
    profile = make_profile(samples=[(0, 0, 0, 1, 0), (0, 1, 0, 1, 0)], threads=[(1, "pool"), (2, "pool")])
    roots = [stack[0] for stack in parsed_collapsed(saved(profile, tmp_path, "collapsed"))]
    assert roots == ["pool (1)", "pool (2)"]


def test_thread_cannot_pass_for_the_lost_samples(tmp_path):
    profile = make_profile(samples=[(0, 0, 0, 1, 0)], threads=[(1, "[lost samples]")])
    assert not saved(profile, tmp_path, "collapsed").startswith("[lost samples]")


@pytest.mark.parametrize("format", list(formats.TEXTS))
def test_no_tick_is_missing_from_a_file(tmp_path, format):
    profile = make_profile(**EVERYTHING, interval_ms=1)
    text = saved(profile, tmp_path, format)
    if format == "speedscope":
        ticks = sum(sum(timeline["weights"]) for timeline in json.loads(text)["profiles"])
    else:
        ticks = sum(parsed_collapsed(text).values())
    assert ticks == profile.stats["ticks"] == 12


# --- saving ----------------------------------------------------------------------------------------


def test_unknown_format_names_the_valid_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'svg'; the formats are speedscope, collapsed"):
        make_profile().save(tmp_path / "x", "svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError])
def test_failed_save_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch, failure):
    def pieces(tree):
        yield "a part"
        raise failure

    path = tmp_path / "out"
    path.write_text("earlier")
    monkeypatch.setitem(formats.FORMATS, "speedscope", SimpleNamespace(suffix="", write=pieces))
    with pytest.raises(failure):
        make_profile().save(path)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_save_gives_usual_permissions_and_keeps_those_of_an_earlier_file(tmp_path):
    path = tmp_path / "out"
    earlier = os.umask(0o027)
    try:
        make_profile().save(path)
    finally:
        os.umask(earlier)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    make_profile().save(path)
    assert path.stat().st_mode & 0o777 == 0o604


def test_save_goes_through_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    make_profile().save(link, "collapsed")
    assert link.is_symlink()
    assert target.exists()


@pytest.mark.parametrize("format", ["speedscope", "collapsed"])
def test_saving_takes_a_fifth_of_the_recording_at_most(tmp_path, format):
    """Beside the stacks themselves, of which there are few here."""
    count, stacks = 250_000, 200
    nodes = [(-1, 0, 1), *((0, 1, line) for line in range(1, stacks))]
    profile = make_profile(
        nodes=nodes,
        samples=((number, number % 8, number % stacks, 1, 0) for number in range(count)),
        threads=[(number, f"t{number}") for number in range(8)],
    )
    size = sum(len(block) for block in profile._records.native["samples"])
    assert size == 32 * count
    tracemalloc.start()
    profile.save(tmp_path / "saved", format)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{format}: {peak / size:.3f} of the recording")
    assert peak <= 0.2 * size


@pytest.mark.parametrize("format", ["speedscope", "collapsed"])
def test_saving_follows_the_path_of_each_stack_once(monkeypatch, tmp_path, format):
    """However often its samples come, and however many others lie between."""
    count = 6000
    nodes = [(-1, 0, 1), *((0, 1, line) for line in range(1, count))]
    profile = make_profile(nodes=nodes, samples=[(0, 0, node, 1, 0) for _ in range(3) for node in range(count)])
    followed = []
    path = calltree.CallTree.path
    monkeypatch.setattr(calltree.CallTree, "path", lambda tree, node: followed.append(node) or path(tree, node))
    profile.save(tmp_path / "saved", format)
    assert sorted(followed) == list(range(count))
    followed.clear()
    assert sum(sample.weight for sample in profile) == 3 * count
    assert sorted(followed) == list(range(count))


@pytest.mark.parametrize(
    ("name", "format", "is_json"),
    [("a.json", None, True), ("a.txt", None, False), ("a.pdf", None, True), ("a.txt", "speedscope", True), ("a", "collapsed", False)],
)  # fmt: skip
def test_format_goes_by_the_files_name_where_none_is_given(tmp_path, name, format, is_json):
    make_profile(samples=[(0, 0, 2, 1, 0)]).save(tmp_path / name, format)
    assert (tmp_path / name).read_text().startswith("{") == is_json


def test_save_does_not_replace_a_pipe_or_a_folder(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="Not a regular file"):
        make_profile().save(pipe)
    with pytest.raises(IsADirectoryError):
        make_profile().save(tmp_path)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


# --- summary ---------------------------------------------------------------------------------------


def test_summary_states_losses_by_reason():
    summary = "\n".join(report.lines(make_profile(samples=[(0, 0, 2, 3, 0), (0, 0, 1, 1, 0)], ring_full=1)))
    assert "2 samples of 1 thread in 1.50 s, cpu mode, a tick every 10 ms" in summary
    assert "captured 4 of 5 ticks (80.00 %); lost: ring_full 1 (20.00 %)" in summary
    assert "bounds" not in summary
    assert summary.index("75.00 %  leaf (lib.py:5)") < summary.index("25.00 %  work (app.py:10)")


def test_summary_without_losses_or_ticks():
    assert "captured 3 of 3 ticks (100.00 %); none lost" in "\n".join(
        report.lines(make_profile(samples=[(0, 0, 2, 3, 0)]))
    )
    assert "captured 0 of 0 ticks; none lost" in "\n".join(report.lines(make_profile()))


def test_summary_says_what_losses_mean():
    """Those of one in a hundred ticks, or more."""
    assert report.MEANINGS.keys() == set(synthetic.REASONS) - {"captured"}
    told = list(report.lines(make_profile(samples=[(0, 0, 2, 987, 0)], ring_full=10, busy=3)))
    meant = [line for line in told if line.startswith(("  ring_full:", "  busy:"))]
    assert meant == ["  ring_full: stacks came faster than they were taken: take a longer interval"]


def test_summary_says_where_the_time_of_the_process_is():
    profile = make_profile(samples=[(0, 0, 2, 6, 0)], busy=2)
    assert not any("CPU time" in line for line in report.lines(profile))
    profile.stats.update(process_cpu_s=2.0, watched_cpu_s=1.6, own_cpu_s=0.1)
    told = (
        "2.00 s of CPU time: 60.0 % on stacks, 20.0 % lost, 5.0 % the profiler's, 15.0 % of threads that it did not see"
    )
    assert any(line.startswith(told) for line in report.lines(profile))
    profile.stats.update(mode="wall")
    assert not any("CPU time" in line for line in report.lines(profile))


def test_summary_says_which_threads_used_the_time():
    threads = [(number, f"t{number}") for number in range(8)]
    profile = make_profile(samples=[(0, 1, 2, 90, 0), (0, 2, 2, 300, 1), (0, 2, 1, 50, 0)], threads=threads)
    assert not any("on stacks" in line for line in report.lines(profile))
    profile.stats.update(process_cpu_s=8.0, watched_cpu_s=8.0)
    times = [0, 1.0, 3.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    profile.threads[:] = [
        dataclasses.replace(thread, cpu_s=time) for thread, time in zip(profile.threads, times, strict=True)
    ]
    shown = [line for line in report.lines(profile) if " s  " in line]
    assert shown == [
        "     3.50 s  t2, 100.0 % on stacks",
        "     1.00 s  t1, 90.0 % on stacks",
        "     0.50 s  t3, 0.0 % on stacks",
        "     0.50 s  t4, 0.0 % on stacks",
        "     0.50 s  t5, 0.0 % on stacks",
        "     0.50 s  of 2 other threads",
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [("", "2 times; it was later, and all is there"), ("No space", "2 times; the last time: No space")],
)
def test_summary_says_how_the_file_fared(error, told):
    profile = make_profile()
    assert not any("appended" in line for line in report.lines(profile))
    profile.stats.update(file_failures=2, file_error=error)
    assert any(line.endswith(told) for line in report.lines(profile))


def test_summary_says_that_a_timeline_became_counts():
    native = collected(CODES, NODES, [(5, 0, 2, 1, 0)])
    native["stats"]["recording"] = 1
    for asked, told in (("timeline", True), ("counts", False)):
        named = records.name_threads(native["threads"], {}, "")
        profile = spprof.Profile(native, mode="cpu", interval_ms=1, threads=named, recording=asked)
        assert (profile.stats["recording"], profile.stats["recording_full"]) == ("counts", told)
        assert profile.stats["recording_mb"] == 3
        assert any("became counts" in line and "--memory" in line for line in report.lines(profile)) == told


def test_summary_of_nothing_says_what_to_do():
    assert any("nothing was due" in line and "--interval" in line for line in report.lines(make_profile()))
    assert not any("nothing was due" in line for line in report.lines(make_profile(samples=[(0, 0, 2, 1, 0)])))


@pytest.mark.parametrize(("weight", "told"), [(5, False), (6, True)])
def test_summary_says_where_stacks_stand_for_many_ticks(weight, told):
    summary = "\n".join(report.lines(make_profile(samples=[(0, 0, 2, weight, 0), (0, 0, 1, 0, 0)])))
    assert ("each stack stands for 3.0 ticks" in summary) == told


def test_summary_rounds_neither_to_all_nor_to_none():
    summary = "\n".join(report.lines(make_profile(samples=[(0, 0, 2, 1_000_000, 0)], busy=1)))
    assert "(99.99 %); lost: busy 1 (0.01 %)" in summary


@pytest.mark.parametrize(
    ("counter", "value", "part", "told"),
    [
        ("ticks_in_progress", 1, "come to an end", "1 tick had not come to an end and could not be counted"),
        ("slots_abandoned", 1, "given up", "1 thread given up, not having come out of the signal handler"),
        ("unasked_ticks", 3, "from outside", "3 ticks seen from outside their thread, which did not run or did not take the signal"),
        ("clock_step_ms", 4.0, "no finer than", "timers are no finer than 4 ms: a thread has at most one stack in that time"),
        ("threads_refused", 2, "could not be sampled", "2 threads could not be sampled when first found"),
    ],
)  # fmt: skip
def test_summary_tells_of_a_counter_that_is_not_0(counter, value, part, told):
    profile = make_profile()
    assert part not in "\n".join(report.lines(profile))
    profile.stats[counter] = value
    assert told in "\n".join(report.lines(profile))

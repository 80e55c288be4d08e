"""Chaos in short, and that its harness sees what it is there to see."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import support

CHAOS = support.ROOT / "stress" / "chaos"
sys.path.insert(0, str(support.ROOT))

from stress.chaos import run as chaos  # noqa: E402 - found by the line above
from stress.interpreters import FREE_THREADED  # noqa: E402


def run_chaos(folder, *flags, **environment):
    support.ninja("stress-built")
    command = [sys.executable, CHAOS / "run.py", "--json", folder / "chaos.json", *flags]
    environment = {**os.environ, "STRESS_SEED": "11", **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    return done, json.loads((folder / "chaos.json").read_text())


def test_a_short_run(tmp_path):
    done, found = run_chaos(tmp_path, "--short", STRESS_SECONDS="10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("chaos: seed 11\n")
    assert found["runs"] == len(chaos.SHORT) * len(FREE_THREADED) * len(chaos.MODES)
    assert found["captured"] > 0 and found["judged"] > 0
    assert [found[name] for name in ("crashes", "hangs", "leaks", "impossible", "wrong")] == [0] * 5


@pytest.mark.parametrize("number, word", [(signal.SIGSEGV, "crashed with SIGSEGV"), (signal.SIGSTOP, "hung")])
def test_a_cell_that_crashes_or_hangs_fails_the_run(monkeypatch, number, word):
    monkeypatch.setattr(chaos.Cell, "command", lambda *_: ["/bin/sh", "-c", f"kill -{int(number)} $$"])
    support.ninja("stress-built")
    cell = chaos.Cell("maps", "3.14t", "cpu")
    options = chaos.parse([])
    options.seconds, options.patience = 0.5, 0.5
    assert chaos.run_all([cell], {"3.14t": sys.executable}, options)
    assert [text.splitlines()[0] for text in chaos.complaints(cell)] == [word]


# --- all processors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("processors, count, room", [(1, 2, 1), (2, 2, 1), (8, 2, 4), (16, 4, 4), (34, 8, 4)])
def test_cells_at_once_and_their_room_grow_with_the_processors(monkeypatch, capsys, processors, count, room):
    monkeypatch.setenv("STRESS_PROCESSORS", str(processors))
    monkeypatch.setattr("stress.lanes.free_memory", lambda: 1 << 50)
    meeting, commands = threading.Barrier(count), []

    def watch(command, *_):
        meeting.wait(support.HANG_SECONDS)
        commands.append(command("result"))
        return None, "met"

    monkeypatch.setattr(chaos, "watch", watch)
    monkeypatch.setattr(chaos, "environment_of", lambda _: {})
    cells = [chaos.Cell(act, "3.14t", "cpu") for act in ("maps", "crowd") * 4]
    assert chaos.run_all(cells, {"3.14t": "python"}, chaos.parse([]))
    given = {Path(command[1]).name: command[-2] for command in commands}
    assert given == {"child.py": str(room), "crowd.py": str(processors)}
    assert f"{count} cells at once, on {processors} processors\n" in capsys.readouterr().out


def act_on_six_processors():
    import json
    import os
    import random
    import sys
    import threading
    import time

    chaos = sys.argv[1]
    stress = os.path.dirname(chaos)
    sys.path[:0] = [chaos, os.path.join(stress, "truth"), os.path.dirname(stress)]
    from acting import Troupe, players_for
    from antagonists import ANTAGONISTS, Antagonist, make
    from crowd import size_of_crowd

    class Counted(Antagonist):
        def __init__(self, players):
            self.in_company = players > 1
            self.meeting = threading.Barrier(players)

        def round(self, dice):
            self.meeting.wait(60)  # all of them at once, or this breaks

    troupe = Troupe("wall", 6)
    troupe.run({"company": Counted(4), "alone": Counted(1)}, random.Random(1), time.monotonic())
    with open(os.environ["SPPROF_RESULT"], "w") as file:
        json.dump(
            {
                "wrong": troupe.wrong,
                "rounds": troupe.rounds,
                "players": [players_for(processors) for processors in (1, 2, 4, 6, 64)],
                "crowd": [size_of_crowd(processors) for processors in (1, 2, 3, 5, 64)],
                "in_company": [name for name in ANTAGONISTS if make(name, None).in_company],
            },
            file,
        )


def test_an_act_and_a_crowd_grow_with_the_processors(interpreter):
    found = interpreter("3.14t").run(act_on_six_processors, CHAOS).json
    assert found["wrong"] == [] and found["rounds"] == {"company": 4, "alone": 1}
    assert found["players"] == [1, 1, 2, 4, 8]
    assert found["crowd"] == [1000, 1000, 1500, 2500, 4000]
    assert "threads" in found["in_company"] and "signal_prof" not in found["in_company"]


def test_a_cell_with_room_acts_with_more_threads(tmp_path):
    room = {"STRESS_PROCESSORS": "8", "STRESS_SECONDS": "4"}
    done, found = run_chaos(tmp_path, STRESS_ONLY="compiled/3.14t", **room)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [cell["players"] for cell in found["cells"]] == [2, 2] and found["processors"] == 8


def test_the_line_that_repeats_a_run_names_its_processors(monkeypatch):
    for name, value in (("STRESS_SEED", "3"), ("STRESS_PROCESSORS", "5")):
        monkeypatch.setenv(name, value)
    again = chaos.repeat_command(chaos.parse([]), [])
    assert again == "STRESS_SEED=3 STRESS_PROCESSORS=5 python3 stress/chaos/run.py"


# --- what the harness sees -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*FREE_THREADED} - {"3.15t"}))  # which has it mended
def test_what_crashes_the_interpreter_alone_is_left_out(interpreter, name):
    """Once this fails, Tracing in stress/chaos/antagonists/tracing.py can call it there again."""
    program = CHAOS / "evidence" / "trace_all_threads.py"
    done = subprocess.run(
        [interpreter(name).path, program],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGSEGV, done.stdout + done.stderr


def collect_beside_a_slow_collection():
    import gc
    import json
    import os
    import random
    import sys
    import threading
    import time

    sys.path.insert(0, sys.argv[1])
    from antagonists.collections_ import Collections

    began, slow = threading.Event(), threading.Thread(target=gc.collect)

    def wait(phase, information):
        if threading.current_thread() is slow and phase == "start":
            began.set()
            time.sleep(2)

    gc.callbacks.append(wait)
    slow.start()
    began.wait()
    nothing = gc.collect()
    Collections(None).round(random.Random(1))
    with open(os.environ["SPPROF_RESULT"], "w") as file:
        json.dump({"found_while_another_collects": nothing}, file)


def test_a_slow_collection_is_waited_for(freethreaded):
    outcome = freethreaded.run(collect_beside_a_slow_collection, CHAOS)
    assert outcome.json == {"found_while_another_collects": 0}


def findings(**changes):
    found = {"wrong": [], "leaks": [], "law": True, "captured": 1, "impossible": 0, "judged": 1}
    return {**found, "names": ["maps"], "rounds": {"maps": 1}, **changes}


@pytest.mark.parametrize(
    "changes, sign",
    [
        ({"law": False}, "not captured + dropped"),
        ({"captured": 0}, "nothing was captured"),
        ({"impossible": 1}, "1 impossible stacks"),
        ({"rounds": {}}, "maps had no round"),
        ({"leaks": ["2 timers were left"]}, "2 timers"),
        ({"wrong": ["maps: a mapping lost"]}, "a mapping lost"),
    ],
)
def test_each_finding_is_a_complaint(changes, sign):
    cell = chaos.Cell("maps", "3.14t", "cpu")
    cell.found = findings()
    assert chaos.complaints(cell) == []
    cell.found = findings(**changes)
    (complaint,) = chaos.complaints(cell)
    assert sign in complaint


def test_leaks_are_named():
    held = {"timers": 1, "threads": 2, "files": 3, "heap": 4, "process": 5}
    import held as measure

    assert measure.leaks(held, held) == []
    grown = {**held, "timers": 2, "heap": 4 + (2 << 20)}
    assert measure.leaks(held, grown) == ["1 timers were left", "the heap grew by 2.0 MiB"]


def test_what_the_interpreter_keeps_is_no_leak():
    import held as measure

    held = {"timers": 0, "threads": 1, "files": 3, "heap": 0, "process": 0}
    grown = {**held, "process": measure.PROCESS_MOST + (2 << 20)}
    assert measure.leaks(held, grown, kept=1 << 20) == ["the process grew by 34.0 MiB"]
    assert measure.leaks(held, grown, kept=2 << 20) == []
    assert measure.leaks(held, grown, players=2) == []


def crowd(**changes):
    found = {"ticks": 100, "captured": 99, "bytes_per_idle_thread": 0, "alive": 1502, "threads": 1501, "crowd": 1500}
    return {**found, **changes}


@pytest.mark.parametrize("changes, sign", [({"captured": 98}, "98.00 %"), ({"alive": 1499}, "1499 alive, of 1500")])
def test_crowd_that_is_too_small_or_not_seen_is_a_complaint(changes, sign):
    assert list(chaos.crowd_complaints(crowd())) == []
    (complaint,) = chaos.crowd_complaints(crowd(**changes))
    assert sign in complaint


def test_bad_variables_are_named(tmp_path):
    command = [sys.executable, CHAOS / "run.py", "--json", tmp_path / "chaos.json"]
    for name, value in (
        *(("STRESS_SEED", "x"), ("STRESS_SECONDS", "-1")),
        *(("STRESS_ONLY", "no such cell"), ("STRESS_PROCESSORS", "two")),
    ):
        environment = {**os.environ, name: value}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and value in done.stderr and "Traceback" not in done.stderr


def processes_of(folder):
    return subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True).stdout


def test_interrupting_leaves_nothing(tmp_path):
    support.ninja("stress-built")
    result, log = tmp_path / "chaos.json", tmp_path / "log"
    environment = {**os.environ, "STRESS_ONLY": "threads/3.14t", "TMPDIR": str(tmp_path)}
    with open(log, "w") as output:
        child = subprocess.Popen(
            [sys.executable, CHAOS / "run.py", "--json", result], env=environment, stdout=output, stderr=output
        )
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("chaos-*")) and time.monotonic() < limit:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 130, log.read_text()
    assert not list(tmp_path.glob("chaos-*")), "a temporary folder was left"
    assert json.loads(result.read_text())["interrupted"]
    assert log.read_text().splitlines()[-1].startswith("to repeat: ")
    limit = time.monotonic() + 20  # what was killed may still be ending
    while (left := processes_of(tmp_path)) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not left, f"processes were left: {left}"


def test_a_thousand_threads_alive_at_once(tmp_path):
    done, found = run_chaos(tmp_path, STRESS_ONLY="crowd/3.14t", STRESS_SECONDS="4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [cell["alive"] >= 1000 for cell in found["cells"]] == [True, True]

"""The soak: what it complains of, a short one, and an interrupted one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import support

CHAOS = support.ROOT / "stress" / "chaos"
sys.path.insert(0, str(CHAOS))

soak = support.module_of(CHAOS / "soak.py")

from stress.interpreters import FREE_THREADED  # noqa: E402 - the path that soak.py itself has set

MIB = 1 << 20
ACT_SECONDS = 2


def readings(minutes, resident):
    """What a soak has read of its memory: `resident(seconds)` is in bytes."""
    return [(seconds, resident(seconds)) for seconds in range(ACT_SECONDS, minutes * 60, ACT_SECONDS)]


def waves(seconds):
    """What acts leave behind for a while."""
    return 40 * MIB + seconds * 2654435761 % (6 * MIB)


def test_growth_is_what_never_goes_away():
    assert soak.growth(readings(60, lambda _: 40 * MIB)) == 0
    assert abs(soak.growth(readings(60, waves))) < MIB // 4
    leak = soak.growth(readings(60, lambda seconds: waves(seconds) + seconds * 1000))
    assert leak > 2 * MIB
    late = soak.growth(readings(60, lambda seconds: waves(seconds) + (2 * MIB if seconds > 3200 else 0)))
    assert late > MIB


def test_growth_of_the_first_minutes_does_not_count():
    assert soak.growth(readings(60, lambda seconds: 40 * MIB - (seconds < 300) * 20 * MIB)) == 0


@pytest.mark.parametrize("minutes", [0, 1, 10, 14])
def test_a_short_run_says_nothing_of_growth(minutes):
    assert soak.growth(readings(minutes, waves)) is None


def runner(**changes):
    made = soak.Runner.__new__(soak.Runner)
    made.interpreter, made.problem, made.minutes = "3.14t", None, []
    made.resident = readings(16, lambda _: MIB)
    found = {"wrong": [], "impossible": 0, "examples": [], "left": {}, "players": 1}
    made.latest = {**found, **changes}
    return made


@pytest.mark.parametrize(
    "changes, sign",
    [
        ({"wrong": ["maps: a mapping lost"]}, "a mapping lost"),
        ({"impossible": 2, "examples": ["a:1 b:2"]}, "2 impossible stacks: a:1 b:2"),
        ({"left": {"timers": 3}}, "3 timers were left"),
    ],
)
def test_each_finding_is_a_complaint(changes, sign):
    assert list(runner().complaints()) == []
    assert [sign in complaint for complaint in runner(**changes).complaints()] == [True]


def test_growth_problems_and_nothing_are_complaints():
    grown = runner()
    grown.resident = readings(16, lambda seconds: MIB * (3 if seconds > 600 else 1))
    assert ["resident memory grew by 2.0 MiB" in complaint for complaint in grown.complaints()] == [True]
    assert list(runner_with(grown.resident, players=2).complaints()) == []
    hung = runner()
    hung.problem = "hung"
    assert list(hung.complaints()) == ["hung"]
    idle = runner()
    idle.latest = None
    assert list(idle.complaints()) == ["no act was finished: nothing was tested"]


def runner_with(resident, **changes):
    made = runner(**changes)
    made.resident = resident
    return made


@pytest.fixture(scope="module")
def command():
    support.ninja("stress-built")
    return [sys.executable, CHAOS / "soak.py", "--json"]


def environment(**more):
    return {**os.environ, "STRESS_SEED": "11", **more}


def test_a_short_run(command, tmp_path):
    path = tmp_path / "soak.json"
    done = subprocess.run(
        [*command, path], env=environment(SOAK_MINUTES="0.4"), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("soak: seed 11\n") and "growth of resident memory" in done.stdout
    found = json.loads(path.read_text())
    for name in FREE_THREADED:
        final = found[name]["final"]
        assert final["captured"] > 0 and final["judged"] > 0 and final["sessions"] > 0
        assert sum(final["handler_ns"]) > 0 and final["worst_handler_ns"] > 0
        assert found[name]["resident"] and found[name]["growth"] is None
    assert found["complaints"] == [] and not found["interrupted"]


def test_interrupting_one_on_many_processors_leaves_nothing_and_keeps_what_it_had(command, tmp_path):
    path, log = tmp_path / "soak.json", tmp_path / "log"
    with open(log, "w") as output:
        child = subprocess.Popen(
            [*command, path],
            env=environment(TMPDIR=str(tmp_path), STRESS_PROCESSORS="12"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    limit = time.monotonic() + support.HANG_SECONDS
    while len(list(tmp_path.glob("soak-*/*.json"))) < len(FREE_THREADED) and time.monotonic() < limit:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 130, log.read_text()
    found = json.loads(path.read_text())
    assert found["interrupted"] and found["processors"] == 12
    for name in FREE_THREADED:
        final = found[name]["final"]
        assert final["acts"] > 0
        assert final["players"] == 12 // len(FREE_THREADED) - 2, "two processors are the witness's"
    assert log.read_text().splitlines()[-1] == "to repeat: STRESS_SEED=11 STRESS_PROCESSORS=12 ninja soak"
    assert not list(tmp_path.glob("soak-*")), "a temporary folder was left"
    limit = time.monotonic() + 20  # what was killed may still be ending
    while (left := processes_of(tmp_path)) and time.monotonic() < limit:
        time.sleep(0.2)
    assert not left, f"processes were left: {left}"


def processes_of(folder):
    return subprocess.run(["pgrep", "-af", str(folder)], capture_output=True, text=True).stdout


def test_bad_length_is_named(command, tmp_path):
    done = subprocess.run(
        [*command, tmp_path / "soak.json"], env=environment(SOAK_MINUTES="long"), capture_output=True, text=True
    )
    assert done.returncode == 1 and "SOAK_MINUTES is 'long'" in done.stderr and "Traceback" not in done.stderr

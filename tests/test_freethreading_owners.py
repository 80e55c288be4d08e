"""Owners of signals beside real sessions get what they would get without (test_owners.py has the scripts)."""

import json
import signal

import pytest
import support
import synthetic
from test_owners import ENDLESS, PROF, SAMPLES, SEGV, can_be_told, scripts

WAYS = "mcorjd"


@pytest.fixture(scope="session")
def owners(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "owners.c", "-shared")


def chosen(number, every):
    """Those of the scripts that a session can be part of, and whose looks can be waited for."""
    known = [
        words
        for way in WAYS
        for owner, flags, scene, words in scripts(number, way)
        if can_be_told(number, way, owner, flags, scene)
    ]
    return known[::every]


def compare(interpreter, owners, mode, found):
    outcome = interpreter.run("owners", owners, mode, json.dumps(found), faulthandler=False)
    counted = 0
    for words, (plain, sampled) in zip(found, outcome.json["outcomes"], strict=True):
        if plain[0] == ENDLESS:
            continue
        assert sampled == plain, " ".join(words)
        counted += 1
    assert counted >= len(found) // 2


@pytest.mark.parametrize("number", [PROF, SEGV])
def test_owners_beside_a_session_in_cpu_mode(every_interpreter, owners, number):
    compare(every_interpreter, owners, "cpu", chosen(number, 211))


def test_owners_beside_a_session_in_wall_mode(every_interpreter, owners):
    compare(every_interpreter, owners, "wall", chosen(SEGV, 211))


def test_known_order_beside_a_session(every_interpreter, owners):
    found = [words.split() for words in SAMPLES]
    outcome = every_interpreter.run("owners", owners, "cpu", json.dumps(found), faulthandler=False)
    assert {" ".join(words): tuple(sampled) for words, (_, sampled) in
            zip(found, outcome.json["outcomes"], strict=True)} == SAMPLES  # fmt: skip


@pytest.mark.parametrize("mode", ["cpu", "wall"])
def test_fault_signals_that_the_program_blocks_wait_for_it(every_interpreter, by_syscall, mode):
    """They are sent to the process, of whose threads the session's alone does not block them."""
    rounds = support.amount(50)
    found = every_interpreter.run("blocked_faults", mode, rounds).json
    assert found["waited"] == [signal.SIGSEGV, signal.SIGBUS] * rounds
    assert found["calls"] == [[0, 1]]
    assert found["unguarded"] == 0, "the session's thread goes on blocking them"

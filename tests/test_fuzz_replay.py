"""Every input that is kept is tried under AddressSanitizer and UBSan: it passes, and comes to what it is named after."""

import ctypes
import re
import subprocess
import sys

import pytest
import support
import synthetic

FUZZ = support.ROOT / "fuzz"
sys.path.insert(0, str(FUZZ))

import seeds  # noqa: E402 - a folder of its own
from targets import REASONS, TARGETS  # noqa: E402

every_target = pytest.mark.parametrize("name", TARGETS)


def built(name, variant):
    program = TARGETS[name].program(variant)
    support.ninja(str(program.relative_to(support.ROOT)))
    return program


def replay(program, *paths):
    command = [program, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=support.HANG_SECONDS)


def outcomes(output):
    """What each file came to, by its path."""
    return {path: words.split() for path, words in re.findall(r"^(\S+/\S+): (.*)$", output, re.M)}


@every_target
def test_every_seed_comes_to_what_it_is_named_after(name):
    target = TARGETS[name]
    done = replay(built(name, "replay"), target.corpus)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    found = outcomes(done.stdout)
    assert len(found) == len(list(target.corpus.iterdir())) > 0
    for path, words in found.items():
        assert path.rpartition("/")[2].partition("-")[0] in words, path


@every_target
def test_every_regression_passes(name):
    target = TARGETS[name]
    if not target.regressions.exists():
        assert name != "walk", "the walk has regressions"
        return
    done = replay(built(name, "replay"), target.regressions)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]


def test_every_reason_has_a_seed():
    named = {path.name.partition("-")[0] for target in TARGETS.values() for path in target.corpus.iterdir()}
    given = set(REASONS) - {"no_memory"}  # which the core does not give: who keeps the samples does
    assert given <= named
    assert {name for target in TARGETS.values() for name in target.reasons} == given
    assert set(REASONS) == set(synthetic.REASONS)


def test_seeds_are_those_that_the_generator_writes():
    for name, make in seeds.SEEDS.items():
        kept = {path.name: path.read_bytes() for path in TARGETS[name].corpus.iterdir()}
        assert kept == dict(make()), f"write them again with: $(ci/setup --venv)/bin/python fuzz/seeds.py ({name})"


def test_every_planted_bug_can_be_planted():
    """A source may have changed since: its control build would then be none."""
    for target in TARGETS.values():
        for bug in target.controls.values():
            assert bug.text() != (support.ROOT / bug.file).read_text()


# --- the mutator ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mutator():
    path = TARGETS["walk"].program("mutator.so")
    support.ninja(str(path.relative_to(support.ROOT)))
    library = ctypes.CDLL(str(path))
    library.mutator_name.restype = library.mutator_reason.restype = ctypes.c_char_p
    library.mutator_apply.restype = ctypes.c_size_t
    library.mutator_apply.argtypes = [
        ctypes.c_uint, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
    ]  # fmt: skip
    return library


def corruptions(library):
    number = 0
    while (name := library.mutator_name(number)) is not None:
        reason = library.mutator_reason(number)
        yield number, name.decode(), reason and reason.decode()
        number += 1


def test_each_corruption_leads_to_its_reason(mutator, tmp_path):
    """From a sound stack, by one of forty seeds."""
    room = ctypes.create_string_buffer(4096)
    sound = [seeds.header(name, seeds.TWICE) + seeds.USUAL for name in ("3.13", "3.14t", "3.15t")]
    for number, name, _ in corruptions(mutator):
        for seed in range(40):
            data = sound[seed % 3]
            count = mutator.mutator_apply(number, seed, data, len(data), room)
            (tmp_path / f"{name}-{seed}").write_bytes(room.raw[:count])
    done = replay(built("walk", "plain"), tmp_path)
    assert done.returncode == 0, done.stderr[-1000:]
    found = {}
    for path, words in outcomes(done.stdout).items():
        found.setdefault(path.rpartition("/")[2].partition("-")[0], set()).update(words)
    asked = {name: reason for _, name, reason in corruptions(mutator) if reason}
    assert {name: reason for name, reason in asked.items() if reason not in found[name]} == {}
    assert set(asked.values()) == set(TARGETS["walk"].reasons) - {"captured"}


# --- what the driver says -----------------------------------------------------------------------------------


def test_nothing_to_try(tmp_path):
    done = replay(built("layout", "plain"), tmp_path)
    assert done.returncode == 2 and "nothing to try" in done.stderr


def test_missing_input(tmp_path):
    done = replay(built("layout", "plain"), tmp_path / "absent")
    assert done.returncode == 2 and re.fullmatch(r"fuzz: layout: .*/absent: cannot be read .*\n", done.stderr)


def test_unknown_target():
    done = subprocess.run([FUZZ / "replay", "walls"], capture_output=True, text=True)
    assert done.returncode == 1 and "one of: walk layout" in done.stderr


def test_any_bytes_are_an_input(tmp_path):
    for number, size in enumerate([0, 1, 15, 16, 17, 31, 33, 5000]):
        (tmp_path / str(number)).write_bytes(bytes((7 * i + number) % 256 for i in range(size)))
    for name in TARGETS:
        done = replay(built(name, "replay"), tmp_path)
        assert done.returncode == 0, done.stderr[-1000:]

"""The faults that `ninja mutants` puts into the core: what lists them, and that one that nothing notices is told."""

import os
import re
import subprocess
import sys

import pytest
import support

MUTANTS = support.ROOT / "stress" / "mutants"
sys.path.insert(0, str(MUTANTS))

import generate  # noqa: E402 - a folder of its own
import workshop  # noqa: E402

runner = support.module_of(MUTANTS / "run.py")

LEAST = 80
# One that the ring's tests notice, one that changes nothing.
PLANTED = """
[[mutant]]
id = "noticed"
file = "core/ring.c"
old = "if (head == tail)"
new = "if (head != tail)"
killer = "tests/test_ring.py::test_empty_pop_changes_nothing"

[[mutant]]
id = "unnoticed"
file = "core/ring.c"
old = "if (head == tail)"
new = "if (tail == head)"
killer = "tests/test_ring.py::test_empty_pop_changes_nothing"
"""


def test_list_is_whole():
    mutants, equivalent = runner.load(runner.DATA)  # refuses an old text that does not stand once, and ids twice
    assert len(mutants) >= LEAST
    for mutant in mutants:
        for word in mutant.killer.split():
            file, _, test = word.partition("::")
            text = (support.ROOT / file).read_text()
            name = test.partition("[")[0]  # of one case alone, its parameters follow
            assert not test or f"def {name}(" in text, f"{mutant.id}: there is no {word}"
    for entry in equivalent:
        lines = [line.strip() for line in (support.ROOT / entry["file"]).read_text().splitlines()]
        assert entry["line"] in lines, entry
        assert len(entry["reason"].split()) >= 4, entry


def test_every_part_of_the_core_has_some():
    mutants, _ = runner.load(runner.DATA)
    files = {mutant.file for mutant in mutants}
    parts = "walk load ring counters observe handler signals layout ordinary/codes ordinary/location ordinary/session"
    assert {f"core/{part}.c" for part in parts.split()} <= files


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("if (head == tail)", "no such text"), "stands 0 times"),
        (('old = "if (head == tail)"', 'old = "head"'), "times in core/ring.c instead of once"),
        (('"noticed"', '"unnoticed"'), "two mutants have one id"),
        (('"if (head != tail)"', '"if (head == tail)"'), "its new text is the old one"),
        (("[[mutant]]", "[[mutant"), "is not a list of mutants"),
        (("killer = ", "killers = "), "is not a list of mutants"),
    ],
)
def test_bad_list_is_one_clear_line(tmp_path, change, complaint):
    path = tmp_path / "list.toml"
    path.write_text(PLANTED.replace(*change))
    with pytest.raises(runner.Failed, match=complaint):
        runner.load(path)


def test_rules_find_faults_in_every_file_and_none_in_comments():
    made = generate.mutants()
    assert {mutant.file for mutant in made} == set(generate.KILLERS)
    assert len({mutant.id for mutant in made}) == len(made) > 300
    texts = {file: (support.ROOT / file).read_text() for file in generate.KILLERS}
    code = {file: generate.masked(text) for file, text in texts.items()}
    for mutant in made:
        text = texts[mutant.file]
        assert text[mutant.at :].startswith(mutant.old)
        changed = mutant.applied_to(text)
        assert generate.masked(changed) != code[mutant.file], mutant.id
    assert generate.masked('a /* b == c */ "<" d // 5\n').split() == ["a", "d"]


def test_sample_is_spread_and_the_same_each_time():
    assert generate.sample(list(range(10)), 4) == [0, 2, 5, 7]
    assert generate.sample(list(range(10)), 99) == list(range(10))


@pytest.mark.parametrize(
    ("status", "output", "sign"),
    [
        (1, "x\n1 failed, 3 passed in 0.1s", "fails"),
        (1, "x\n1 failed, 1 error in 0.1s", "errs"),
        (1, "x\n2 errors in 0.1s", "errs"),
        (0, "x\n3 passed in 0.1s", "passes"),
        (0, "x\n3 deselected in 0.1s", "errs"),
        (4, "ERROR: not found", "errs"),
        (-11, "", "crashes"),
        (None, "", "hangs"),
    ],
)
def test_signs(status, output, sign):
    assert workshop.judge(status, output) == sign


def run(path, **environment):
    environment = {**os.environ, "MUTANTS_FILE": str(path), "MUTANTS": "", **environment}
    command = [sys.executable, MUTANTS / "run.py"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=support.HANG_SECONDS)


def test_fault_that_nothing_notices_fails_the_run(tmp_path):
    path = tmp_path / "list.toml"
    path.write_text(PLANTED)
    before = runner.RESULT.read_bytes() if runner.RESULT.exists() else None
    done = run(path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^ +noticed +killed +fails +tests/test_ring.py::test_empty_pop", done.stdout, re.M)
    assert re.search(r"^ +unnoticed +ALIVE +passes", done.stdout, re.M)
    assert "1 of 2 hand-written mutants killed" in done.stdout
    assert done.stdout.splitlines()[-1] == "to repeat: MUTANTS=unnoticed ninja mutants"
    assert before == (runner.RESULT.read_bytes() if runner.RESULT.exists() else None), (
        "a list of one's own is no result"
    )


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"MUTANTS": "absent"}, "there is no mutant absent"),
        ({"MUTANTS": "generated", "MUTANTS_MOST": "many"}, "MUTANTS_MOST is many; it must be a whole number"),
        ({"MUTANTS_JOBS": "0"}, "MUTANTS_JOBS is 0; it must be a whole number, 1 or more"),
    ],
)
def test_bad_choice_is_one_clear_line(tmp_path, environment, complaint):
    path = tmp_path / "list.toml"
    path.write_text(PLANTED)
    done = run(path, **environment)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith(f"mutants: {complaint}") and len(done.stdout.splitlines()) == 2

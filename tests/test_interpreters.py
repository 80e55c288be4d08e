"""One list of the free-threaded interpreters, and no part of the harness that forgets one of them."""

import ast
import re
import subprocess

import pytest
import support

from stress.interpreters import FREE_THREADED

INTERPRETER = re.compile(r"3\.\d+t?")
FOLDERS = ("ci", "fuzz", "model", "stress", "tests")


def test_the_list_has_every_free_threaded_interpreter_that_is_built():
    table = (support.ROOT / "ci" / "interpreters").read_text()
    assert list(FREE_THREADED) == re.findall(r"^(\d\.\d+t) ", table, re.M)


def collections_in(text):
    """The literal tuples, lists and sets of a program."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            yield node.lineno, [item.value for item in node.elts if isinstance(item, ast.Constant)]


def partial_lists(text):
    """Where a program names several of the interpreters and not all. What names builds with a GIL too
    is of versions or layouts."""
    for line, values in collections_in(text):
        named = {value for value in values if isinstance(value, str) and INTERPRETER.fullmatch(value)}
        if len(named) > 1 and named < {*FREE_THREADED}:
            yield line


def test_no_part_has_a_list_of_its_own_that_lacks_one():
    found = [
        f"{path.relative_to(support.ROOT)}:{line}"
        for folder in FOLDERS
        for path in (support.ROOT / folder).rglob("*.py")
        for line in partial_lists(path.read_text())
    ]
    assert found == [], "take stress/interpreters.py; what one of them cannot do is taken out of it by name"


@pytest.mark.parametrize(
    "text, lines",
    [
        ('NAMES = ("3.13t", "3.14t")', [1]),
        ('\nfor name in ["3.14t", "3.15t", 14]: pass', [2]),
        ('NAMES = {"3.13t", "3.14t", "3.15t"}', []),
        ('NAMES = {"3.14", "3.14t", "3.15t"}', []),
        ('NAME = ("3.14t", 4)', []),
    ],
)
def test_a_list_that_lacks_one_is_found(text, lines):
    assert list(partial_lists(text)) == lines


def parts_of(target):
    """What a target of build.ninja is made from."""
    said = subprocess.check_output(["ninja", "-C", support.ROOT, "-t", "query", target], text=True)
    return {*said.partition("input:")[2].partition("outputs:")[0].split()}


@pytest.mark.parametrize(
    "target, part",
    [
        ("truth-drivers", "build/stress/{}/truth/built"),
        ("faults-built", "build/stress/faults/{}/built"),
        ("stress-built", "python-{}"),
        ("all", "python-{}"),
    ],
)
def test_what_each_needs_is_built(target, part):
    assert {part.format(name) for name in FREE_THREADED} <= parts_of(target)


@pytest.mark.parametrize("run", ["test", "truth", "step", "chaos", "soak", "faults", "stress"])
def test_every_run_is_provided_with_each(run):
    lines = (support.ROOT / "ci" / "provided").read_text().splitlines()
    provided = {line.partition(":")[0] for line in lines if run in line.partition(":")[2].split()}
    assert {f"python {name}" for name in FREE_THREADED} <= provided

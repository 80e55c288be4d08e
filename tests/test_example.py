"""The example in C: an interpreter embedded with nothing from spprof but its header and archive."""

import re
import subprocess
import textwrap
from dataclasses import dataclass

import pytest
import support


@dataclass(frozen=True)
class Report:
    """What the example printed."""

    status: int
    ticks: int
    outcomes: dict
    functions: list
    output: str
    errors: str


@pytest.fixture(scope="module")
def program():
    try:
        support.ninja("example")
    except support.Missing as missing:
        message = str(missing)
    else:
        return support.BUILD / "example-embed"
    return pytest.fail(message, pytrace=False)


def run(program, *arguments):
    command = [*support.EMULATOR, program, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=support.HANG_SECONDS)
    head, _, tail = ended.stdout.partition("hottest functions")
    ticks = re.search(r"^(\d+) ticks of", head, re.MULTILINE)
    outcomes = {name: int(count) for count, name in re.findall(r"^ +(\d+)  (\w+)$", head, re.MULTILINE)}
    functions = [(name, int(count)) for count, name in re.findall(r"^ +(\d+)  (.+)$", tail, re.MULTILINE)]
    return Report(
        ended.returncode, int(ticks.group(1)) if ticks else 0, outcomes, functions, ended.stdout, ended.stderr
    )


def script(folder, text):
    path = folder / "script.py"
    path.write_text(text)
    return path


def check_law(report):
    assert report.outcomes["captured"] > 0
    assert report.ticks == sum(report.outcomes.values())


BUSY = """
import time
def for_a_while():
    begun = time.thread_time()
    while time.thread_time() < begun + 0.3:
        sum(range(1000))
"""


def test_busy_program_is_sampled_and_its_hot_function_named(program):
    report = run(program)
    assert (report.status, report.errors) == (0, "")
    check_law(report)
    assert report.functions[0][0].startswith("hot (<busy>:")


def test_script_gets_its_arguments_and_gives_its_status(program, tmp_path):
    text = BUSY + "import sys\nfor_a_while()\nsys.exit(len(sys.argv) + int(sys.argv[2]))"
    report = run(program, script(tmp_path, text), "one", "40")
    assert (report.status, report.errors) == (43, "")
    check_law(report)
    assert report.functions[0][0] == f"for_a_while ({tmp_path}/script.py:3)"


def test_function_that_died_is_not_given_another_ones_name(program, tmp_path):
    text = f"""
        import gc
        names = {{}}
        exec(compile({BUSY!r}, "gone.py", "exec"), names)
        names["for_a_while"]()
        names.clear()
        gc.collect()
        others = [eval("lambda: 0") for _ in range(1000)]
    """
    report = run(program, script(tmp_path, textwrap.dedent(text)))
    assert (report.status, report.errors) == (0, "")
    check_law(report)
    assert report.functions[0][0] == "[a function that is gone]"


def test_forked_child_that_leaves_the_script_reports_nothing(program, tmp_path):
    text = BUSY + "import os\nfor_a_while()\nchild = os.fork()\nif child:\n    assert os.waitpid(child, 0)[1] == 0"
    report = run(program, script(tmp_path, text))
    assert (report.status, report.output.count("ticks of")) == (0, 1), report.errors
    check_law(report)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 / 0", "the script ended by ZeroDivisionError: division by zero"),
        ("raise SystemExit('no input')", "the script ended by exit: no input"),
        ("raise ValueError('two\\nlines')", "the script ended by ValueError: two"),
        ("this is no Python", "the script ended by SyntaxError: invalid syntax (script.py, line 1)"),
    ],
)
def test_script_that_fails_leaves_one_line(program, tmp_path, text, line):
    report = run(program, script(tmp_path, text))
    assert report.status == 1
    assert report.errors == f"example-embed: {line}\n"


def test_script_that_is_not_there_leaves_one_line(program, tmp_path):
    report = run(program, tmp_path / "absent.py")
    assert report.status == 1
    assert report.errors.count("\n") == 1
    assert "No such file or directory" in report.errors

"""`python -m spprof run` on real interpreters: the program's own behaviour, the output, and bad input."""

import json
import os
import re
import subprocess

import pytest
import support

PROGRAM = f"""
import sys, threading

def spin(rounds):
    total = 0
    for number in range(rounds):
        total += number * number % 7
    return total

threads = [threading.Thread(target=spin, args=({support.amount(1_500_000)},), name=f"spinner-{{n}}") for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("out:", *sys.argv[1:])
print("err: its own", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def cli(freethreaded, tmp_path):
    """Runs `python -m spprof ARGUMENTS` in an empty folder that holds program.py."""
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHON_GIL", "PYTHONPATH")}
    environment["PYTHONPATH"] = str(freethreaded.packages)

    def run(*arguments):
        command = [freethreaded.path, "-m", "spprof", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    run.folder = tmp_path
    return run


def test_a_program_keeps_its_status_arguments_and_output(cli):
    done = cli("run", "-i", "1", "-o", "profile.json", "program.py", "7", "--flag", "-o")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "out: 7 --flag -o\n"
    assert done.stderr.startswith("err: its own\n")


def test_the_summary_says_what_was_captured_and_lost(cli):
    done = cli("run", "-i", "1", "-o", "profile.json", "program.py", "0")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ samples", done.stderr), done.stderr
    assert "spin" in done.stderr
    assert "profile.json" in done.stderr
    assert re.search(r"lost|losses", done.stderr), done.stderr


def test_the_summary_is_not_written_into_a_file_of_the_programs(cli):
    (cli.folder / "program.py").write_text(
        "import os\nos.close(2)\nos.write(os.open('data', os.O_CREAT | os.O_WRONLY), b'its own')\n"
    )
    assert cli("run", "-o", "profile.json", "program.py").returncode == 0
    assert (cli.folder / "data").read_text() == "its own"
    assert (cli.folder / "profile.json").exists()


def test_speedscope_output_names_the_hot_function_in_every_thread(cli):
    assert cli("run", "-i", "1", "-o", "profile.json", "program.py", "0").returncode == 0
    written = json.loads((cli.folder / "profile.json").read_text())
    frames = [frame["name"] for frame in written["shared"]["frames"]]
    spin = frames.index("spin")
    hot = {
        profile["name"]: sum(
            weight for stack, weight in zip(profile["samples"], profile["weights"], strict=True) if spin in stack
        )
        for profile in written["profiles"]
    }
    spinning = [name for name, weight in hot.items() if weight > 0]
    assert len(spinning) == 4, hot


def test_collapsed_output_is_one_line_per_stack(cli):
    assert cli("run", "-i", "1", "-f", "collapsed", "-o", "profile.txt", "program.py", "0").returncode == 0
    lines = (cli.folder / "profile.txt").read_text().splitlines()
    assert lines and all(re.fullmatch(r".+ \d+", line) for line in lines)
    assert any("spin" in line for line in lines)


def test_a_module_runs_as_with_python_m(cli):
    (cli.folder / "package").mkdir()
    (cli.folder / "package" / "__init__.py").write_text("")
    (cli.folder / "package" / "__main__.py").write_text(
        f"import sys; print(__name__, sys.argv[1:])\nsum(range({support.amount(10**7)}))"
    )
    done = cli("run", "-o", "profile.json", "-m", "package", "a", "-b")
    assert (done.returncode, done.stdout) == (0, "__main__ ['a', '-b']\n"), done.stderr


def test_an_uncaught_exception_looks_as_without_the_profiler(cli):
    (cli.folder / "broken.py").write_text("def fail():\n    raise LookupError('gone')\nfail()\n")
    done = cli("run", "-o", "profile.json", "broken.py")
    assert done.returncode == 1
    assert "LookupError: gone" in done.stderr
    # The summary may name the launcher: what it took to read the program is sampled too.
    shown = [line for line in done.stderr.splitlines() if not line.startswith("spprof:")]
    assert not any("spprof/" in line or "runpy" in line for line in shown), done.stderr
    assert (cli.folder / "profile.json").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "-o", "earlier.json", "missing.py"], "missing.py"),
        (["run", "-i", "0", "-o", "earlier.json", "program.py", "0"], "interval"),
        (["run", "-i", "soon", "-o", "earlier.json", "program.py", "0"], "interval"),
        (["run", "-f", "png", "-o", "earlier.json", "program.py", "0"], "png"),
        (["run", "-o", "no/such/folder/out.json", "program.py", "0"], "no/such/folder"),
        (["run", "-o", ".", "program.py", "0"], "directory"),
        (["run", "-o", "earlier.json", "-m", "no_such_module"], "no_such_module"),
        (["run"], "no program"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_lost(cli, arguments, complaint):
    (cli.folder / "earlier.json").write_text("an earlier profile")
    done = cli(*arguments)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("usage:")]
    assert len(lines) == 1 and lines[0].startswith("spprof: ") and complaint in lines[0], done.stderr
    assert done.stdout == "", "the program ran"
    assert (cli.folder / "earlier.json").read_text() == "an earlier profile"
    assert sorted(path.name for path in cli.folder.iterdir()) == ["earlier.json", "program.py"]

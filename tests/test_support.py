"""What tests/support.py says of a scenario that goes wrong, shown on the interpreter that runs the tests."""

import os
import sys

import pytest
import support

THIS = support.Interpreter("this", sys.executable)

LEAVE = 'import json, os\nopen(os.environ["SPPROF_RESULT"], "w").write(json.dumps(dict(a=1)))\n'


def leave_arguments():
    import json
    import os
    import sys

    with open(os.environ["SPPROF_RESULT"], "w") as file:
        json.dump({"arguments": sys.argv[1:], "variable": os.environ.get("SOME_VARIABLE")}, file)
    print("to standard output")


def failure(scenario, **options):
    with pytest.raises(support.ScenarioFailed) as raised:
        THIS.run(scenario, **options)
    return str(raised.value)


@pytest.mark.parametrize("emulator, least", [((), 7), (("an emulator",), 1)])
def test_an_emulated_program_is_given_a_tenth_of_the_work(monkeypatch, emulator, least):
    monkeypatch.setattr(support, "EMULATOR", emulator)
    assert [support.amount(usual) for usual in (7, 1000)] == [least, 100 if emulator else 1000]


def test_result_comes_back():
    outcome = THIS.run(LEAVE)
    assert outcome.json == {"a": 1}
    assert tuple(outcome) == ({"a": 1}, 0, "", "")


def test_function_is_run_from_its_source():
    outcome = THIS.run(leave_arguments, "one", 2, env={"SOME_VARIABLE": 3})
    assert outcome.json == {"arguments": ["one", "2"], "variable": "3"}
    assert outcome.stdout == "to standard output\n"


@pytest.mark.parametrize("name", ["PYTHON_GIL", "PYTHONDONTWRITEBYTECODE"])
def test_environment_that_would_change_the_test_is_taken_away(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    source = f'import json, os\nopen(os.environ["SPPROF_RESULT"], "w").write(json.dumps(os.environ.get("{name}")))\n'
    outcome = THIS.run(source, check=False)
    assert outcome.returncode == 0
    assert outcome.json is None


def test_crash_is_called_a_crash():
    source = "import ctypes\nctypes.string_at(0)\n"
    text = failure(source)
    assert "scenario_text.py on this crashed with SIGSEGV" in text
    assert "Fatal Python error: Segmentation fault" in text
    outcome = THIS.run(source, check=False, faulthandler=False)
    assert (outcome.signal, outcome.json) == ("SIGSEGV", None)


def test_result_before_a_crash_does_not_hide_it():
    assert "crashed with SIGKILL" in failure(LEAVE + "import signal\nos.kill(os.getpid(), signal.SIGKILL)\n")


def test_error_is_shown_with_its_traceback():
    text = failure("def inner():\n    raise KeyError('lost')\n\ninner()\n")
    assert "exited with status 1" in text
    assert "KeyError: 'lost'" in text


def test_no_result_is_an_error():
    assert "left no result" in failure("pass\npass\n")


def test_hang_is_ended_and_located():
    text = failure("import time\ntime.sleep(600)\n", timeout=2)
    assert "hung" in text
    assert "scenario_text.py" in text
    assert "line 2" in text


def test_missing_scenario_is_named():
    with pytest.raises(support.Missing, match="there is no scenario nowhere: it would be tests/scenarios/nowhere.py"):
        THIS.run("nowhere")


def test_missing_interpreter_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in filter(lambda name: name.startswith("SPPROF_PYTHON_"), list(os.environ)):
        monkeypatch.delenv(name)
    support.interpreter.cache_clear()
    try:
        with pytest.raises(support.Missing, match=r"ci/python: no 3.14t yet; provide it with: ci/python 3.14t"):
            support.interpreter("3.14t")
    finally:
        support.interpreter.cache_clear()

"""The litmus tests, the proofs and the models of the lifecycle: all come out as stated, and whoever judges them can fail."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support

from model import rows, run, sites
from model.lifecycle import check
from model.litmus import judge
from model.proofs import prove

MODEL = support.ROOT / "model"


def program(*command, **environment):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **environment})  # fmt: skip


@pytest.fixture(scope="module")
def results():
    """What the quick form came to."""
    done = program(MODEL / "run.py", "--quick")
    assert done.returncode == rows.OK, done.stdout[-2000:] + done.stderr[-500:]
    return json.loads(run.RESULTS.read_text()), done.stdout


def test_every_row_is_as_stated(results):
    content, said = results
    assert content["rows"] and all(row["expected"] == row["observed"] for row in content["rows"])
    for skipped in content["skipped"]:
        assert f"SKIPPED {len(content['skipped'])} of 3 tools" in said and skipped["tool"] in said


def test_every_tool_has_rows_and_twins(results):
    content, _ = results
    missing = {skipped["tool"] for skipped in content["skipped"]}
    assert "spin" not in missing
    for tool in {"herd7", "cbmc", "spin"} - missing:
        mine = [row for row in content["rows"] if row["tool"] == tool]
        assert any(row["twin"] for row in mine) and any(not row["twin"] for row in mine)
    if missing:
        pytest.skip(f"no rows of {', '.join(sorted(missing))}: ci/model-tools could not provide it")


# --- litmus --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def herd():
    try:
        return judge.Herd()
    except rows.Missing as missing:
        pytest.skip(f"no verdict of herd7: {missing}")


def test_readme_has_a_sentence_for_every_test():
    readme = (MODEL / "litmus" / "README.md").read_text()
    assert set(re.findall(r"^- `(\S+)` \(", readme, re.M)) == judge.tests().keys()
    for name, test in judge.tests().items():
        assert f"- `{name}` ({test.expected}): " in readme


def judged_by(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["judge.py", *map(str, arguments)])
    status = judge.main()
    said = capsys.readouterr()
    return status, said.out + said.err


def test_wrong_verdict(herd, tmp_path, monkeypatch, capsys):
    atomics = tmp_path / "atomics.h"
    atomics.write_text(sites.weaken(sites.ATOMICS.read_text(), "leave", "relaxed"))
    status, said = judged_by(monkeypatch, capsys, "--atomics", atomics, "leave.c11")
    assert status == rows.WRONG and "leave" in said
    assert said.strip().splitlines()[-1] == "to repeat: model/litmus/judge.py --show leave.c11"


def test_text_that_herd_cannot_read(herd, monkeypatch, capsys):
    monkeypatch.setattr(judge.Test, "filled", lambda test, orders: "C nonsense\n{ }\nP0 ( {\n")
    assert judged_by(monkeypatch, capsys, "leave.c11")[0] == rows.UNREADABLE


def test_header_that_states_nothing(tmp_path):
    path = tmp_path / "claim.c11.litmus"
    path.write_text("C claim\n{ }\n")
    with pytest.raises(judge.Unreadable, match="Expected"):
        judge.Test(path)


def test_site_that_is_not_there(herd, tmp_path, monkeypatch, capsys):
    atomics = tmp_path / "atomics.h"
    atomics.write_text("")
    assert judged_by(monkeypatch, capsys, "--atomics", atomics, "leave.c11")[0] == rows.UNREADABLE


def test_wrong_name(herd, monkeypatch, capsys):
    status, said = judged_by(monkeypatch, capsys, "no_such_claim.c11")
    assert status == rows.USAGE and "no_such_claim" in said


def test_tool_that_is_missing(monkeypatch, capsys):
    def missing(*_):
        raise rows.Missing("herd7 is not there; provide it with: ci/model-tools herd7")

    monkeypatch.setattr(judge, "Herd", missing)
    status, said = judged_by(monkeypatch, capsys)
    assert status == rows.MISSING and "ci/model-tools herd7" in said


def test_nothing_run_is_a_failure():
    assert rows.status_of([]) == rows.NOTHING


def test_skipped_tools_are_named(monkeypatch, capsys):
    def missing(name, fetch=True):
        raise rows.Missing(f"{name} is not there")

    monkeypatch.setattr(rows, "tool", missing)
    monkeypatch.setattr(check, "jobs", lambda: [])
    todo, skipped = run.collect(True)
    assert todo == [] and [tool["tool"] for tool in skipped] == ["cbmc", "herd7"]
    assert run.conclude([], skipped, False, True) == rows.NOTHING
    assert "SKIPPED 2 of 3 tools: cbmc, herd7" in capsys.readouterr().out


def test_spin_is_required(monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    with pytest.raises(rows.Missing, match="ci/setup"):
        check.jobs()


def started_by(pid):
    """The processes that it has started in sessions of their own, by what /proc/PID/stat says."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            _, parent, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if (int(parent), session) == (pid, process.name):
                found.append(process.name)
    return found


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_request_to_end_leaves_nothing_and_says_how_to_repeat():
    command, found = [MODEL / "run.py", "--quick"], []
    until = time.monotonic() + support.HANG_SECONDS
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while not (found := started_by(child.pid)) and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        output = child.stdout.read()
    assert found and child.returncode == 130, output
    assert output.splitlines()[-1] == "INCOMPLETE: interrupted; to repeat: model/run.py --quick"
    while any(map(is_running, found)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_running, found))


def test_request_to_end_before_there_is_a_row(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "collect", interrupted)
    monkeypatch.setattr(run, "catch_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert run.main() == 130
    assert capsys.readouterr().out == "INCOMPLETE: interrupted; to repeat: ninja model\n"


# --- proofs and lifecycle -------------------------------------------------------------------------------


def test_variants_fit_the_source():
    for variant in prove.VARIANTS:
        prove.varied(variant)
    assert {variant.claim for variant in prove.VARIANTS} <= {proof.claim for proof in prove.PROOFS}


def test_variant_that_does_not_fit():
    with pytest.raises(prove.Unreadable, match="mend"):
        prove.varied(prove.Variant("gone", "ring_push", "core/ring.c", "no such text", ""))


def text_of(model):
    return (MODEL / "lifecycle" / f"{model}.pml").read_text()


CORE = "".join(path.read_text() for path in (support.ROOT / "core").rglob("*.[ch]"))


def test_model_names_functions_that_exist():
    text = text_of("lifecycle")
    named = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+|admit|enter|leave|retire|quiesce)\(\)", text.split("#define", 1)[1]))
    assert {"enter", "leave", "retire", "quiesce", "close_slot"} <= named
    own = {"lock_work", "unlock_work", "fork_child"}
    assert {name for name in named - own if not re.search(rf"\b{name}\(", CORE)} == set()


def test_model_of_owners_names_functions_that_exist():
    text = text_of("owners").split("#define", 1)[1]
    named = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\(\)", text)) | set(re.findall(r"^inline (\w+)\(", text, re.M))
    assert {"signals_take", "take_from", "come_again", "signals_give_back", "find_caller", "note_front"} <= named
    own = {"swap", "deliver"}
    assert {name for name in named - own if not re.search(rf"\b{name}\(", CORE)} == set()


def test_model_of_asking_names_functions_that_exist():
    text = text_of("asking").split("#define", 1)[1]
    named = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\(\)", text)) | set(re.findall(r"^inline (\w+)\(", text, re.M))
    assert {"due_lay", "due_take", "due_withdraw", "monitor_slot", "is_asked", "close_slot", "on_tick"} <= named
    own = {"count", "produce", "take", "look_or_ask"}
    assert {name for name in named - own if not re.search(rf"\b{name}\(", CORE)} == set()


@pytest.mark.parametrize("model", ["lifecycle", "owners", "asking"])
def test_every_mutant_of_a_model_is_run(model):
    text = text_of(model)
    listed = set(re.findall(r"^ \*   ([A-Z_]+) ", text, re.M))
    assert listed == {run.twin for run in check.MUTANTS.values() if run.file == model}
    assert all(re.search(rf"^#if(n?def| defined).*\b{name}\b", text, re.M) for name in listed)


def test_wrong_environment():
    done = program(MODEL / "run.py", MODEL="fast")
    assert done.returncode == rows.USAGE and "MODEL" in done.stderr

"""What a fuzzer takes for a hang is one only if it takes too long again, alone and by CPU time."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
import support

FUZZ = support.ROOT / "fuzz"
sys.path.insert(0, str(FUZZ))

import afl  # noqa: E402 - a folder of its own
import alone  # noqa: E402
import atheris_engine  # noqa: E402

run = support.module_of(FUZZ / "run.py")

# Does what its input's first byte says: goes round for ever, waits for ever, fails, or neither.
TARGET = """
#include "target.h"
#include <unistd.h>

const char fuzz_name[] = "made";
const size_t fuzz_largest = 1;
void fuzz_set_up(void) {}

void fuzz_one(const uint8_t *bytes, size_t count) {
    for (volatile int round = 0; count != 0 && bytes[0] == 'h';)
        round = round + 1;
    while (count != 0 && bytes[0] == 'w')
        pause();
    FUZZ_LAW(count == 0 || bytes[0] != 'c');
    fuzz_note("nothing");
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "made.c").write_text(TARGET)
    sources = (folder / "made.c", FUZZ / "driver.c", support.ROOT / "core" / "reasons.c")
    includes = [f"-I{folder}" for folder in (FUZZ, support.ROOT / "core", support.ROOT / "core/include")]
    command = ["clang", "-std=gnu11", "-O1", *includes, *sources, "-o", folder / "program"]
    subprocess.run(command, check=True)
    return folder / "program"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Returns a function by which what waits for ever is ended in a few seconds; a busy machine may
    be slower than that with anything else."""
    monkeypatch.setattr(alone, "PATIENCE", support.HANG_SECONDS)
    return lambda: monkeypatch.setattr(alone, "PATIENCE", 2)


# --- one program ---------------------------------------------------------------------------------


def tried(program, folder, byte, limit=1):
    path = folder / "input"
    path.write_bytes(byte)
    return alone.try_alone([program, path], limit)


def test_input_that_goes_round_takes_too_long(program, tmp_path):
    found = tried(program, tmp_path, b"h")
    assert found.complaint == "takes longer than 1 s of CPU time"
    assert found.status == -signal.SIGXCPU


def test_input_that_waits_for_ever_is_ended(program, tmp_path, patience):
    patience()
    found = tried(program, tmp_path, b"w")
    assert found.complaint == "waits for longer than 2 s" and found.seconds < 0.9


def test_program_that_takes_long_by_the_clock_alone_is_let_go_on():
    """As one that other work keeps from running."""
    found = alone.try_alone(["sleep", "1.5"], 1)
    assert (found.status, found.complaint) == (0, None) and found.seconds < 0.9


def test_what_fails_is_told_apart(program, tmp_path):
    found = tried(program, tmp_path, b"c")
    assert found.status < 0 and found.complaint is None
    assert "fuzz: made: " in found.output


# --- a run ---------------------------------------------------------------------------------------


@dataclass
class MadeTarget:
    """A target, below a root of its own, whose every program is the one above."""

    root: object
    made: object
    language: str = "c"
    name: str = "made"
    reasons: tuple = ()
    mutator: None = None

    @property
    def corpus(self):
        return self.root / "corpus"

    @property
    def regressions(self):
        return self.root / "regressions"

    def program(self, variant):
        return self.made


class Ended:
    """A fuzzer that ends as soon as it is started, and took these inputs for hangs."""

    found: tuple = ()
    left = {"execs_done": "10", "execs_per_sec": "5.0", "stability": "100.00%"}

    def start(self, seeds, seconds, until_crash=False):
        for place in ("queue", self.place):
            (self.output / place).mkdir(parents=True, exist_ok=True)
        for byte in self.found:
            (self.output / self.place / (self.prefix + byte.decode())).write_bytes(byte)

    def stats(self):
        return self.left


class EndedAfl(Ended, afl.AflInstance):
    place, prefix = "hangs", "id:"


class EndedAtheris(Ended, atheris_engine.AtherisInstance):
    place, prefix = ".", "timeout-"


@pytest.fixture(params=["afl", "atheris"])
def fuzzed(request, program, tmp_path, monkeypatch):
    """Runs a fuzzer that takes the given inputs for hangs; returns (result, exit status)."""
    engine, kind, language = {
        "afl": (afl, EndedAfl, "c"),
        "atheris": (atheris_engine, EndedAtheris, "python"),
    }[request.param]
    target = MadeTarget(tmp_path, program, language)
    target.corpus.mkdir()
    (target.corpus / "seed").write_bytes(b"a")
    for name in ("ROOT", "BUILD"):
        monkeypatch.setattr(run, name, tmp_path)
    for module in (run, engine):
        monkeypatch.setattr(module, "folder_of", lambda target, what: tmp_path / what)
    monkeypatch.setattr(engine, "HANG_SECONDS", 1)
    monkeypatch.setattr(engine, "stability", lambda instances, corpus: 100.0)
    monkeypatch.setattr(engine, "instances_of", lambda *_: [kind(target, "made", tmp_path / "run", "main")])

    def fuzz(*inputs):
        monkeypatch.setattr(kind, "found", inputs)
        result, interrupted = run.Result(target), False
        try:
            run.fuzz(result, 1)
        except KeyboardInterrupt:
            interrupted = True
        return result, run.conclude([result], interrupted, 1)

    return fuzz


def test_input_that_was_slow_under_load_passes_and_is_told(fuzzed, capsys):
    result, status = fuzzed(b"a", b"b")
    told = capsys.readouterr().out
    assert status == 0, told
    assert told.count("made: slow under load, replayed in ") == 2
    assert " ms of CPU time: run/main/" in told and "FAILED" not in told
    assert result.findings == [] and not result.target.regressions.exists()
    row = run.summary([result], False)["targets"]["made"]
    assert row["hangs"] == 0 and len(row["slow"]) == 2
    json.dumps(row)


@pytest.mark.parametrize(
    ("byte", "shows"),
    [(b"h", "takes longer than 1 s of CPU time"), (b"w", "waits for longer than 2 s")],
)
def test_input_that_hangs_again_fails_the_run(fuzzed, capsys, patience, byte, shows):
    if byte == b"w":
        patience()
    result, status = fuzzed(b"a", byte)
    told = capsys.readouterr().out
    assert status == 1
    assert "FAILED made: 1 hangs\n" in told and f"finding: {shows}\n" in told
    assert told.count("made: slow under load") == 1
    (finding,) = result.findings
    assert (result.target.root / finding["file"]).read_bytes() == byte
    assert run.summary([result], False)["targets"]["made"]["hangs"] == 1


def test_input_that_fails_when_it_is_tried_again_is_a_crash(fuzzed, capsys):
    result, status = fuzzed(b"c")
    assert status == 1
    assert "FAILED made: 1 crashes\n" in capsys.readouterr().out
    assert result.findings[0]["shows"].startswith("fuzz: made: ")


def test_few_hangs_are_enough(fuzzed, capsys, monkeypatch):
    """The others are counted, and not called slow."""
    monkeypatch.setattr(run, "FINDINGS_MOST", 1)
    result, status = fuzzed(b"h", b"i", b"j")
    assert status == 1 and len(result.hangs) == 1 and result.slow == {}
    assert "made: 2 more took too long and were not tried again: fuzz/replay made run/main/" in capsys.readouterr().out


def test_kept_input_that_hangs_fails_the_run_and_does_not_stop_it(fuzzed, capsys, tmp_path):
    (tmp_path / "regressions").mkdir()
    (tmp_path / "regressions" / "hang-1").write_bytes(b"h")
    _, status = fuzzed()
    assert status == 1
    assert "regressions/hang-1 fails: fuzz: made: takes longer than 1 s of CPU time\n" in capsys.readouterr().out


def test_interrupted_run_says_what_was_not_tried_again(fuzzed, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "try_hangs_again", interrupted)
    _, status = fuzzed(b"h")
    assert status == 130
    assert "made: 1 more took too long and were not tried again: fuzz/replay made run/main/" in capsys.readouterr().out

"""The driver of the fuzz targets beside AFL++: one process for many inputs, and another once it has come to its end."""

import os
import select
import signal
import struct
import subprocess

import pytest
import support

FUZZ = support.ROOT / "fuzz"
FLAGS = (
    "-std=gnu11",
    "-O1",
    "-DFUZZ_AFL",
    f"-I{support.ROOT / 'core'}",
    f"-I{support.ROOT / 'core/include'}",
    f"-I{FUZZ}",
)
HANG_MS = 3000
PATIENCE_MS = 30


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    made = tmp_path_factory.mktemp("driver") / "program"
    sources = (FUZZ / "driver.c", support.ROOT / "tests/native/fuzz_target.c", support.ROOT / "core/reasons.c")
    environment = {**os.environ, "AFL_QUIET": "1", "AFL_LLVM_DENYLIST": str(FUZZ / "afl-denylist")}
    subprocess.run(["afl-clang-fast", *FLAGS, *sources, "-o", made], env=environment, check=True)
    return made


@pytest.fixture(params=["answers itself", "AFL++'s loop"])
def environment(request):
    """What AFL++ is run with. In AFL++'s own loop a run that takes too long is ended by SIGKILL."""
    usual = {**os.environ, "AFL_NO_AFFINITY": "1"}
    return {**usual, "AFL_KILL_SIGNAL": "15"} if request.param == "answers itself" else usual


def edges(program, environment, folder, inputs, patience_ms=HANG_MS):
    """The edges that AFL++ saw of each input, tried one after the other, and what it said."""
    given, seen = folder / "in", folder / "out"
    given.mkdir(parents=True)
    for number, text in enumerate(inputs):
        (given / f"{number:03}").write_text(text)
    command = ["afl-showmap", "-t", str(patience_ms), "-i", given, "-o", seen, "--", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [(seen / f"{number:03}").read_text() for number in range(len(inputs))], done.stdout + done.stderr


def test_an_input_is_told_apart_whatever_was_tried_before(program, environment, tmp_path):
    one, other, *later = edges(program, environment, tmp_path, "ab" + 10 * "ab")[0]
    assert one != other
    assert later == 10 * [one, other]


def test_after_a_crash_and_a_hang_the_next_input_is_tried(program, environment, tmp_path):
    found, told = edges(program, environment, tmp_path, "abcabhab")
    one, other = found[:2]
    assert found[3:5] == found[6:8] == [one, other]
    assert len({one, other, found[2], found[5]}) == 4
    assert told.count("killed by signal") == told.count("timed off") == 1


def test_a_run_that_ends_as_its_time_is_over_is_answered_once(program, environment, tmp_path):
    """Each sleeps for about as long as a run may take. An answer more, or one less, would move all that follow."""
    one, other = edges(program, environment, tmp_path / "reference", "ab")[0]
    inputs = 60 * ["s" + chr(PATIENCE_MS), "a", "b"]
    found, _ = edges(program, environment, tmp_path / "late", inputs, PATIENCE_MS)
    # On a busy machine these may take too long too, and are then no more than the beginning of their edges.
    of_a, of_b = found[1::3], found[2::3]
    assert other not in of_a and one not in of_b
    assert one in of_a and other in of_b


class Fuzzer:
    """Speaks to the program's fork server as AFL++ does: a word for each run that is asked for, and one or two back."""

    ASKED, TOLD = 198, 199

    def __init__(self, program):
        asked, self.ask_end = os.pipe()
        self.told_end, told = os.pipe()
        os.dup2(asked, self.ASKED)
        os.dup2(told, self.TOLD)
        environment = {**os.environ, "AFL_KILL_SIGNAL": "15", "__AFL_DEFER_FORKSRV": "1", "AFL_OLD_FORKSERVER": "1"}
        self.server = subprocess.Popen(
            [program], env=environment, stdin=subprocess.DEVNULL, pass_fds=(self.ASKED, self.TOLD)
        )
        for end in (asked, told, self.ASKED, self.TOLD):
            os.close(end)
        self.hear()  # that it is there

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.ask_end)
        os.close(self.told_end)
        self.server.wait(support.HANG_SECONDS)

    def ask(self, former_was_late=False):
        os.write(self.ask_end, struct.pack("=i", former_was_late))

    def hear(self):
        assert select.select([self.told_end], [], [], support.HANG_SECONDS)[0], "there is no answer"
        return struct.unpack("=i", os.read(self.told_end, 4))[0]


def test_an_end_that_comes_after_the_answer_is_told_apart_by_the_next_request(program):
    with Fuzzer(program) as fuzzer:
        fuzzer.ask()
        child = fuzzer.hear()
        assert [fuzzer.hear(), fuzzer.hear()] == [0, child]
        os.kill(child, signal.SIGTERM)  # meant for the run that has been answered
        for former_was_late in (True, False):
            fuzzer.ask(former_was_late)
            assert [fuzzer.hear(), fuzzer.hear()] == [0, child]
        os.kill(child, signal.SIGTERM)  # meant for the run that is asked for next
        fuzzer.ask()
        assert fuzzer.hear() == 0
        fuzzer.ask()
        another = fuzzer.hear()
        assert another not in (0, child)
        assert [fuzzer.hear(), fuzzer.hear()] == [0, another]

"""The session's thread and the program's file descriptors: with SPPROF_OWN_FILES it takes none of them, for no moment.

Each test has a process of its own, and a library whose every opening of a file is watched.
"""

import ctypes
import os
from pathlib import Path

import pytest
import synthetic
from fresh import check as in_child
from fresh import forked
from test_model_session import PR_SET_NAME, SINK, wait_until
from test_stuck import Stage

OWN_FILES = 1
CPU, WALL = 0, 1
NAME = b"worker of a test"  # what is left of it is its first 15 bytes


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "files.c", "-shared")


class Files(Stage):
    """A session of two threads that are born before it, beside a descriptor of the program's."""

    def __init__(self, path, mode, flags, forbidden=False, sink=None):
        self.files = library = ctypes.CDLL(str(path))
        self.sentinel = os.open("/dev/null", os.O_RDONLY)
        ctypes.c_int.in_dll(library, "sentinel").value = self.sentinel
        ctypes.c_bool.in_dll(library, "forbidden").value = forbidden
        self.counts = [ctypes.c_uint.in_dll(library, name) for name in ("in_the_programs", "in_another")]
        self.mode, self.flags, self.own_sink = mode, flags, sink
        super().__init__(path, sink=True)

    def start(self):
        config = self.world.make_config(self.config, self.threads[0], self.own_sink or self.sink)
        config.mode, config.flags, config.interval = self.mode, self.flags, 1_000_000
        assert self.library.spprof_start(ctypes.byref(config)) == 0
        wait_until(lambda: self.world.stats().threads == len(self.threads))

    def come_and_go(self):
        """One more thread, which lives for a few looks and ends; returns its number."""
        number = self.world.stats().threads
        thread = self.world.birth(NAME)
        wait_until(lambda: self.world.stats().threads == number + 1)
        self.world.unlink(thread)
        thread.worker.end()
        return number

    def name_of(self, number):
        tid, name = ctypes.c_int32(), ctypes.create_string_buffer(16)
        assert self.library.spprof_thread_name(number, ctypes.byref(tid), name)
        return name.value

    @property
    def names_read(self):
        """How many threads' names were read with a descriptor of the program's table."""
        return ctypes.c_uint.in_dll(self.files, "names_in_the_programs").value

    @property
    def opened(self):
        """How many files were opened in the program's table, and in another."""
        return [count.value for count in self.counts]


def names_of_a_session(path, mode, flags):
    stage = Files(path, mode, flags)
    number = stage.come_and_go()
    rename(stage.threads[1])
    assert stage.world.stop() == "ok"
    ours, others = stage.opened
    if flags & OWN_FILES:
        assert (ours, others > 0) == (0, True)
    else:
        assert (ours > 0, others) == (True, 0)
    assert stage.name_of(number) == NAME[:15], "a thread that has ended has no name"
    assert stage.name_of(1) == b"renamed", "a name that a thread was given later was not seen"
    assert os.fstat(stage.sentinel)


def rename(thread):
    """To be known by another name from now on."""
    thread.worker.do(lambda: synthetic.libc.prctl(PR_SET_NAME, b"renamed", 0, 0, 0))


@pytest.mark.parametrize("mode", [CPU, WALL])
@pytest.mark.parametrize("flags", [0, OWN_FILES])
def test_files_are_opened_in_the_programs_table_only_without_the_flag(files, mode, flags):
    in_child(names_of_a_session, files, mode, flags)


def forbidden_table(path, mode):
    stage = Files(path, mode, OWN_FILES, forbidden=True)
    number = stage.come_and_go()
    assert stage.names_read == 0
    assert stage.world.stop() == "ok"
    assert stage.names_read > 0 and stage.opened[1] == 0
    assert stage.name_of(number) == b"", "its name was read while the program ran"
    assert stage.name_of(1) != b""


@pytest.mark.parametrize("mode", [CPU, WALL])
def test_names_are_read_at_the_stop_where_there_can_be_no_such_table(files, mode):
    in_child(forbidden_table, files, mode)


def table_of_the_sessions_thread(path, mode, flags):
    """As the kernel shows the tables of all tasks."""
    before = set(os.listdir("/proc/self/task"))
    stage = Files(path, mode, flags)
    workers = {str(thread.tid) for thread in stage.threads}
    (task,) = set(os.listdir("/proc/self/task")) - before - workers
    wait_until(lambda: bool(os.listdir(f"/proc/self/task/{task}/fd")) != bool(flags & OWN_FILES))
    shown = set(os.listdir(f"/proc/self/task/{min(workers)}/fd"))
    assert str(stage.sentinel) in shown
    assert stage.world.stop() == "ok"


@pytest.mark.parametrize("mode", [CPU, WALL])
@pytest.mark.parametrize("flags", [0, OWN_FILES])
def test_table_is_empty(files, mode, flags):
    """So no file of the program's is kept open by it: whoever reads its pipes sees them end."""
    in_child(table_of_the_sessions_thread, files, mode, flags)


def pipe_that_the_program_closes(path):
    read, write = os.pipe()
    stage = Files(path, CPU, OWN_FILES)
    os.close(write)
    assert os.read(read, 1) == b"", "the session holds the pipe open"
    assert stage.world.stop() == "ok"


def test_files_that_the_program_closes_are_closed(files):
    in_child(pipe_that_the_program_closes, files)


def sink_that_writes(path, flags):
    read, write = os.pipe()
    answers = []

    def sink(_, __):
        try:
            answers.append(os.write(write, b"x"))
        except OSError as error:
            answers.append(error.strerror)

    stage = Files(path, WALL, flags, sink=SINK(sink))
    wait_until(lambda: answers)
    assert stage.world.stop() == "ok"
    written = {answer for answer in answers if answer == 1}
    if flags & OWN_FILES:
        assert not written and "Bad file descriptor" in answers
    else:
        assert written == set(answers)
    os.close(read)


@pytest.mark.parametrize("flags", [0, OWN_FILES])
def test_sink_has_the_programs_files_only_without_the_flag(files, flags):
    in_child(sink_that_writes, files, flags)


def unknown_flag(path):
    stage = Files(path, CPU, OWN_FILES)
    assert stage.world.stop() == "ok"
    config = stage.world.make_config(stage.config, stage.threads[0])
    config.flags = 2
    stage.library.spprof_error.restype = ctypes.c_char_p
    assert stage.library.spprof_start(ctypes.byref(config)) == -22
    assert stage.library.spprof_error() == b"flags are 0x2; only SPPROF_OWN_FILES is known"


def test_flag_that_is_not_known_is_refused(files):
    in_child(unknown_flag, files)


def fork_beside_it(path):
    """A child has the files of the thread that forked, and its session a table of its own again."""
    stage = Files(path, CPU, OWN_FILES)
    first = stage.threads[0]

    def check():
        assert os.fstat(stage.sentinel)
        first.tid = int(Path("/proc/thread-self").readlink().name)
        first.rebuild()
        for thread in stage.world.threads[:]:
            if thread is not first:
                stage.world.unlink(thread)
        stage.threads = [first]
        stage.start()
        assert stage.world.stop() == "ok"
        assert stage.opened[0] == 0

    complaint = first.worker.do(lambda: forked(check))
    assert not complaint, complaint
    assert stage.world.stop() == "ok"
    assert stage.opened[0] == 0


def test_forked_child(files):
    in_child(fork_beside_it, files)

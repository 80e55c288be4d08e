"""A session that was started before any Python frame ran: it learns later where the interpreter's own frames stand.

From the chain of a thread that stands still for certain: it has given up its thread state, and its CPU clock does not
move from before the look at it until after. Wall mode; each test has a process of its own.
"""

import ctypes

import pytest
import synthetic
from fresh import check as in_child
from test_example import program, run, script  # noqa: F401 - a fixture
from test_model_session import NAME, wait_until
from test_stuck import Stage

from model import session

WALL = 1
ENTRY, OTHER = 0x1234_5678, 0x2345_6780


@pytest.fixture(scope="session")
def standing(tmp_path_factory):
    return synthetic.build(tmp_path_factory.mktemp("native"), "standing.c", "-shared")


class Learning(Stage):
    """Two threads: the first, which starts the session, has no frame; the second has a stack."""

    def __init__(self, path, running=False, entry=ENTRY):
        library = ctypes.CDLL(str(path))
        self.running = ctypes.c_bool.in_dll(library, "running")
        self.readings = ctypes.c_uint.in_dll(library, "readings")
        self.running.value = running
        self.entry_at = entry
        super().__init__(path, sink=True)

    def start(self):
        first, second = self.threads
        second.image.push("enter")
        second.image.push("call", 3)
        self.stand_at(self.entry_at)
        config = self.world.make_config(self.config, first, self.sink)
        config.mode, config.interval = WALL, 1_000_000
        assert self.library.spprof_start(ctypes.byref(config)) == 0
        wait_until(lambda: self.world.stats().threads == 2)
        # Its C stack is made up, so the process's memory map does not have it.
        slot = self.slot_of(second)
        slot.watch.stack_low, slot.watch.stack_high = second.arena.base, second.identity

    def stand_at(self, instruction):
        image = self.threads[1].image
        image.put(image.frames[0].address + image.layout.instr_ptr, instruction)

    def attach(self, attached):
        image = self.threads[1].image
        image.put_status(image.layout.bound | image.layout.active * attached)

    def outcomes(self):
        return self.world.stats().outcomes

    def captured_meanwhile(self, looks=5):
        """Whether the second thread's stack is captured in each of the next looks."""
        self.delivered.clear()
        before = self.outcomes().get("owner", 0)
        wait_until(lambda: sum(sample.thread == 1 for sample in self.delivered) >= looks or self.refused_since(before))
        return not self.refused_since(before)

    def refused_since(self, before):
        return self.outcomes().get("owner", 0) > before

    @property
    def learnt(self):
        return self.world.sampler.entry_instr_ptr


def learns_from_a_thread_that_stands(path):
    stage = Learning(path)
    assert stage.learnt == 0
    stage.stand_at(OTHER)
    assert stage.captured_meanwhile(), "nothing can be known yet"
    stage.stand_at(ENTRY)
    stage.attach(False)
    wait_until(lambda: stage.learnt)
    assert stage.learnt == ENTRY
    assert stage.captured_meanwhile()
    stage.stand_at(OTHER)
    assert not stage.captured_meanwhile(), "the check is not in force"
    assert stage.learnt == ENTRY
    stage.stand_at(ENTRY)
    assert stage.captured_meanwhile()
    assert stage.world.stop() == session.OK


def test_check_is_in_force_once_a_thread_has_stood_still(standing):
    in_child(learns_from_a_thread_that_stands, standing)


def does_not_learn(path, running, attached):
    stage = Learning(path, running)
    stage.attach(attached)
    assert stage.captured_meanwhile(20)
    assert stage.learnt == 0
    assert stage.world.stop() == session.OK


@pytest.mark.parametrize(("running", "attached"), [(True, False), (True, True), (False, True)])
def test_nothing_is_learnt_from_a_thread_that_may_run(standing, running, attached):
    """One that has its state may be pushing a frame; one that has none may have had it between two looks at it."""
    in_child(does_not_learn, standing, running, attached)


def has_its_state_again(path):
    stage = Learning(path)
    image = stage.threads[1].image
    ctypes.c_uint32.in_dll(stage.library, "status_then").value = image.layout.bound | image.layout.active
    at = image.subject.state + synthetic.FIELDS[NAME]["thread.status"]
    ctypes.c_size_t.in_dll(stage.library, "status").value = at
    for _ in range(20):
        before = stage.readings.value
        stage.attach(False)
        wait_until(lambda before=before: stage.readings.value >= before + 2)
    assert stage.learnt == 0
    assert stage.world.stop() == session.OK


def test_nothing_is_learnt_from_a_thread_that_has_its_state_again(standing):
    """It may have been switched out in the midst of a push."""
    in_child(has_its_state_again, standing)


def later_session(path):
    stage = Learning(path)
    stage.attach(False)
    wait_until(lambda: stage.learnt)
    assert stage.world.stop() == session.OK
    first, second = stage.threads
    config = stage.world.make_config(stage.config, second, stage.sink)
    config.mode, config.interval = WALL, 1_000_000
    assert stage.library.spprof_start(ctypes.byref(config)) == 0
    assert stage.learnt == ENTRY, "a starter that has frames knows at once"
    assert stage.world.stop() == session.OK


def test_starter_with_frames_knows_at_once(standing):
    in_child(later_session, standing)


# --- a real interpreter ----------------------------------------------------------------------------------------------

OFFSET = synthetic.Sampler.entry_instr_ptr.offset

# Prints what the session knows at first, after a wait, and what a session that is started with frames knows.
PROGRAM = f"""
import ctypes, time
here = ctypes.CDLL(None)
def known():
    return ctypes.c_size_t.from_address(ctypes.addressof(ctypes.c_char.in_dll(here, "sampler")) + {OFFSET}).value
until = time.monotonic() + 60
while not known() and time.monotonic() < until:
    time.sleep(0.005)
learnt = known()
here.spprof_stop()
class Config(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("interval", ctypes.c_uint64), ("numbers", ctypes.c_uint32 * 2),
                ("pointers", ctypes.c_void_p * 6), ("mode", ctypes.c_int), ("flags", ctypes.c_uint64)]
config = Config(size=ctypes.sizeof(Config), interval=1_000_000, mode=1)
ctypes.pythonapi.PyThreadState_Get.restype = ctypes.c_void_p
config.pointers[2] = ctypes.pythonapi.PyThreadState_Get()
here.spprof_error.restype = ctypes.c_char_p
assert here.spprof_start(ctypes.byref(config)) == 0, here.spprof_error()
print("learnt" if learnt and learnt == known() else f"{{learnt:#x}}, {{known():#x}}")
time.sleep(0.1)
"""


def test_embedded_interpreter(program, tmp_path):  # noqa: F811
    """The example starts its session before its script, in wall mode where it is told to."""
    report = run(program, "--wall", script(tmp_path, PROGRAM))
    assert report.status == 0, report.errors
    assert report.output.startswith("learnt\n"), report.output
    assert report.outcomes["captured"] > 0 and "owner" not in report.outcomes


def test_option_of_the_example_is_not_the_scripts(program, tmp_path):  # noqa: F811
    report = run(program, "--wall", script(tmp_path, "import sys; print(sys.argv[1:])"), "--wall", "a")
    assert report.status == 0 and "['--wall', 'a']\n" in report.output

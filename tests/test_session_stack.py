"""Threads whose C stack a session does not find when they are born: it looks for it again, with no file of the program's.

Wall mode, where a thread that stands is looked at from outside. Each test has a process of its own.
"""

import ctypes
import time

import pytest
from fresh import check as in_child
from model_image import EXTENT
from test_descriptors import OWN_FILES, WALL, Files, files  # noqa: F401 - a fixture
from test_model_session import wait_until
from test_monitor import SOUGHT_APART


class Unplaced(Files):
    """A session, and a thread that was born in it while no mappings could be read."""

    def __init__(self, path, flags=OWN_FILES, forbidden=False, hidden=True):
        super().__init__(path, WALL, flags, forbidden)
        self.hide_maps(hidden)
        self.born = time.monotonic_ns()
        # A descriptor just past the made-up stack, as libc has it.
        self.world.identities = iter([self.world.arenas[len(self.threads)].base + EXTENT])
        self.thread = self.world.birth()
        wait_until(lambda: self.world.stats().threads == 3)
        self.slot = self.slot_of(self.thread)
        self.thread.image.push("enter")
        self.thread.image.push("call", 3)

    def hide_maps(self, hidden):
        ctypes.c_bool.in_dll(self.files, "no_proc").value = hidden

    def count(self, reason):
        return self.world.stats().outcomes.get(reason, 0)

    def is_captured(self):
        return any(sample.thread == 2 and len(sample.frames) == 1 for sample in self.delivered)

    def wait_for_unplaced_looks(self):
        """For longer than two searches are apart."""
        until, before = time.monotonic_ns() + SOUGHT_APART * 6 // 5, self.count("stack_unknown")
        wait_until(lambda: time.monotonic_ns() > until and self.count("stack_unknown") > before)


def found_later(path, flags):
    stage = Unplaced(path, flags)
    stage.wait_for_unplaced_looks()
    assert not stage.is_captured() and stage.slot.watch.stack_high == 0
    stage.hide_maps(False)
    wait_until(stage.is_captured)
    unknown = stage.count("stack_unknown")
    assert stage.slot.watch.stack_high == stage.thread.identity
    assert (stage.slot.stack_low, stage.slot.stack_high) == (0, 0), "a handler may be reading them"
    assert stage.world.stop() == "ok"
    assert (stage.count("stack_unknown"), stage.count("bounds")) == (unknown, 0)
    assert stage.opened[0] == 0 or not flags & OWN_FILES


@pytest.mark.parametrize("flags", [0, OWN_FILES])
def test_stack_is_found_later(files, flags):  # noqa: F811
    in_child(found_later, files, flags)


def found_at_once(path):
    stage = Unplaced(path, hidden=False)
    wait_until(stage.is_captured)
    watch = stage.slot.watch
    assert (watch.stack_low, watch.stack_high) == (stage.slot.stack_low, stage.thread.identity)
    assert stage.world.stop() == "ok"
    assert stage.count("stack_unknown") == 0


def test_stack_that_is_found_at_birth_is_known_to_every_look(files):  # noqa: F811
    in_child(found_at_once, files)


def no_table_of_its_own(path):
    stage = Unplaced(path, forbidden=True)
    before = stage.opened
    stage.wait_for_unplaced_looks()
    assert stage.opened == before
    assert stage.slot.watch.sought_at >= stage.born, "when it was born is not when it was looked for"
    assert stage.world.stop() == "ok"


def test_stack_is_not_looked_for_again_with_the_programs_descriptors(files):  # noqa: F811
    """The program was promised that the session takes none."""
    in_child(no_table_of_its_own, files)


def in_a_pause(path, flags):
    stage = Unplaced(path, flags)
    assert stage.library.spprof_pause() == 0
    stage.hide_maps(False)
    before = stage.opened
    stage.wait_for_unplaced_looks()
    assert stage.opened == before
    assert stage.library.spprof_resume() == 0
    wait_until(stage.is_captured)
    assert stage.world.stop() == "ok"


@pytest.mark.parametrize("flags", [0, OWN_FILES])
def test_stack_is_not_looked_for_by_who_looks_in_a_pause(files, flags):  # noqa: F811
    """It is a thread of the program's, in the midst of a call."""
    in_child(in_a_pause, files, flags)

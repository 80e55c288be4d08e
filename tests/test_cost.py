"""What a walk costs, in machine instructions: the one measure that repeats exactly on a shared machine."""

import ctypes
import platform

import pytest
import synthetic

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the trap flag is x86-64's")

DEPTH = 20


class Counted:
    """The core's library, with the instructions of each walk counted."""

    def __init__(self, harness, counter):
        self.harness = harness
        self.counter = counter
        self.instructions = None

    def walk_thread(self, walk):
        function = ctypes.c_void_p(synthetic.address_of(self.harness.walk_thread))
        self.instructions = self.counter.count_instructions(function, walk)
        return self.harness.walk_thread(walk)


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    made = synthetic.build(tmp_path_factory.mktemp("steps"), "steps.c", "-shared", "-mno-red-zone")
    library = ctypes.CDLL(str(made))
    library.count_instructions.restype = ctypes.c_long
    return library


def instructions_of_a_walk(counter, harness, name):
    image = synthetic.Image(name)
    image.enter()
    for _ in range(DEPTH):
        image.call(image.code())
    counted = Counted(harness, counter)
    assert image.walk(counted) == image.whole()
    return counted.instructions


@pytest.mark.parametrize("version", ["3.13", "3.14"])
def test_a_free_threaded_walk_costs_at_most_twice_one_with_the_gil(counter, harness, version, record_property):
    with_gil = instructions_of_a_walk(counter, harness, version)
    free_threaded = instructions_of_a_walk(counter, harness, version + "t")
    record_property("instructions", f"{free_threaded} to {with_gil}")
    print(f"{version}: {free_threaded} instructions for {DEPTH} frames free-threaded, {with_gil} with the GIL")
    assert with_gil > 10 * DEPTH, "the walk was not counted"
    assert free_threaded <= 2 * with_gil

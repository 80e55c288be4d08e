"""What a walk costs, in machine instructions: the one measure that repeats exactly on a shared machine.

`ninja truth` measures the same in time, on a real interpreter's stack."""

import ctypes
import platform
import sys

import pytest
import support
import synthetic
from synthetic import REASONS

sys.path.insert(0, str(support.ROOT / "fuzz"))

import resolve

from stress.interpreters import FREE_THREADED

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
        self.instructions = self.counter.count_instructions(function, walk, None, 0)
        return self.harness.walk_thread(walk)


class Target(ctypes.Structure):
    """`struct walker_target` of stress/walker.h."""

    _fields_ = [
        ("layout", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("code_type", "thread_state", "tid", "stack_low", "stack_high")),
    ]


class Seed:
    """The plain seed walk, counted likewise, of an image that the core walks."""

    def __init__(self, counter):
        self.counter = counter
        self.library = ctypes.CDLL(str(support.BUILD / "stress" / "seed_walker.so"))
        self.instructions = None

    def walk_thread(self, reference):
        walk = reference._obj
        target = Target(
            ctypes.addressof(walk.layout.contents),
            walk.code_type,
            walk.thread_state,
            walk.tid,
            walk.stack_low,
            walk.stack_high,
        )
        room = (ctypes.c_uint64 * 2 * 64)()
        function = ctypes.c_void_p(synthetic.address_of(self.library.walker_walk))
        self.instructions = self.counter.count_instructions(function, ctypes.byref(target), room, 64)
        assert self.library.walker_walk(ctypes.byref(target), room, 64) == DEPTH
        return REASONS.index("captured")


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    made = synthetic.build(tmp_path_factory.mktemp("steps"), "steps.c", "-shared", "-mno-red-zone")
    library = ctypes.CDLL(str(made))
    library.count_instructions.restype = ctypes.c_long
    return library


class Death(ctypes.Structure):
    _fields_ = [("die", ctypes.c_void_p), ("names", ctypes.c_void_p)]


def test_a_death_takes_as_long_whatever_lives_its_address_has_had(counter, harness):
    """Each of which a sample means, so none is forgotten. A program that makes code all the time has them."""
    harness.codes_new.restype = ctypes.c_void_p
    harness.codes_identify.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    harness.codes_died.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    harness.codes_free.argtypes = [ctypes.c_void_p]
    generation = ctypes.c_uint64.in_dll(counter, "generation")
    codes, code = ctypes.c_void_p(harness.codes_new()), ctypes.c_void_p(0x7F00_0000_1000)
    death = Death(*(synthetic.address_of(function) for function in (counter.next_generation, counter.no_names)))
    function = ctypes.c_void_p(synthetic.address_of(harness.codes_died))
    counted = {}
    for lives in 1000, 100_000:
        while generation.value < lives:
            assert harness.codes_identify(codes, code.value, generation.value) == generation.value
            assert harness.codes_died(codes, code, ctypes.byref(death))
        harness.codes_identify(codes, code.value, generation.value)
        counter.count_instructions(function, codes, code, ctypes.c_long(ctypes.addressof(death)))
        harness.codes_identify(codes, code.value, generation.value)
        counted[lives] = counter.count_instructions(function, codes, code, ctypes.c_long(ctypes.addressof(death)))
        assert generation.value == lives + 2
    harness.codes_free(codes)
    print(f"a death takes {counted[1000]} instructions after 1,000 at its address, {counted[100_000]} after 100,000")
    assert 20 < counted[1000] <= counted[100_000] <= counted[1000] + 20


def test_a_stack_seen_lately_is_kept_in_few_instructions(counter, harness):
    """Whatever takes samples out of the rings has to keep up with all threads at once. A stack is seen lately where another
    came in between."""
    core = resolve.load(harness._name)
    codes = core.codes_new()
    kept = core.recording_new(codes, resolve.Config(apart=1, most=1 << 40, form=resolve.TIMELINE))
    function = ctypes.c_void_p(synthetic.address_of(core.recording_add))
    counted = {}
    for depth in 20, 100:
        stacks = []
        for other in range(2):
            frames = (resolve.Frame * depth)(
                *(resolve.Frame(0x7F00_0000_0000 + 64 * at, 0, other) for at in range(depth))
            )
            stacks.append(resolve.Sample(0, 0, 1, 1, 0, depth, frames))
        first = counter.count_instructions(function, kept, ctypes.byref(stacks[0]), 0)
        core.recording_add(kept, stacks[1])
        counted[depth] = counter.count_instructions(function, kept, ctypes.byref(stacks[0]), 0)
        print(f"{depth} frames: {first} instructions when met first, {counted[depth]} when seen lately")
        assert first > 100 * depth, "nothing was counted"
    core.recording_free(kept)
    core.codes_free(codes)
    assert 5 < (counted[100] - counted[20]) / 80 <= 70


def deep_image(name):
    image = synthetic.Image(name)
    image.enter()
    for _ in range(DEPTH):
        image.call(image.code())
    return image


def instructions_of_a_walk(counter, harness, name):
    image, counted = deep_image(name), Counted(harness, counter)
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


@pytest.mark.parametrize("name", FREE_THREADED)
def test_a_look_from_outside_takes_fewer_instructions_than_the_seed_walk(counter, harness, name):
    """Compilers differ, and with them the numbers, by less than is between the two."""
    support.ninja("build/stress/seed_walker.so")
    look, seed = instructions_of_a_walk(counter, harness, name), Seed(counter)
    deep_image(name).walk(seed)
    print(f"{name}: {look} instructions for a look at {DEPTH} frames, {seed.instructions} of the seed walk")
    assert seed.instructions > 50 * DEPTH, "the walk was not counted"
    assert look <= seed.instructions

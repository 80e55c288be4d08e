"""The table of code objects: one number for one object, through death, reuse of addresses and forgetting."""

import ctypes
import sys
from ctypes import c_bool, c_int32, c_size_t, c_uint64, c_void_p

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(support.ROOT / "fuzz"))

from resolve import NAME, Names, owned

DIE = ctypes.CFUNCTYPE(c_uint64, c_void_p)


class Death(ctypes.Structure):
    _fields_ = [("die", DIE), ("names", NAME)]


class World:
    """Objects that are born and die at a few addresses, and the table that is told of it."""

    def __init__(self, library):
        self.library = library
        library.codes_new.restype = c_void_p
        library.codes_free.argtypes = library.codes_count.argtypes = [c_void_p]
        library.codes_identify.argtypes = [c_void_p, c_uint64, c_uint64]
        library.codes_died.argtypes = [c_void_p, c_void_p, ctypes.POINTER(Death)]
        library.codes_died.restype = c_bool
        library.codes_caught_up.argtypes = [c_void_p, c_uint64]
        library.codes_name_living.argtypes = [c_void_p, NAME]
        library.codes_get.argtypes = [c_void_p, c_int32]
        library.codes_get.restype = ctypes.POINTER(Names)
        self.codes = library.codes_new()
        self.generation = 0
        self.present = {}  # address: the name of the object there
        self.nameable = True
        self.asked = []  # names that were taken, in order
        self._death, self._name = Death(DIE(self._on_die), NAME(self._on_names)), NAME(self._on_names)

    def _on_die(self, _):
        self.generation += 1
        return self.generation

    def _on_names(self, code, names):
        if not self.nameable:
            return False
        name = self.name_at(code)
        self.asked.append(name)
        data = name.encode()
        names[0] = Names(owned(data), owned(data + b".py"), owned(data + b"\0lines"), len(data))
        return True

    def name_at(self, address):
        return self.present.setdefault(address, f"{address:#x} of generation {self.generation}")

    def identify(self, address, generation=None):
        return self.library.codes_identify(self.codes, address, self.generation if generation is None else generation)

    def die(self, address):
        self.name_at(address)
        done = self.library.codes_died(self.codes, address, ctypes.byref(self._death))
        del self.present[address]
        return done

    def caught_up(self, generation=None):
        self.library.codes_caught_up(self.codes, self.generation if generation is None else generation)

    def name_living(self):
        self.library.codes_name_living(self.codes, self._name)

    def names(self, number):
        found = self.library.codes_get(self.codes, number)
        if not found:
            return None
        names = found.contents
        qualname = ctypes.string_at(names.qualname.bytes, names.qualname.length)
        assert ctypes.string_at(names.filename.bytes, names.filename.length) == qualname + b".py"
        assert ctypes.string_at(names.linetable.bytes, names.linetable.length) == qualname + b"\0lines"
        assert names.first_line == len(qualname)
        return qualname.decode()

    @property
    def count(self):
        return self.library.codes_count(self.codes)

    def close(self):
        self.library.codes_free(self.codes)


@pytest.fixture
def world(harness):
    made = World(harness)
    yield made
    made.close()


HERE, THERE = 0x7F00_0000_1000, 0x7F00_0000_2000


def test_one_number_for_one_object(world):
    first, second = world.identify(HERE), world.identify(THERE)
    assert first != second
    assert [world.identify(HERE), world.identify(THERE)] == [first, second]
    assert world.count == 2


def test_living_objects_are_named_once(world):
    number = world.identify(HERE)
    assert world.names(number) is None
    world.name_living()
    world.name_living()
    assert world.names(number) == world.name_at(HERE)
    assert world.asked == [world.name_at(HERE)]


def test_object_that_died_and_the_next_at_its_address(world):
    first = world.identify(HERE)
    name, generation = world.name_at(HERE), world.generation
    assert world.die(HERE)
    assert world.names(first) == name
    second = world.identify(HERE)
    assert second != first
    assert world.identify(HERE, generation) == first
    world.name_living()
    assert world.names(second) == world.name_at(HERE) != name
    assert world.names(first) == name


def test_samples_that_come_after_the_death(world):
    """Captured before, drained after: found by their generation."""
    name = world.name_at(HERE)
    assert world.die(HERE)
    late = world.identify(HERE, 0)
    assert world.names(late) == name
    assert world.identify(HERE) != late


def test_generation_of_the_death_itself_means_the_next_object(world):
    assert world.die(HERE)
    assert world.identify(HERE, 0) != world.identify(HERE, 1)


def test_many_lives_of_one_address(world):
    lives = []
    for generation in range(20):
        lives.append(world.name_at(HERE))
        assert world.die(HERE)
        assert world.generation == generation + 1
    numbers = [world.identify(HERE, generation) for generation in range(20)]
    assert len(set(numbers)) == 20
    assert [world.names(number) for number in numbers] == lives


def test_deaths_elsewhere_change_nothing(world):
    number = world.identify(HERE)
    for _ in range(5):
        world.die(THERE)
    assert world.identify(HERE) == world.identify(HERE, 0) == number


def test_dead_without_samples_are_forgotten_when_all_caught_up(world):
    for _ in range(100):
        world.die(HERE)
        world.caught_up()
    assert world.count == 1


def test_dead_are_kept_until_samples_of_their_time_are_in(world):
    name = world.name_at(HERE)
    world.die(HERE)
    world.caught_up(0)
    assert world.names(world.identify(HERE, 0)) == name


def test_forgotten_means_forgotten(world):
    world.die(HERE)
    world.caught_up(1)
    assert world.names(world.identify(HERE, 0)) is None


def test_dead_with_samples_are_never_forgotten(world):
    name, number = world.name_at(HERE), world.identify(HERE)
    world.die(HERE)
    for _ in range(3):
        world.caught_up()
    assert world.names(number) == name


def test_used_while_it_waits_to_be_forgotten(world):
    name = world.name_at(HERE)
    world.die(HERE)
    number = world.identify(HERE, 0)
    world.caught_up()
    assert world.names(number) == name


def test_names_that_cannot_be_had(world):
    number = world.identify(HERE)
    world.nameable = False
    assert not world.die(HERE)
    world.name_living()
    assert world.names(number) is None
    assert world.generation == 1  # told of all the same


def test_more_objects_than_the_table_began_with(world):
    addresses = [0x10000 + 16 * n for n in range(10_000)]
    numbers = [world.identify(address) for address in addresses]
    assert len(set(numbers)) == len(addresses)
    assert [world.identify(address) for address in addresses] == numbers


def test_growth_while_some_are_forgotten(world):
    """Entries on the free list have no place among the buckets."""
    kept = [world.identify(0x10000 + 16 * n) for n in range(4000)]
    for n in range(90):
        world.die(0x900000 + 16 * n)
    world.caught_up()
    more = [world.identify(0x20_0000 + 16 * n) for n in range(6000)]
    assert len({*kept, *more}) == 10_000
    assert [world.identify(0x10000 + 16 * n) for n in range(4000)] == kept


def test_lives_whose_numbers_are_not_in_the_order_of_birth(world):
    """A life that took the number of a forgotten object, seen again after the table has grown."""
    world.die(THERE)
    first = world.identify(HERE)
    world.caught_up()
    world.die(HERE)
    second = world.identify(HERE)
    world.die(HERE)
    assert second < first
    for n in range(10_000):
        world.identify(0x10000 + 16 * n)
    assert [world.identify(HERE, generation) for generation in (1, 2)] == [first, second]


def sharing_a_bucket(count):
    """Addresses that the table of 4096 buckets keeps in one."""

    def bucket(address):
        return ((address >> 4) * 0x9E37_79B9_7F4A_7C15 & (1 << 64) - 1) >> 32 & 4095

    found = [a for a in range(0x10000, 0x10000 + (count * 2 * 4096 << 4), 16) if bucket(a) == bucket(0x10000)]
    return found[:count]


def test_addresses_that_share_a_bucket(world):
    """Each has lives of its own, and a new one hides no other address."""
    addresses = sharing_a_bucket(4)
    assert len(addresses) == 4
    lives = {}
    for _ in range(3):
        for address in addresses:
            lives[address, world.generation] = world.identify(address)
        for address in addresses:
            assert world.die(address)
    assert len(set(lives.values())) == 12
    for (address, generation), number in lives.items():
        assert world.identify(address, generation) == number


@pytest.mark.parametrize("kept", range(4))
def test_lives_are_forgotten_in_any_order(world, kept):
    """Of four lives of each address all but one, the newest or the oldest among them; others of its bucket stay found, and
    all do when the table has grown."""
    addresses = sharing_a_bucket(3)
    numbers = {}
    for life in range(4):
        for place, address in enumerate(addresses):
            if life == (kept + place) % 4:
                numbers[address, world.generation] = world.identify(address)
            assert world.die(address)
    world.caught_up()

    def are_found():
        for (address, generation), number in numbers.items():
            assert world.identify(address, generation) == number

    are_found()
    for n in range(5000):
        world.identify(0x900_0000 + 16 * n)
    are_found()
    fresh = [world.identify(address) for address in addresses]
    assert not set(fresh) & set(numbers.values())
    for address in addresses:
        assert world.die(address)
    are_found()


def test_freeing_names(harness):
    names = Names(owned(b"a"), owned(b"b"), owned(b"c"), 3)
    harness.code_names_free(ctypes.byref(names))
    assert bytes(names) == bytes(ctypes.sizeof(Names))
    harness.code_names_free(ctypes.byref(names))
    harness.codes_free(c_void_p(None))


def test_pages_that_grow_keep_what_they_held(harness):
    harness.pages_grow.restype = c_void_p
    harness.pages_grow.argtypes = [c_void_p, c_size_t, c_size_t]
    harness.pages_free.argtypes = [c_void_p, c_size_t]
    held_before = bytes(range(256)) * 20
    memory = harness.pages_grow(None, 0, len(held_before))
    assert ctypes.string_at(memory, len(held_before)) == bytes(len(held_before))
    ctypes.memmove(memory, held_before, len(held_before))
    grown = harness.pages_grow(memory, len(held_before), 3 * len(held_before))
    assert ctypes.string_at(grown, 3 * len(held_before)) == held_before + bytes(2 * len(held_before))
    assert harness.pages_grow(grown, 3 * len(held_before), 1 << 62) is None
    assert ctypes.string_at(grown, len(held_before)) == held_before
    harness.pages_free(grown, 3 * len(held_before))
    harness.pages_free(None, 0)


ADDRESS = st.sampled_from([HERE, THERE, HERE + 16, HERE + (4096 << 4)])
STEP = st.one_of(
    st.tuples(st.just("sample"), ADDRESS),
    st.tuples(st.just("die"), ADDRESS),
    st.tuples(st.just("drain"), st.integers(0, 5)),
    st.tuples(st.just("catch up"), st.none()),
)


@given(st.lists(STEP, max_size=50))
def test_against_a_model(harness, steps):
    """Samples wait in a queue, as in rings, while objects die and are born. The model knows which object each meant."""
    world, queue, meant = World(harness), [], {}

    def drain(count):
        for _ in range(min(count, len(queue))):
            address, generation, name = queue.pop(0)
            assert meant.setdefault(name, world.identify(address, generation)) == world.identify(address, generation)

    for step, argument in steps:
        if step == "sample":
            queue.append((argument, world.generation, world.name_at(argument)))
        elif step == "die":
            assert world.die(argument)
        elif step == "drain":
            drain(argument)
        else:
            world.caught_up(queue[0][1] if queue else world.generation)
    drain(len(queue))
    world.name_living()
    assert len(set(meant.values())) == len(meant)
    assert {name: world.names(number) for name, number in meant.items()} == {name: name for name in meant}
    world.caught_up()
    assert {name: world.names(number) for name, number in meant.items()} == {name: name for name in meant}
    world.close()

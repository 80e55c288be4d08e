"""The walk: core and model give the same verdict on every chain, sound or spoilt, and read the same on the way."""

import ctypes
import functools
import itertools
from collections import Counter

import model_image
import pytest
import synthetic
from hypothesis import event, given
from hypothesis import strategies as st
from model_image import BASE, DAMAGE, EXTENT, PAGE, Case, Image, Tape
from profiles import examples, must_reach

from model import OUTCOMES, walker

# Not of a walk, but of what a session makes of it: test_model_session.py reaches these.
OF_THE_SESSION = {"ring_full", "busy", "throttled", "no_memory"}
ROOM = 64  # frames noted for a second look


@functools.cache
def layout_of(name):
    return synthetic.make_layout(name)


class Core:
    """The core's walk of a subject, read from a tape, or without one from the process's own memory."""

    def __init__(self, library, image, tape=None):
        self.library, subject = library, image.subject
        self.frames = (synthetic.WalkFrame * subject.max_depth)()
        # The core keeps a frame's caller as the next look's frame, so it needs one more.
        self.looks = (synthetic.Look * (subject.looks_room + 1 if subject.looks_room else 0))()
        self.function = synthetic.READ_FUNCTION(functools.partial(self._read, tape)) if tape else None
        self.walk = synthetic.Walk(
            layout=ctypes.pointer(layout_of(image.name)),
            reader=synthetic.Reader(through=synthetic.address_of(self.function) if tape else None),
            code_type=subject.code_type,
            thread_state=subject.state,
            tid=subject.tid,
            stack_low=subject.stack_low,
            stack_high=subject.stack_high,
            frames=self.frames,
            max_depth=subject.max_depth,
            entry_instr_ptr=subject.entry_instr_ptr,
            looks=ctypes.addressof(self.looks),
            looks_room=len(self.looks),
        )

    @staticmethod
    def _read(tape, _, address, size, value):
        found = tape.read(address, size)
        if found is not None:
            value[0] = found
        return found is not None

    def verdict(self, number):
        outcome = OUTCOMES[number]
        if outcome != "captured":
            return walker.Verdict(outcome)
        frames = tuple((frame.code, frame.instruction, frame.first_line) for frame in self.frames[: self.walk.depth])
        looks = tuple(
            walker.Look(look.frame, following.frame, look.executable, look.instr_ptr)
            for look, following in itertools.pairwise(self.looks[: self.walk.looks_count + 1])
        )
        flags = self.walk.flags
        assert flags < 4
        return walker.Verdict(outcome, frames, bool(flags & 1), bool(flags & 2), looks)

    def look(self):
        return self.verdict(self.library.walk_thread(ctypes.byref(self.walk)))

    def confirm(self):
        return self.verdict(self.library.walk_confirm(ctypes.byref(self.walk)))

    def observe(self):
        observer = synthetic.Observer(ctypes.addressof(self.looks), len(self.looks), 0)
        verdict = self.verdict(self.library.observe_thread(ctypes.byref(observer), ctypes.byref(self.walk)))
        met = Counter({name: count for name, count in zip(OUTCOMES, observer.met, strict=True) if count})
        return verdict, observer.generation, met


def compare_walks(library, case, most=5_000):
    """The verdict that both give."""
    ours, theirs = (Tape(case.image.memory, case.writes, most) for _ in range(2))
    expected = walker.walk(case.image.subject, ours.read)
    found = Core(library, case.image, theirs).look()
    assert found == expected
    assert theirs.reads == ours.reads
    return expected


def run(cases, times, body):
    """Tries `body` with each case; how often it came to which outcome."""
    reached = Counter()

    @examples(times)
    @given(cases)
    def each(case):
        outcome = body(case)
        event(outcome)
        reached[outcome] += 1

    each()
    return reached


# --- one walk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGE)
def test_core_and_model_agree(harness, name):
    """And each kind of damage comes to the outcomes that it is there for."""
    cases, outcomes = DAMAGE[name]
    reached = run(cases, 2, lambda case: compare_walks(harness, case).outcome)
    must_reach(outcomes, reached)


def test_every_outcome_of_a_walk_has_a_kind_of_damage():
    claimed = frozenset().union(*(outcomes for _, outcomes in DAMAGE.values()))
    assert claimed == set(OUTCOMES) - OF_THE_SESSION - {"torn"}  # which takes a second look


def test_sound_chain_is_found_as_it_was_pushed(harness):
    """The image's own word for it: here core and model could not be wrong together."""

    def body(image):
        verdict = compare_walks(harness, Case(image))
        assert verdict == walker.Verdict("captured", image.whole())
        return verdict.outcome

    assert run(model_image.images(), 2, body)


def test_chain_that_comes_back_is_never_taken_for_a_whole_one(harness):
    """A circle is a circle whatever the way it is noticed: nothing is captured that met an address twice."""
    tapes = []

    def body(case):
        tape = Tape(case.image.memory)
        verdict = walker.walk(case.image.subject, tape.read)
        tapes.append(tape)
        if verdict.outcome == "captured":
            owners = [address for address, size in tape.reads if size == 1]
            assert len(owners) == len(set(owners))
        return verdict.outcome

    for name in ("self_loop", "circle_of_frames", "circle_of_generators", "hop", "any_word"):
        run(DAMAGE[name][0], 0.5, body)
    assert tapes


@pytest.mark.parametrize(("count", "truncated"), [(65_535, False), (65_536, True)])
def test_walk_ends_after_65536_frames(harness, count, truncated):
    """The first entry frame is one of them; a walk that reaches the root with its last step is whole."""
    image = Image("3.14")
    image.push("enter")
    code = image.code()
    size = image.layout.frame_size
    area, caller = BASE + EXTENT + PAGE, image.innermost
    image.memory.map(area, size * (count + 1))
    image.put(area + image.layout.chunk_size, 24 + size * count)
    image.put(image.subject.state + image.layout.datastack_chunk, area)
    for number in range(count):
        frame = area + 24 + size * number
        image.write_frame(frame, 0, caller, code, 1)
        caller = frame
    image.put(image.links()[0], caller)
    image.set(max_depth=65_600)
    verdict = compare_walks(harness, Case(image), most=1_000_000)
    assert (verdict.outcome, verdict.truncated) == ("captured", truncated)
    assert len(verdict.frames) == (65_536 if truncated else count)


@pytest.mark.parametrize(("count", "outcome"), [(65_536, "captured"), (65_537, "bounds")])
def test_walk_ends_after_65536_chunks(harness, count, outcome):
    """The frame lies in the oldest."""
    image = Image("3.14")
    image.push("enter")
    image.push("call", 3)
    newest = image.chunks[0]
    first = newest + model_image.CHUNK_ROOM
    image.memory.map(first, 24 * count)
    for number in range(count - 1):
        chunk = first + 24 * number
        image.put(chunk, newest)
        image.put(chunk + 8, 24)
        newest = chunk
    image.put(image.subject.state + image.layout.datastack_chunk, newest)
    assert compare_walks(harness, Case(image), most=1_000_000).outcome == outcome


# --- the process's own memory -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arena():
    made = model_image.Arena(BASE, EXTENT)
    yield made
    made.close()


# Those that change while they are read, or lie where nothing can be mapped, need a tape.
ON_TAPE_ALONE = {"writes_during_the_walk", "pop_during_the_walk", "chunk_at_the_end_of_user_space"}


@pytest.mark.parametrize("name", sorted(set(DAMAGE) - ON_TAPE_ALONE))
def test_guarded_loads_come_to_the_same(harness, arena, name):
    """Without a tape: the other copy of the walk, real pages that are missing, the real fault handler."""

    def body(case):
        arena.fill(case.image.memory)
        expected = walker.walk(case.image.subject, Tape(case.image.memory).read)
        assert Core(harness, case.image).look() == expected
        return expected.outcome

    with synthetic.fault_handler(harness):
        assert run(DAMAGE[name][0], 0.15, body)


# --- the second look ----------------------------------------------------------------------------------------


@st.composite
def two_looks(draw):
    """A chain, what is written before the second look, and what is written while either goes on."""
    image = draw(model_image.images(needs=draw(st.sampled_from([(), ("call",), ("resume",), ("hidden",), ("enter",)]))))
    room = draw(st.sampled_from([ROOM, ROOM, 0, 1, 3]))
    known = draw(st.booleans())
    for frame in image.of_kind("enter"):
        image.put(frame.address + image.layout.instr_ptr, 0x1234560)
    image.set(looks_room=room, entry_instr_ptr=0x1234560 * known, max_depth=draw(st.sampled_from([1024, 1024, 1, 2])))
    if draw(st.integers(0, 5)) == 0:
        image.put_status(image.layout.bound)
    reads = model_image.reads_of(image)
    writes = draw(model_image.schedules(image, reads, most=3))
    between = [(address, value) for _, address, value in draw(model_image.schedules(image, reads, most=2))]
    if image.frames[-1].shown and draw(st.booleans()):  # the innermost frame moves on
        top = image.frames[-1].address + image.layout.instr_ptr
        between.append((top, image.get(top) + 2 * draw(st.integers(-8, 8))))
    lost = draw(st.none() | st.sampled_from(reads)) if draw(st.integers(0, 3)) == 0 else None
    return Case(image, tuple(writes)), between, lost


def change(tape, between, lost):
    for address, value in between:
        tape.memory.put(address, value)
    if lost is not None:
        tape.memory.pages.discard(lost[0] // PAGE)


def test_second_look(harness):
    """What both make of a stack that is read twice, and may change at any read and between the looks."""

    def body(drawn):
        case, between, lost = drawn
        ours, theirs = Tape(case.image.memory, case.writes), Tape(case.image.memory, case.writes)
        first = walker.walk(case.image.subject, ours.read)
        core = Core(harness, case.image, theirs)
        assert core.look() == first
        if first.outcome != "captured":
            return "dropped before"
        change(ours, between, lost)
        change(theirs, between, lost)
        second = walker.confirm(case.image.subject, ours.read, first)
        assert core.confirm() == second
        assert theirs.reads == ours.reads
        return "moved on" if second.outcome == "captured" and second.frames != first.frames else second.outcome

    reached = run(two_looks(), 5, body)
    must_reach({"captured", "moved on", "torn", "fault", "code_range", "detached", "dropped before"}, reached)


@st.composite
def observations(draw):
    """Writes at any read, and deaths: at some reads, or at each."""
    (case, _, _) = draw(two_looks())
    deaths = draw(st.sampled_from([(), (), (1,), (2, 40), "always"]))
    return case, deaths


class Deaths:
    """Code objects that die after some reads of a tape, or after each."""

    def __init__(self, tape, when, died):
        self.tape, self.when, self.died = tape, when, died

    def read(self, address, size):
        value = self.tape.read(address, size)
        if self.when == "always" or len(self.tape.reads) in self.when:
            self.died()
        return value

    @property
    def reads(self):
        return self.tape.reads


def test_observation(harness):
    """Attempts, retries and deaths of code objects."""
    harness.spprof_code_died.argtypes = [ctypes.c_void_p]
    harness.spprof_code_died.restype = ctypes.c_uint64

    def body(drawn):
        case, when = drawn
        count = [harness.spprof_code_died(None)]

        def died():
            count[0] += 1

        ours = Deaths(Tape(case.image.memory, case.writes), when, died)
        theirs = Deaths(Tape(case.image.memory, case.writes), when, lambda: harness.spprof_code_died(None))
        expected = walker.observe(case.image.subject, ours.read, lambda: count[0])
        found = Core(harness, case.image, theirs).observe()
        assert (found[0], found[2]) == (expected[0], expected[2])
        if found[0].outcome == "captured":
            assert found[1] == expected[1]
        assert theirs.reads == ours.reads
        return expected[0].outcome

    reached = run(observations().filter(lambda drawn: drawn[0].image.subject.looks_room), 1.5, body)
    must_reach({"captured", "torn"}, reached)

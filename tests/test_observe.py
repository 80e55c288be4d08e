"""The second look at another thread's stack: what changed between the looks is never shown as one stack."""

import ctypes

import pytest
import synthetic
from synthetic import Image, Look, Observer, Verdict
from test_walk import spread_image

NAMES = ["3.13", "3.13t", "3.14", "3.14t", "3.15t"]
ROOM = 65
ATTEMPTS = 64


class TwoLooks:
    """Stands for the core's library: lets `change` happen between the first look and the second."""

    def __init__(self, harness, change=lambda: None, room=ROOM):
        self.harness, self.change, self.room = harness, change, room
        self.looks = (Look * room)()

    def walk_thread(self, reference):
        walk = reference._obj
        walk.looks, walk.looks_room = ctypes.addressof(self.looks), self.room
        reason = self.harness.walk_thread(reference)
        if reason != 0:
            return reason
        self.change()
        return self.harness.walk_confirm(reference)


class Observed:
    """Stands for the core's library: observes the thread instead of walking it once."""

    def __init__(self, harness, room=ROOM):
        self.harness = harness
        self.looks = (Look * room)()
        self.observer = Observer(ctypes.addressof(self.looks), room, 0)

    def walk_thread(self, reference):
        return self.harness.observe_thread(ctypes.byref(self.observer), reference)


@pytest.fixture(params=NAMES)
def image(request):
    """entry, function, generator, entry, function, function: the last one is innermost."""
    image = Image(request.param)
    image.entry_frames = [image.enter()]
    image.suspended = [image.call(image.code(), 3), image.resume(image.code(), 2)]
    image.entry_frames.append(image.enter())
    image.suspended.append(image.call(image.code(), 5))
    image.top_code = image.code()
    image.top = image.call(image.top_code, 1)
    return image


def changed(image, field, address):
    return lambda: image.put(field, address, image.get(field, address) + 16)


def test_stack_that_stands_still_is_captured(image, harness):
    assert image.walk(TwoLooks(harness)) == image.whole()


@pytest.mark.parametrize("field", ["frame.previous", "frame.executable", "frame.instr_ptr"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_suspended_frame_that_changed(image, harness, field, which):
    assert image.walk(TwoLooks(harness, changed(image, field, image.suspended[which]))) == Verdict("torn")


@pytest.mark.parametrize("field", ["frame.previous", "frame.executable"])
@pytest.mark.parametrize("which", [0, 1])
def test_entry_frame_that_changed(image, harness, field, which):
    assert image.walk(TwoLooks(harness, changed(image, field, image.entry_frames[which]))) == Verdict("torn")


@pytest.mark.parametrize("field", ["frame.previous", "frame.executable"])
def test_innermost_frame_that_changed(image, harness, field):
    verdict = image.walk(TwoLooks(harness, changed(image, field, image.top)))
    assert verdict.reason in ("torn", "code_range") and verdict.frames == ()


def test_innermost_frame_runs_on_and_its_present_instruction_counts(image, harness):
    pointer = image.get("frame.instr_ptr", image.top)
    verdict = image.walk(TwoLooks(harness, lambda: image.put("frame.instr_ptr", image.top, pointer + 8)))
    code, instruction, line = image.whole().frames[0]
    assert verdict == Verdict("captured", ((code, instruction + 4, line), *image.whole().frames[1:]))


def test_entry_frame_may_be_innermost(image, harness):
    image.put("frame.instr_ptr", image.enter(), 0x1234560)
    assert image.walk(TwoLooks(harness)) == image.whole()


def test_innermost_instruction_is_validated_again(image, harness):
    assert image.walk(TwoLooks(harness, lambda: image.put("frame.instr_ptr", image.top, 0x7000_0000))) == Verdict(
        "code_range"
    )


def test_frame_that_was_pushed_or_popped(image, harness):
    assert image.walk(TwoLooks(harness, lambda: image.set_current(image.suspended[-1]))) == Verdict("torn")
    image.set_current(image.top)
    assert image.walk(TwoLooks(harness, lambda: image.call(image.code()))) == Verdict("torn")


def test_state_that_went_to_another_thread(image, harness):
    assert image.walk(TwoLooks(harness, lambda: image.put("thread.native_thread_id", image.state, 5))) == Verdict(
        "detached"
    )


def test_flag_says_what_the_thread_is_at_the_second_look(image, harness):
    detach = TwoLooks(harness, lambda: image.set_status(bound=True))
    attach = TwoLooks(harness, lambda: image.set_status(bound=True, active=True))
    assert image.walk(detach).flags == 1
    assert image.walk(attach).flags == 0


def test_frames_past_the_room_for_looks_are_not_needed_when_they_are_not_shown(harness):
    image = Image("3.14t")
    image.enter()
    for _ in range(20):
        image.call(image.code())
    verdict = image.walk(TwoLooks(harness, room=6), max_depth=2)
    assert verdict == image.whole(flags=2, depth=2)


def test_entry_frame_at_another_instruction_is_none(harness):
    image = Image("3.14t")
    image.put("frame.instr_ptr", image.enter(), 0x1234560)
    image.call(image.code())

    class Knowing(TwoLooks):
        def walk_thread(self, reference):
            reference._obj.entry_instr_ptr = self.known
            return super().walk_thread(reference)

    library = Knowing(harness)
    library.known = 0x1234560
    assert image.walk(library) == image.whole()
    library.known = 0x1234570
    assert image.walk(library) == Verdict("owner")


def scheduled(action):
    """A reader that calls `action` with the number of each read, from 1, before it reads."""
    count = 0

    def read(_, address, size, value):
        nonlocal count
        count += 1
        action(count)
        value[0] = int.from_bytes(ctypes.string_at(address, size), "little")
        return True

    return synthetic.READ_FUNCTION(read)


def test_stack_that_changed_once_is_captured_by_the_next_attempt(image, harness):
    reads = len(image.reads(harness))

    def pop_once(number):
        if number == reads + 1:  # the second look begins
            image.set_current(image.suspended[-1])

    reader = scheduled(pop_once)
    verdict = image.walk(Observed(harness), synthetic.address_of(reader))
    assert verdict == Verdict("captured", image.whole().frames[1:])


def test_three_looks_are_made(image, harness):
    first, two, all = len(image.reads(harness)), [], []
    reader = scheduled(two.append)
    image.walk(TwoLooks(harness), synthetic.address_of(reader))
    reader = scheduled(all.append)
    image.walk(Observed(harness), synthetic.address_of(reader))
    assert len(all) == first + 2 * (len(two) - first)


def test_what_two_looks_agree_on_is_looked_at_a_third_time(image, harness):
    reads = []
    reader = scheduled(reads.append)
    assert image.walk(TwoLooks(harness), synthetic.address_of(reader)) == image.whole()

    def pop_once(number):
        if number == len(reads) + 1:
            image.set_current(image.suspended[-1])

    reader = scheduled(pop_once)
    verdict = image.walk(Observed(harness), synthetic.address_of(reader))
    assert verdict == Verdict("captured", image.whole().frames[1:])


def test_change_while_the_second_look_goes_on_is_seen(image, harness):
    frame, reads = image.suspended[0], len(image.reads(harness))
    pointers = [image.get("frame.instr_ptr", frame), image.get("frame.instr_ptr", frame) ^ 4]
    looked = []

    def alternate(_):
        looked.append(1)
        image.put("frame.instr_ptr", frame, pointers[len(looked) > reads])

    reader = scheduled(alternate)
    assert image.walk(TwoLooks(harness), synthetic.address_of(reader)) == Verdict("torn")


@pytest.mark.parametrize("deaths", [1, 10**9])
def test_code_that_dies_during_a_walk_makes_it_doubtful(image, harness, deaths):
    harness.spprof_code_died.argtypes = [ctypes.c_void_p]
    died = []

    def bury(_):
        if len(died) < deaths:
            died.append(1)
            harness.spprof_code_died(None)

    reader = scheduled(bury)
    verdict = image.walk(Observed(harness), synthetic.address_of(reader))
    assert verdict == (image.whole() if deaths == 1 else Verdict("torn"))
    if deaths > 1:
        reads = len(died) // ATTEMPTS
        assert reads * ATTEMPTS == len(died), "not each of the attempts was made"


def test_thread_that_has_gone_is_not_tried_again(image, harness):
    image.set_status(bound=True, unbound=True)
    reads = []
    reader = scheduled(reads.append)
    assert image.walk(Observed(harness), synthetic.address_of(reader)) == Verdict("detached")
    assert len(reads) == 2


def test_stack_that_stands_still_is_looked_at_once(image, harness):
    observed = Observed(harness)
    assert image.walk(observed) == image.whole()
    assert sum(observed.observer.met) == 1


def test_state_that_is_not_known_is_not_tried_again(image, harness):
    observed = Observed(harness)
    assert image.walk(observed, state=0) == Verdict("no_thread_state")
    assert observed.observer.met[synthetic.REASONS.index("no_thread_state")] == 1


def test_stack_whose_place_is_not_known_is_not_tried_again(image, harness):
    """No attempt could place its entry frames."""
    observed = Observed(harness)
    assert image.walk(observed, stack_known=False) == Verdict("stack_unknown")
    assert observed.observer.met[synthetic.REASONS.index("stack_unknown")] == 1


# --- where each load is a system call ------------------------------------------------------------------------

COPIED = 341  # frames whose words one call copies
TIMES = 2 * 3  # that they are copied and compared: three times for each look after the first


@pytest.fixture(scope="module")
def announced(tmp_path_factory):
    """The core, with a function in reach that is called before each of its system calls."""
    made = synthetic.build(tmp_path_factory.mktemp("native"), "system_calls.c", "-shared", "-Wl,--wrap=syscall")
    return ctypes.CDLL(str(made))


class BySystemCalls:
    """Observes through system calls; `before` is called with the address that each begins to read at."""

    def __init__(self, announced, before=lambda address: None, room=ROOM):
        self.copies = []  # of each call that copied: how many pieces

        def read(address, pieces):
            before(address)
            if pieces > 1:
                self.copies.append(pieces)

        self.function = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_uint64)(read)
        ctypes.c_void_p.in_dll(announced, "before_read").value = synthetic.address_of(self.function)
        self.observed = Observed(announced, room)
        self.through = synthetic.address_of(announced.read_by_syscall)

    def walk(self, image, **options):
        return image.walk(self.observed, self.through, **options)

    def met(self):
        met = self.observed.observer.met
        return {name: count for name, count in zip(synthetic.REASONS, met, strict=True) if count}


def deep_image(depth):
    image = Image("3.14t")
    image.enter()
    for _ in range(4):
        image.chunk(1 << 16)
        for _ in range(depth // 4):
            image.call(image.code(), 1)
    return image


def test_stack_that_stands_still_is_captured_through_system_calls(by_syscall, announced, image):
    calls = BySystemCalls(announced)
    assert calls.walk(image) == image.whole()
    assert calls.copies == [1 + 3 * len(image.chain)] * TIMES


@pytest.mark.parametrize("time", range(TIMES))
def test_each_copy_is_compared(by_syscall, announced, image, time):
    """A stack that changed before the first copy, the second, the last: the attempt is torn, and the next one finds it."""
    looks = []

    def pop_once(address):
        if address == image.at("thread.current_frame", image.state):
            looks.append(address)
            if len(looks) == 2 + time:
                image.set_current(image.suspended[-1])

    calls = BySystemCalls(announced, pop_once)
    assert calls.walk(image) == Verdict("captured", image.whole().frames[1:])
    assert calls.met() == {"torn": 1, "captured": 1}


def test_words_that_change_and_change_back_are_never_one_stack(by_syscall, announced, image):
    """The thread goes to and fro between two stacks. Who reads word by word finds at every look an inner frame of the one
    above an outer frame of the other."""
    outer, inner = image.suspended[0], image.suspended[2]
    words = [image.at("frame.instr_ptr", frame) for frame in (inner, outer)]
    stacks = [[synthetic.get_word(word) ^ other for word in words] for other in (0, 4)]

    def stand_on(stack):
        for word, value in zip(words, stack, strict=True):
            synthetic.put_word(word, value)

    def go_to_and_fro(address):
        if address in words:
            stand_on(stacks[words.index(address)])

    verdict = BySystemCalls(announced, go_to_and_fro).walk(image)
    possible = [Verdict("torn")]
    for stack in stacks:
        stand_on(stack)
        possible.append(image.walk(announced))
    assert possible[1] != possible[2] and {each.reason for each in possible[1:]} == {"captured"}
    assert verdict in possible


def test_copies_of_a_deep_stack_are_compared_to_its_end(by_syscall, announced):
    image = deep_image(1000)
    room = 2 * 1000 + 3
    calls = BySystemCalls(announced, room=room)
    assert calls.walk(image) == image.whole()
    assert calls.copies == [1 + 3 * COPIED, 1 + 3 * COPIED, 1 + 3 * (len(image.chain) - 2 * COPIED)] * TIMES
    for frame in (image.chain[0], image.chain[1], image.chain[500]):
        field, changes = image.at("frame.executable", frame), []

        def change_once(address, field=field, changes=changes):
            if address == image.at("thread.current_frame", image.state):
                changes.append(address)
                if len(changes) == 2:  # the second look begins
                    synthetic.put_word(field, synthetic.get_word(field) ^ 1 << 8)

        calls = BySystemCalls(announced, change_once, room)
        before = synthetic.get_word(field)
        calls.walk(image)
        assert calls.met()["torn"] == 1, frame
        synthetic.put_word(field, before)


def test_page_that_goes_before_its_words_are_copied(by_syscall, announced):
    image = spread_image("3.14t")
    begun, pages = [], []
    lost = image.at("frame.executable", image.chain[1])

    def lose(address):
        if address == image.at("thread.current_frame", image.state):
            begun.append(address)
            if len(begun) == 2:
                pages.append(synthetic.bad_page(lost, "protected"))
                pages[0].__enter__()

    calls = BySystemCalls(announced, lose)
    try:
        assert calls.walk(image) == Verdict("fault")
        assert calls.met() == {"fault": ATTEMPTS}
    finally:
        pages[0].__exit__(None, None, None)


def test_page_that_goes_before_the_words_of_a_deep_stacks_outer_frames_are_copied(by_syscall, announced):
    """The first call has copied its frames by then; another fails."""
    image = deep_image(1000)
    begun, pages = [], []

    def lose(address):
        if address == image.at("thread.current_frame", image.state):
            begun.append(address)
            if len(begun) == 2:
                pages.append(synthetic.bad_page(image.at("frame.executable", image.chain[1]), "protected"))
                pages[0].__enter__()

    calls = BySystemCalls(announced, lose, room=2 * 1000 + 3)
    try:
        assert calls.walk(image) == Verdict("fault")
        assert calls.met() == {"torn": 1, "fault": ATTEMPTS - 1}
        assert calls.copies == [1 + 3 * COPIED, 1 + 3 * COPIED, 1 + 3 * (len(image.chain) - 2 * COPIED)]
    finally:
        pages[0].__exit__(None, None, None)


# --- what a second look may meet --------------------------------------------------------------------------


class LosesPage(TwoLooks):
    """Takes the page of `address` away before the second look."""

    def __init__(self, harness, address):
        super().__init__(harness)
        self.address = address

    def walk_thread(self, reference):
        walk = reference._obj
        walk.looks, walk.looks_room = ctypes.addressof(self.looks), self.room
        reason = self.harness.walk_thread(reference)
        assert reason == 0
        with synthetic.bad_page(self.address, "protected"):
            return self.harness.walk_confirm(reference)


@pytest.mark.parametrize("name", NAMES)
def test_page_that_goes_between_the_looks(harness, name):
    """What the second look reads again is refused; what it does not read, such as older code objects, is not needed."""
    image = spread_image(name)
    found = {}
    with synthetic.fault_handler(harness):
        for address in dict.fromkeys(address for address, _ in image.reads(harness)):
            verdict = image.walk(LosesPage(harness, address))
            found.setdefault(verdict.reason, set()).add(image.name_of(address))
            assert verdict in (Verdict("fault"), Verdict("torn"), image.whole())
    assert {"thread.current_frame", "thread.native_thread_id", "thread.status", "code.units"} <= found["fault"]
    assert {"frame.previous", "frame.executable", "frame.instr_ptr"} <= found["torn"]
    assert found["captured"].isdisjoint({"frame.previous", "frame.executable"})


@pytest.mark.parametrize("name", NAMES)
def test_second_look_at_a_thread_without_functions(harness, name):
    image = Image(name)
    assert image.walk(TwoLooks(harness)).reason == "captured"
    image.enter()
    assert image.walk(TwoLooks(harness)) == image.whole()


# --- where the interpreter's own frames stand -----------------------------------------------------------------


def entry_instruction(harness, image, through=None):
    walk = synthetic.Walk(
        layout=ctypes.pointer(image.layout), reader=synthetic.Reader(through=through), thread_state=image.state
    )
    harness.walk_find_entry_instr_ptr.restype = ctypes.c_uint64
    return harness.walk_find_entry_instr_ptr(ctypes.byref(walk))


@pytest.mark.parametrize("owner", [3, 4])
def test_entry_instruction_is_the_innermost_entry_frames(harness, owner):
    image = Image("3.14t")
    image.enter()
    entry = image.enter(owner)
    image.call(image.code(), 1)
    image.resume(image.code(), 1)
    image.put("frame.instr_ptr", entry, 0x123450)
    assert entry_instruction(harness, image) == 0x123450


def test_no_entry_frame_no_instruction(harness):
    image = Image("3.14t")
    assert entry_instruction(harness, image) == 0
    frame = image.call(image.code(), 1)
    assert entry_instruction(harness, image) == 0
    image.put("frame.previous", frame, frame)
    assert entry_instruction(harness, image) == 0


def test_entry_instruction_behind_a_page_that_is_missing(harness):
    image = spread_image("3.14t")
    entry = next(frame for frame in reversed(image.chain) if image.get("frame.owner", frame) & 0xFF == 3)
    image.put("frame.instr_ptr", entry, 0x123450)
    top = image.chain[-1]
    fields = {"thread.current_frame": image.state, "frame.owner": top, "frame.previous": top, "frame.instr_ptr": entry}
    with synthetic.fault_handler(harness):
        assert entry_instruction(harness, image) == 0x123450
        for field, owner in fields.items():
            with synthetic.bad_page(image.at(field, owner), "protected"):
                assert entry_instruction(harness, image) == 0, field

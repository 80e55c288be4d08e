"""The walk of one thread's frame chain, over synthetic images: whole stacks, and a named reason for all else.

Every refusal is asked for twice: with guarded loads and with the system call.
"""

import ctypes

import pytest
import synthetic
from hypothesis import assume, given
from hypothesis import strategies as st
from synthetic import FIELDS, HIGH, LOW, PAGE, READ_FUNCTION, Image, Verdict, put_byte, put_int, put_word

EVERY = tuple(FIELDS)
WITH_TLBC = tuple(filter(synthetic.has_tlbc, EVERY))
WITH_BASE_FRAME = tuple(filter(synthetic.has_base_frame, EVERY))


@pytest.fixture(params=["guarded", "syscall"])
def walk(request, harness):
    """Walks an image, in each way that memory can be read."""
    through = None
    if request.param == "syscall":
        request.getfixturevalue("by_syscall")
        through = synthetic.address_of(harness.read_by_syscall)
    with synthetic.fault_handler(harness):
        yield lambda image, **options: image.walk(harness, through, **options)


@pytest.fixture(params=EVERY)
def name(request):
    return request.param


def usual(name="3.14t", **options):
    """Two entries into the interpreter, functions, a generator and a class being instantiated."""
    image = Image(name, **options)
    image.enter()
    image.call(image.code(), 5)
    image.call(image.code(), 0)
    image.resume(image.code(), 7)
    image.enter()
    image.call(image.code(hidden=True))
    image.call(image.code(), 2)
    return image


def simple(name="3.14t"):
    """One function called by another."""
    image = Image(name)
    image.enter()
    image.call(image.code(), 1)
    image.call(image.code(), 3)
    return image


# --- whole stacks ---------------------------------------------------------------------------------------


def test_whole_stack(walk, name):
    image = usual(name)
    assert len(image.expected) == 4
    assert walk(image) == image.whole()


def test_thread_without_frames(walk, name):
    assert walk(Image(name)) == Verdict("captured")


def test_entry_frames_alone(walk, name):
    image = Image(name)
    image.enter()
    image.enter()
    assert walk(image) == Verdict("captured")


@pytest.mark.parametrize("owner", [3, 4])
def test_entry_frame_of_either_kind(walk, owner):
    image = Image("3.14")
    image.enter(owner)
    image.call(image.code(), 1)
    assert walk(image) == image.whole()


@pytest.mark.parametrize("tag", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["3.14", "3.14t", "3.15t"])
def test_tagged_executable(walk, name, tag):
    image = Image(name)
    image.enter()
    image.call(image.code(), 1, tag)
    assert walk(image) == image.whole()


@pytest.mark.parametrize("index", [0, 1, 3])
@pytest.mark.parametrize("name", WITH_TLBC)
def test_thread_local_bytecode(walk, name, index):
    image = Image(name)
    image.tlbc_index = index
    image.enter()
    image.call(image.code(copies=4), 6)
    assert walk(image) == image.whole()


def test_instruction_of_another_copy_is_refused(walk):
    image = simple()
    put_int(image.at("frame.tlbc_index", image.chain[-1]), 3)
    assert walk(image) == Verdict("code_range")


def test_first_and_last_instruction(walk, name):
    image = Image(name)
    image.enter()
    image.call(image.code(units=40), 0)
    image.call(image.code(units=40), 39)
    assert walk(image) == image.whole()


def test_trampoline_is_hidden_whatever_its_bytecode_looks_like(walk, name):
    image = Image(name)
    image.enter()
    image.call(image.code(), 1)
    trampoline = image.call(image.code(hidden=True))
    image.put("frame.instr_ptr", trampoline, 8)
    if synthetic.has_tlbc(name):
        put_int(image.at("frame.tlbc_index", trampoline), 1 << 31)
    assert walk(image) == image.whole()


def test_line_0_alone_makes_no_trampoline(walk, name):
    image = Image(name)
    image.enter()
    code = image.code(first_line=0)
    image.call(code, 4)
    assert walk(image) == Verdict("captured", ((code.address, 4, 0),))


def test_one_string_for_file_and_name_alone_makes_no_trampoline(walk, name):
    image = Image(name)
    image.enter()
    code = image.code(first_line=1)
    image.put("code.filename", code.address, image.get("code.qualname", code.address))
    image.call(code, 4)
    assert walk(image) == image.whole()


def test_stack_over_several_chunks(walk, name):
    image = Image(name)
    image.enter()
    for instruction in range(5):
        image.chunk()
        image.call(image.code(), instruction)
        image.call(image.code(), instruction)
    image.chunk()  # one that is empty yet
    assert walk(image) == image.whole()


def test_chunk_without_frames_of_the_chain_between(walk):
    image = Image()
    image.enter()
    image.call(image.code(), 1)
    image.chunk()
    image.chunk()
    image.call(image.code(), 2)
    assert walk(image) == image.whole()


def test_frame_that_fills_its_chunk(walk):
    """The bounds of a chunk belong to it: the first frame starts at its data, the last may end at its end."""
    image = Image()
    image.enter()
    image.chunk(PAGE)
    while image.chunk_areas[-1].size - (image.chunk_areas[-1].top - image.chunk_areas[-1].start) >= 176:
        image.call(image.code(), 1, room=0)
    area = image.chunk_areas[-1]
    area.top = area.end - FIELDS["3.14t"]["frame.size"]
    image.call(image.code(), 2, room=0)
    assert image.chain[1] == image.chunks[0] + 24
    assert walk(image) == image.whole()


def test_frame_that_alone_fills_its_chunk(walk):
    image = Image()
    image.enter()
    image.call(image.code(), 2)
    assert image.chain[1] == image.chunks[0] + 24
    image.put("chunk.size", image.chunks[0], 24 + image.fields["frame.size"])
    assert walk(image) == image.whole()


def test_frames_that_fill_the_c_stack(walk):
    image = Image(stack=PAGE)
    while image.stack.bottom - 88 >= image.stack.start:
        image.enter()
    image.call(image.code(), 2)
    image.stack.end = image.chain[0] + 88
    image.stack.start = image.chain[-2]
    assert walk(image) == image.whole()


def test_generators_alone(walk, name):
    image = Image(name)
    image.enter()
    for instruction in (1, 2, 3):
        image.resume(image.code(), instruction)
    assert walk(image) == image.whole()


def test_many_generators_in_a_row_are_no_cycle(walk):
    image = Image()
    image.enter()
    code = image.code(units=1)
    for _ in range(2000):
        image.resume(code)
    assert walk(image, max_depth=4096) == image.whole()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_deeper_than_max_depth(walk, name, most):
    image = usual(name)
    assert walk(image, max_depth=most) == image.whole(synthetic.TRUNCATED, most)


def test_exactly_max_depth(walk):
    image = usual()
    assert walk(image, max_depth=len(image.expected)) == image.whole()


def test_trampoline_past_max_depth_leaves_nothing_out(walk):
    image = Image()
    image.enter()
    image.call(image.code(hidden=True))
    image.call(image.code(), 1)
    assert walk(image, max_depth=1) == image.whole()


def test_damage_past_max_depth_is_seen(walk):
    image = usual()
    put_byte(image.at("frame.owner", image.chain[1]), 9)
    assert walk(image, max_depth=1) == Verdict("owner")


def test_deeper_than_any_walk_goes(walk):
    """More frames than steps: the innermost are kept, and the stack says that it is cut."""
    image = Image(heap=PAGE * 4)
    image.enter()
    image.chunk(16 * synthetic.MEGABYTE)
    code = image.code()
    frame = image.call(code, 1, room=0)
    size, count = FIELDS["3.14t"]["frame.size"], 70_000
    template = ctypes.string_at(frame, size)
    body = ctypes.create_string_buffer(template * count, size * count)
    for number in range(count):
        put_word(ctypes.addressof(body) + number * size + 8, frame + number * size)
    ctypes.memmove(frame + size, body, size * count)
    image.set_current(frame + count * size)
    image.set_status(bound=True)
    verdict = walk(image, max_depth=count)
    assert (verdict.reason, verdict.flags) == ("captured", synthetic.DETACHED | synthetic.TRUNCATED)
    assert set(verdict.frames) == {*image.expected} and 65_000 < len(verdict.frames) <= 65_536


def test_state_that_is_not_attached(walk, name):
    image = usual(name)
    image.set_status(bound=True)
    assert walk(image) == image.whole(synthetic.DETACHED)


# --- the thread state -----------------------------------------------------------------------------------


def test_no_thread_state(walk):
    assert walk(usual(), state=0) == Verdict("no_thread_state")


def test_state_of_another_thread(walk, name):
    image = usual(name)
    assert walk(image, tid=image.tid + 1) == Verdict("detached")


def test_state_of_a_thread_whose_id_has_the_same_low_half(walk):
    image = usual()
    image.put("thread.native_thread_id", image.state, image.tid | 1 << 32)
    assert walk(image) == Verdict("detached")


def test_state_not_bound_yet(walk):
    image = usual()
    image.set_status(active=True)
    assert walk(image) == Verdict("detached")


def test_state_not_bound_any_more(walk):
    image = usual()
    image.set_status(bound=True, unbound=True, active=True)
    assert walk(image) == Verdict("detached")


# --- pointers that cannot be ------------------------------------------------------------------------------

BAD_POINTERS = {
    "almost_null": 8,
    "low": LOW - 8,
    "high": HIGH - 8,
    "past_user_space": HIGH,
    "kernel": 0xFFFF_8000_0000_0000,
    "not_canonical": HIGH | 0x1000,
    "tagged": 0xB4 << 56 | 0x7FFF_0000_1000,  # ARM64's loads ignore the top byte; the walk does not
    "signed": 0x2A << 48 | 0x7FFF_0000_1000,  # pointer authentication: bits 48 to 54
    "freed_fill": 0xDDDD_DDDD_DDDD_DDDD,
    "last": (1 << 64) - 8,
}
bad_pointers = pytest.mark.parametrize("pointer", BAD_POINTERS.values(), ids=BAD_POINTERS)


@pytest.mark.parametrize("bits", [47, 48, 52, 53])
def test_addresses_of_48_and_52_bits(harness, name, bits):
    """A whole image in the upper half of so large a user space: found, or refused where the processor has less."""
    image = usual(name)
    read = image.move((1 << bits - 1) - (1 << 46))
    with synthetic.fault_handler(harness):
        verdict = image.walk(harness, synthetic.address_of(read))
    assert verdict == (image.whole() if 1 << bits <= HIGH else Verdict("bounds"))


def test_signature_below_the_limit_is_a_fault(walk):
    """Bits that no check sees, because a larger user space would have them: nothing is mapped there."""
    image = simple()
    image.set_current(image.chain[-1] | 5 << 48)
    assert walk(image) == Verdict("fault" if 5 << 48 < HIGH else "bounds")


@bad_pointers
def test_state_out_of_bounds(walk, pointer):
    assert walk(usual(), state=pointer) == Verdict("bounds")


@bad_pointers
def test_current_frame_out_of_bounds(walk, name, pointer):
    image = usual(name)
    image.set_current(pointer)
    assert walk(image) == Verdict("bounds")


@bad_pointers
def test_caller_out_of_bounds(walk, pointer):
    image = usual()
    image.put("frame.previous", image.chain[2], pointer)
    assert walk(image) == Verdict("bounds")


@bad_pointers
def test_code_out_of_bounds(walk, name, pointer):
    image = usual(name)
    image.put("frame.executable", image.chain[1], pointer)
    assert walk(image) == Verdict("bounds")


def test_null_code_out_of_bounds(walk, name):
    image = usual(name)
    image.put("frame.executable", image.chain[1], 0)
    assert walk(image) == Verdict("bounds")


@bad_pointers
def test_newest_chunk_out_of_bounds(walk, name, pointer):
    image = usual(name)
    image.put("thread.datastack_chunk", image.state, pointer)
    assert walk(image) == Verdict("bounds")


@bad_pointers
def test_older_chunk_out_of_bounds(walk, pointer):
    image = usual()
    image.chunk()
    image.put("chunk.previous", image.chunks[-1], pointer)
    assert walk(image) == Verdict("bounds")


def test_no_chunk_out_of_bounds(walk):
    image = usual()
    image.put("thread.datastack_chunk", image.state, 0)
    assert walk(image) == Verdict("bounds")


@pytest.mark.parametrize(
    "pointer", sorted({*BAD_POINTERS.values()} - {HIGH - 8}), ids=hex
)  # where its length would fit
@pytest.mark.parametrize("name", WITH_TLBC)
def test_bytecode_array_out_of_bounds(walk, name, pointer):
    image = usual(name)
    image.put("code.tlbc", image.expected[-1][0], pointer)
    assert walk(image) == Verdict("bounds")


def test_null_bytecode_array_out_of_bounds(walk):
    image = usual()
    image.put("code.tlbc", image.expected[-1][0], 0)
    assert walk(image) == Verdict("bounds")


def test_objects_must_end_in_user_space(walk):
    """The highest address that an object fits at is let through to the read, the next one is not."""
    image = usual()
    for field, holder, size in (
        ("thread.current_frame", image.state, image.fields["frame.size"]),
        ("frame.executable", image.chain[-1], image.fields["code.size"]),
        ("thread.datastack_chunk", image.state, image.fields["chunk.data"]),
        ("code.tlbc", image.expected[-1][0], image.fields["tlbc_array.entries"]),
    ):
        saved = image.get(field, holder)
        for pointer, reason in ((HIGH - size, "fault"), (HIGH - size + 8, "bounds")):
            image.put(field, holder, pointer)
            assert (field, walk(image)) == (field, Verdict(reason))
        image.put(field, holder, saved)
    assert walk(image) == image.whole()


def test_lowest_address_is_let_through(walk):
    image = usual()
    image.set_current(LOW)  # nothing of this process is mapped there
    assert walk(image) == Verdict("fault")


@pytest.mark.parametrize("off", [1, 2, 4, 7])
def test_state_misaligned(walk, off):
    image = usual()
    assert walk(image, state=image.state + off) == Verdict("alignment")


@pytest.mark.parametrize("off", [1, 2, 4, 7])
def test_frame_misaligned(walk, name, off):
    """Even a frame that would do, at such an address."""
    image = simple(name)
    moved = image.chain[-1] + 160 + off
    ctypes.memmove(moved, image.chain[-1], image.fields["frame.size"])
    image.set_current(moved)
    assert walk(image) == Verdict("alignment")


@pytest.mark.parametrize("off", [4, 12])
def test_code_misaligned(walk, name, off):
    image = simple(name)
    code = image.expected[-1][0]
    ctypes.memmove(code + off, code, image.fields["code.size"] - off)
    image.put("frame.executable", image.chain[-1], code + off)
    assert walk(image) == Verdict("alignment")


@pytest.mark.parametrize("name", ["3.13", "3.13t"])
def test_tag_where_there_are_none(walk, name):
    image = simple(name)
    image.put("frame.executable", image.chain[-1], image.expected[-1][0] | 1)
    assert walk(image) == Verdict("alignment")


@pytest.mark.parametrize("off", [1, 4])
def test_chunk_misaligned(walk, off):
    """A chunk whose frame would be inside it all the same."""
    image = simple()
    moved = image.chunks[0] + off
    ctypes.memmove(moved, image.chunks[0], 24 - off)
    put_word(moved + 8, PAGE)
    image.put("thread.datastack_chunk", image.state, moved)
    assert walk(image) == Verdict("alignment")


@pytest.mark.parametrize("off", [2, 4])
def test_bytecode_array_misaligned(walk, off):
    image = simple()
    code = image.expected[-1][0]
    array = image.get("code.tlbc", code)
    ctypes.memmove(array + off, ctypes.string_at(array, 40), 40)
    image.put("code.tlbc", code, array + off)
    assert walk(image) == Verdict("alignment")


# --- frames in the wrong place ------------------------------------------------------------------------------


def test_frame_outside_every_chunk(walk, name):
    image = simple(name)
    elsewhere = image.heap.take(image.fields["frame.size"])
    ctypes.memmove(elsewhere, image.chain[-1], image.fields["frame.size"])
    image.set_current(elsewhere)
    assert walk(image) == Verdict("bounds")


def test_frame_in_a_chunk_header(walk, name):
    """Sound by itself: its first word is the last of the header, which nobody reads."""
    image = Image(name)
    entry, code, header = image.enter(), image.code(), image.chunk()
    image.write_frame(header + 16, 0, entry, code)
    image.set_current(header + 16)
    assert walk(image) == Verdict("bounds")


def test_frame_that_reaches_past_its_chunk(walk):
    image = simple()
    image.put("chunk.size", image.chunks[0], image.chain[-1] + image.fields["frame.size"] - 8 - image.chunks[0])
    assert walk(image) == Verdict("bounds")


def test_frame_in_a_newer_chunk_than_the_frame_it_called(walk):
    image = Image()
    image.enter()
    older = image.call(image.code(), 1)
    image.chunk()
    newer = image.call(image.code(), 1)
    image.put("frame.previous", newer, image.chain[0])
    image.put("frame.previous", older, newer)
    image.set_current(older)
    assert walk(image) == Verdict("bounds")


@pytest.mark.parametrize("size", [0, 8, 23])
def test_chunk_smaller_than_its_header(walk, size):
    """Though the frames lie in an older one that is sound."""
    image = simple()
    image.chunk()
    image.put("chunk.size", image.chunks[-1], size)
    assert walk(image) == Verdict("bounds")


def test_chunk_of_its_header_alone(walk):
    image = simple()
    image.chunk()
    image.put("chunk.size", image.chunks[-1], 24)
    assert walk(image) == image.whole()


@pytest.mark.parametrize("size", [(1 << 31) + 8, 1 << 46, (1 << 64) - 8])
def test_chunk_larger_than_any(walk, size):
    """Every frame would be inside it."""
    image = simple()
    image.put("chunk.size", image.chunks[-1], size)
    assert walk(image) == Verdict("bounds")


@pytest.mark.parametrize("past, reason", [(0, "fault"), (8, "bounds")])
def test_chunk_that_reaches_past_user_space(harness, past, reason):
    """A frame that lies in a chunk is not asked again whether it is in user space."""
    image = simple()
    chunk = HIGH - PAGE
    frame = chunk + 1024
    there = {
        chunk + image.fields["chunk.size"]: PAGE + past,
        chunk + image.fields["chunk.previous"]: 0,
        frame + image.fields["frame.owner"]: 0,
    }

    def read(_, address, size, value):
        if address >= chunk and address not in there:
            return False
        value[0] = there[address] if address in there else int.from_bytes(ctypes.string_at(address, size), "little")
        return True

    image.put("thread.datastack_chunk", image.state, chunk)
    image.set_current(frame)
    function = READ_FUNCTION(read)
    assert image.walk(harness, synthetic.address_of(function)) == Verdict(reason)


@pytest.mark.parametrize("owner", [3, 4])
@pytest.mark.parametrize("where", ["heap", "data_stack", "other_stack"])
def test_entry_frame_off_the_c_stack(walk, name, where, owner):
    """Every walk of another thread's frames ends here: its entry frames are not on this thread's stack."""
    image = simple(name)
    others = synthetic.Area(PAGE)
    area = {"heap": image.heap, "data_stack": image.chunk_areas[0], "other_stack": others}[where]
    moved = area.take(image.fields["frame.size"])
    image.write_frame(moved, owner, image.root)
    image.put("frame.previous", image.chain[1], moved)
    assert walk(image) == Verdict("bounds")


def test_entry_frame_where_the_c_stack_is_not_known(walk, name):
    """It cannot be placed; what needs no place is judged as ever."""
    image = simple(name)
    assert walk(image, stack_known=False) == Verdict("stack_unknown")
    put_byte(image.at("frame.owner", image.chain[-1]), 7)
    assert walk(image, stack_known=False) == Verdict("owner")
    image.set_current(image.root)
    assert walk(image, stack_known=False) == Verdict("captured")


def test_entry_frame_below_the_c_stack(walk):
    image = simple()
    image.stack.start = image.chain[0] + 8
    assert walk(image) == Verdict("bounds")


def test_entry_frame_that_reaches_past_the_c_stack(walk):
    image = simple()
    image.stack.end = image.chain[0] + image.fields["frame.size"] - 8
    assert walk(image) == Verdict("bounds")


# --- owners and types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [2, 5, 6, 128, 255])
def test_owner_of_no_running_frame(walk, name, owner):
    image = usual(name)
    put_byte(image.at("frame.owner", image.chain[2]), owner)
    assert walk(image) == Verdict("owner")


def test_executable_that_is_no_code(walk, name):
    image = usual(name)
    image.put("object_type", image.expected[1][0], image.code_type + 8)
    assert walk(image) == Verdict("type")


def test_type_is_compared_whole(walk):
    image = usual()
    image.put("object_type", image.expected[1][0], image.code_type | 1 << 56)
    assert walk(image) == Verdict("type")


def test_trampoline_must_be_code(walk):
    image = Image()
    image.enter()
    code = image.code(hidden=True)
    image.put("object_type", code.address, 0)
    image.call(code)
    assert walk(image) == Verdict("type")


# --- progress and cycles -----------------------------------------------------------------------------------------


def test_function_that_calls_itself_for_ever(walk, name):
    image = simple(name)
    image.put("frame.previous", image.chain[-1], image.chain[-1])
    assert walk(image) == Verdict("progress")


def test_caller_above_the_frame_it_called(walk):
    image = simple()
    inner, outer = image.chain[-1], image.chain[-2]
    image.put("frame.previous", outer, inner)
    image.put("frame.previous", inner, image.chain[0])
    image.set_current(outer)
    assert walk(image) == Verdict("progress")


def test_overlapping_frames(walk, name):
    """The last word of the caller is the first of the frame that it called; both are sound by themselves."""
    image = Image(name)
    image.enter()
    outer = image.call(image.code(), 1, room=-8)
    inner = image.call(image.code(), 1)
    assert inner - outer == image.fields["frame.size"] - 8
    assert walk(image) == Verdict("progress")


def test_frame_just_below_the_one_it_called(walk):
    image = Image()
    image.enter()
    image.call(image.code(), 1, room=0)
    image.call(image.code(), 1, room=0)
    assert image.chain[2] - image.chain[1] == image.fields["frame.size"]
    assert walk(image) == image.whole()


def test_entry_frame_that_is_its_own_caller(walk, name):
    image = simple(name)
    image.put("frame.previous", image.chain[0], image.chain[0])
    assert walk(image) == Verdict("progress")


def test_entry_frames_that_overlap(walk):
    image = Image()
    image.enter()
    inner = image.enter()
    outer = inner + image.fields["frame.size"] - 8
    image.put("frame.previous", inner, outer)
    image.write_frame(outer, 3, 0)
    put_byte(image.at("frame.owner", inner), 3)
    assert walk(image) == Verdict("progress")


def test_entry_frame_below_the_one_it_called(walk):
    image = usual()
    first, second = image.chain[0], image.chain[4]
    image.put("frame.previous", image.chain[5], first)
    image.put("frame.previous", first, second)
    assert walk(image) == Verdict("progress")


def test_generator_that_resumes_itself(walk, name):
    image = Image(name)
    image.enter()
    frame = image.resume(image.code(), 1)
    image.put("frame.previous", frame, frame)
    assert walk(image) == Verdict("cycle")


@pytest.mark.parametrize("tail", [0, 1, 2, 7, 40])
def test_generators_in_a_circle(walk, tail):
    """Circles of 2 to 50 generators' frames, reached over `tail` frames that are not in the circle."""
    image = Image()
    image.enter()
    code = image.code(units=1)
    frames = [image.resume(code) for _ in range(50 + tail)]
    for length in range(2, 51):
        last = frames[-tail - length]
        caller = image.get("frame.previous", last)
        image.put("frame.previous", last, frames[-tail - 1])
        assert (length, walk(image)) == (length, Verdict("cycle"))
        image.put("frame.previous", last, caller)
    assert walk(image) == image.whole()


def test_circle_of_generators_and_functions(walk):
    image = usual()
    image.put("frame.previous", image.chain[0], image.chain[-1])
    assert walk(image) == Verdict("progress")


def test_chunks_in_a_circle(walk):
    image = simple()
    image.chunk()
    image.put("chunk.previous", image.chunks[0], image.chunks[1])
    image.set_current(image.heap.take(88))
    assert walk(image) == Verdict("cycle")


def test_chunk_that_is_its_own_predecessor(walk):
    image = simple()
    image.put("chunk.previous", image.chunks[0], image.chunks[0])
    image.set_current(image.heap.take(88))
    assert walk(image) == Verdict("cycle")


def test_more_chunks_than_any_walk_visits(walk):
    """The frame would be in the last one."""
    image = simple()
    image.put("chunk.previous", image.chunks[0], 0)
    count, newest = 70_000, image.chunks[0]
    area = synthetic.Area(24 * count)
    first = area.start
    headers = (ctypes.c_uint64 * (3 * count)).from_address(first)
    for number in range(count):
        headers[3 * number], headers[3 * number + 1] = newest, 24
        newest = first + 24 * number
    image.put("thread.datastack_chunk", image.state, newest)
    assert walk(image) == Verdict("bounds")


@pytest.mark.parametrize("frames_in_each", [1, 2, 3])
@pytest.mark.parametrize("chunks", [2, 3, 8])
def test_frames_and_chunks_in_a_circle(walk, chunks, frames_in_each):
    """Each chunk is entered again and again, so its frames seem to fall for ever."""
    image = Image()
    image.enter()
    for _ in range(chunks):
        image.chunk()
        for _ in range(frames_in_each):
            image.call(image.code(), 1)
    image.put("chunk.previous", image.chunks[0], image.chunks[-1])
    image.put("frame.previous", image.chain[1], image.chain[-1])
    assert walk(image) == Verdict("cycle")


# --- instruction pointers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-2, -1, 16, 18, 1 << 20, -(1 << 40)], ids="{:+}".format)
def test_instruction_outside_its_code(walk, name, off):
    image = simple(name)
    code_start = image.get("frame.instr_ptr", image.chain[-1]) - 2 * image.expected[-1][1]
    image.put("frame.instr_ptr", image.chain[-1], code_start + off)
    assert walk(image) == Verdict("code_range")


@pytest.mark.parametrize("off", [1, 7, 15])
def test_instruction_pointer_between_instructions(walk, name, off):
    image = simple(name)
    start = image.get("frame.instr_ptr", image.chain[-1]) - 2 * image.expected[-1][1]
    image.put("frame.instr_ptr", image.chain[-1], start + off)
    assert walk(image) == Verdict("code_range")


@pytest.mark.parametrize("value", [0, 8, HIGH, (1 << 64) - 2])
def test_instruction_pointer_that_is_no_address(walk, name, value):
    image = simple(name)
    image.put("frame.instr_ptr", image.chain[-1], value)
    assert walk(image) == Verdict("code_range")


def test_code_without_instructions(walk, name):
    image = Image(name)
    image.enter()
    code = image.code()
    image.call(code, 0)
    image.put("code.units", code.address, 0)
    assert walk(image) == Verdict("code_range")


@pytest.mark.parametrize("units", [(1 << 30) + 1, 1 << 40, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("far", [0, 1 << 33])
def test_absurd_length(walk, name, units, far):
    image = Image(name)
    image.enter()
    code = image.code()
    frame = image.call(code, 1)
    image.put("code.units", code.address, units)
    image.put("frame.instr_ptr", frame, image.get("frame.instr_ptr", frame) + far)
    assert walk(image) == Verdict("code_range")


@pytest.mark.parametrize("name", WITH_TLBC)
@pytest.mark.parametrize("index", [4, 5, 1 << 20, (1 << 32) - 1])
def test_bytecode_index_past_the_array(walk, name, index):
    """Though a fitting pointer stands where entry 4 would be."""
    image = Image(name)
    image.enter()
    code = image.code(copies=4)
    image.heap.take(8)
    frame = image.call(code, 1)
    put_word(code.array + 8 + 8 * 4, code.copies[2])
    put_word(code.array + 8 + 8 * 5, code.copies[2])
    put_int(image.at("frame.tlbc_index", frame), index)
    assert walk(image) == Verdict("code_range")


@pytest.mark.parametrize("pointer", [0, 2, 6])
def test_bytecode_entry_not_filled_in(walk, pointer):
    image = simple()
    put_word(image.get("code.tlbc", image.expected[-1][0]) + 8 + 8 * image.tlbc_index, 0)
    image.put("frame.instr_ptr", image.chain[-1], pointer)
    assert walk(image) == Verdict("code_range")


# --- chains that do not reach the root ------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["call", "resume"])
def test_chain_that_ends_before_an_entry_frame(walk, name, last):
    image = simple(name)
    frame = getattr(image, last)(image.code(), 1)
    image.put("frame.previous", frame, image.root)
    assert walk(image) == Verdict("incomplete")


def test_chain_without_any_entry_frame(walk, name):
    image = Image(name)
    image.call(image.code(), 1)
    assert walk(image) == Verdict("incomplete")


@pytest.mark.parametrize("name", WITH_BASE_FRAME)
def test_chain_that_ends_in_null_and_not_at_the_base_frame(walk, name):
    image = simple(name)
    image.put("frame.previous", image.chain[0], 0)
    assert walk(image) == Verdict("incomplete")


@pytest.mark.parametrize("name", WITH_BASE_FRAME)
def test_no_current_frame_and_not_the_base_frame(walk, name):
    image = Image(name)
    image.set_current(0)
    assert walk(image) == Verdict("incomplete")


@pytest.mark.parametrize("name", WITH_BASE_FRAME)
def test_no_base_frame(walk, name):
    image = simple(name)
    image.put("thread.base_frame", image.state, 0)
    image.put("frame.previous", image.chain[0], 0)
    assert walk(image) == Verdict("incomplete")


# --- memory that cannot be read -------------------------------------------------------------------------------------


def spread_image(name):
    """Every kind of hop, with every field on a page of its own."""
    fields = synthetic.spread(name)
    image = Image(name, fields, heap=64 * synthetic.MEGABYTE, stack=synthetic.MEGABYTE, align=PAGE)
    image.enter()
    image.chunk(64 * PAGE)
    image.call(image.code(), 5)
    image.resume(image.code(), 7)
    image.chunk(64 * PAGE)
    image.call(image.code(hidden=True))
    image.enter()
    image.call(image.code(), 2)
    return image


def test_every_field_is_read_somewhere(harness, name):
    """What the tests of faults below stand on: the walk reads these fields and nothing else."""
    image = spread_image(name)
    names = [image.name_of(address) for address, _ in image.reads(harness)]
    assert set(names) == synthetic.fields_read(name)


@pytest.mark.parametrize("way", ["protected", "unmapped"])
def test_fault_at_every_read(walk, harness, name, way):
    image = spread_image(name)
    reads = dict.fromkeys(address for address, _ in image.reads(harness))
    pages = {address // PAGE for address in reads}
    assert len(reads) == len(pages)
    for address in reads:
        with synthetic.bad_page(address, way):
            verdict = walk(image)
        assert (image.name_of(address), verdict) == (image.name_of(address), Verdict("fault"))
    assert walk(image) == image.whole()


def test_absurd_array_length_lets_nothing_through(walk):
    """An index far outside is then inside, and the read behind it fails."""
    image = simple()
    array = image.get("code.tlbc", image.expected[-1][0])
    put_word(array, (1 << 64) - 1)
    put_int(image.at("frame.tlbc_index", image.chain[-1]), (1 << 32) - 8)
    assert walk(image) == Verdict("fault")


# --- any damage ----------------------------------------------------------------------------------------------------


def stack_of(name, kinds):
    image = Image(name, heap=PAGE * 32, stack=PAGE * 4)
    image.enter()
    for number, kind in enumerate(kinds):
        if kind == "chunk":
            image.chunk(4 * PAGE)
        elif kind == "enter":
            image.enter()
        elif kind == "hidden":
            image.call(image.code(hidden=True))
        else:
            getattr(image, kind)(image.code(), number % 8)
    return image


KINDS = st.lists(st.sampled_from(["call", "resume", "enter", "chunk", "hidden"]), max_size=12)


@given(st.sampled_from(EVERY), KINDS)
def test_any_stack_is_found_whole(harness, name, kinds):
    image = stack_of(name, kinds)
    with synthetic.fault_handler(harness):
        assert image.walk(harness) == image.whole()


@given(st.sampled_from(EVERY), KINDS, st.data())
def test_damaged_stack_is_never_taken_for_a_whole_one(harness, name, kinds, data):
    """One word that the walk reads becomes garbage: the stack is refused, or it is whole all the same.

    The garbage points at no other frame, for a chain that leaves out a frame and is sound otherwise cannot be told."""
    image = stack_of(name, kinds)
    address, size = data.draw(st.sampled_from(image.reads(harness)))
    value = data.draw(st.integers(0, 256**size - 1) | st.sampled_from(sorted(BAD_POINTERS.values()))) % 256**size
    assume(value not in {*image.chain, image.root, 0})
    field = image.name_of(address)
    ctypes.memmove(address, value.to_bytes(size, "little"), size)
    with synthetic.fault_handler(harness):
        verdict = image.walk(harness)
    shows_or_hides = field in ("code.first_line", "code.filename", "code.qualname")
    if verdict.reason == "captured" and not shows_or_hides:
        assert [code for code, _, _ in verdict.frames] == [code for code, _, _ in image.whole().frames]


def test_every_reason_is_one_of_the_vocabulary(harness):
    harness.spprof_reason_name.restype = ctypes.c_char_p
    names = [harness.spprof_reason_name(number).decode() for number in range(len(synthetic.REASONS))]
    assert tuple(names) == synthetic.REASONS
    assert [harness.spprof_reason_name(number) for number in (-1, len(names), 99)] == [None] * 3

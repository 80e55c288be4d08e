"""The table of offsets: those of real interpreters are read right, damaged ones are refused with one sentence."""

import ctypes
import json
import struct
import subprocess

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from synthetic import FIELDS, PAGE, VERSIONS, Area, Layout, has_base_frame, has_tlbc, make_layout

ALL = (1 << 64) - 1
COOKIE = struct.unpack("<Q", b"xdebugpy")[0]

# Words of the table, by field, as the headers of each version have them in a row.
_COMMON = {
    "runtime.size": 3, "runtime.interpreters_head": 5, "interpreter.size": 6, "interpreter.next": 8,
    "interpreter.threads_head": 9,
}  # fmt: skip
WORDS = {
    "3.13": {
        **_COMMON, "thread.size": 19, "thread.next": 21, "thread.interpreter": 22, "thread.current_frame": 23,
        "thread.thread_id": 24, "thread.native_thread_id": 25, "thread.datastack_chunk": 26, "thread.status": 27,
        "frame.size": 28, "frame.previous": 29, "frame.executable": 30, "frame.instr_ptr": 31, "frame.owner": 33,
        "code.size": 34, "code.filename": 35, "code.qualname": 37, "code.first_line": 39, "code.code_adaptive": 43,
        "object.size": 44, "object_type": 45, "tuple.size": 50, "code.units": 52,
    },
    "3.14": {
        **_COMMON, "thread.size": 22, "thread.next": 24, "thread.interpreter": 25, "thread.current_frame": 26,
        "thread.thread_id": 27, "thread.native_thread_id": 28, "thread.datastack_chunk": 29, "thread.status": 30,
        "frame.size": 31, "frame.previous": 32, "frame.executable": 33, "frame.instr_ptr": 34, "frame.owner": 36,
        "frame.tlbc_index": 38, "code.size": 39, "code.filename": 40, "code.qualname": 42, "code.first_line": 44,
        "code.code_adaptive": 48, "code.tlbc": 49, "object.size": 50, "object_type": 51, "tuple.size": 56,
        "code.units": 58,
    },
    "3.15": {
        **_COMMON, "thread.size": 22, "thread.next": 24, "thread.interpreter": 25, "thread.current_frame": 26,
        "thread.base_frame": 27, "thread.thread_id": 30, "thread.native_thread_id": 31, "thread.datastack_chunk": 32,
        "thread.status": 33, "frame.size": 39, "frame.previous": 40, "frame.executable": 41, "frame.instr_ptr": 42,
        "frame.owner": 44, "frame.tlbc_index": 46, "code.size": 47, "code.filename": 48, "code.qualname": 50,
        "code.first_line": 52, "code.code_adaptive": 56, "code.tlbc": 57, "object.size": 58, "object_type": 59,
        "tuple.size": 68, "code.units": 70,
    },
}  # fmt: skip
_SIZES = {"runtime.size": 400_000, "object.size": 32, "tuple.size": 56}

# What the sentence calls each field.
CALLED = {
    "runtime.size": "the runtime's size",
    "runtime.interpreters_head": "the interpreters' list",
    "interpreter.size": "the interpreter state's size",
    "interpreter.next": "the next interpreter",
    "interpreter.threads_head": "the threads' list",
    "thread.size": "the thread state's size",
    "thread.next": "the next thread state",
    "thread.interpreter": "a thread's interpreter",
    "thread.current_frame": "the current frame",
    "thread.base_frame": "the base frame",
    "thread.thread_id": "the thread id",
    "thread.native_thread_id": "the native thread id",
    "thread.datastack_chunk": "the data stack",
    "thread.status": "the thread's status",
    "frame.size": "the frame's size",
    "frame.previous": "a frame's caller",
    "frame.executable": "a frame's executable",
    "frame.instr_ptr": "a frame's instruction pointer",
    "frame.owner": "a frame's owner",
    "frame.tlbc_index": "a bytecode index",
    "code.size": "the code object's size",
    "code.filename": "a code object's file name",
    "code.qualname": "a code object's qualified name",
    "code.first_line": "a code object's first line",
    "code.code_adaptive": "a code object's instructions",
    "code.tlbc": "a code object's thread-local bytecode",
    "object.size": "an object's size",
    "object_type": "an object's type",
    "tuple.size": "the tuple's size",
    "code.units": "an object's length",
}
WIDTHS = {"thread.status": 4, "code.first_line": 4, "frame.tlbc_index": 4, "frame.owner": 1, "code.code_adaptive": 1}
HOLDERS = {"object_type": "object.size", "code.units": "tuple.size"}


def table(name, hexversion=None, threading=None, **changes):
    """The table of that interpreter as bytes; `changes` are words by number or field."""
    version = name.rstrip("t")
    words = [0] * 128
    words[:3] = COOKIE, hexversion or VERSIONS[version] << 16 | 0x07F0, name.endswith("t")
    values = {**_SIZES, **FIELDS[name]}
    for field, word in WORDS[version].items():
        words[word] = changes.pop(field, values.get(field, 0))
    if threading is not None:
        words[2] = threading
    assert not changes
    return struct.pack("<128Q", *words)


def read(library, data, size=None):
    """(layout, problem): one of the two is None."""
    library.layout_read.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
    ]  # fmt: skip
    library.layout_read.restype = ctypes.c_bool
    layout = Layout()
    ctypes.memset(ctypes.byref(layout), 0xA5, ctypes.sizeof(layout))
    untouched = bytes(layout)
    problem = ctypes.create_string_buffer(200)
    if library.layout_read(ctypes.byref(layout), data, len(data) if size is None else size, problem, 200):
        assert problem.value == b""
        return layout, None
    assert bytes(layout) == untouched
    return None, problem.value.decode()


def values(layout):
    """All that a layout says, by field."""
    found = {}
    for field, kind in layout._fields_:
        value = getattr(layout, field)
        if issubclass(kind, ctypes.Structure):
            found.update({f"{field}.{member}": getattr(value, member) for member, _ in value._fields_})
        else:
            found[field] = value
    return found


def refused(library, data, *words, size=None):
    layout, problem = read(library, data, size)
    assert layout is None
    assert "\n" not in problem and len(problem) < 199
    for word in words:
        assert word in problem


# --- tables that are right --------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIELDS)
def test_sound_table(harness, name):
    layout, problem = read(harness, table(name))
    assert problem is None
    assert values(layout) == values(make_layout(name))


@pytest.mark.parametrize("release", [0x0C1, 0x0C2, 0x0F0, 0x1F0, 0xFFF])
def test_candidates_and_releases(harness, release):
    layout, _ = read(harness, table("3.14t", hexversion=0x030E << 16 | release))
    assert layout is not None


def test_table_of_its_least_length(harness):
    for version, words in WORDS.items():
        least = 8 * (max(words.values()) + 1)
        data = table(version)
        assert read(harness, data, least)[1] is None
        refused(harness, data, f"CPython {version}", "cut short", size=least - 8)
        refused(harness, data, "cut short", size=least - 1)


def test_longer_than_what_is_read(harness):
    layout, _ = read(harness, table("3.15t") + b"\xff" * 512)
    assert values(layout) == values(make_layout("3.15t"))


def test_what_lies_past_the_table_is_not_read(harness):
    """It belongs to the running interpreter, which changes it meanwhile."""
    for version, words in WORDS.items():
        least = 8 * (max(words.values()) + 1)
        area = Area(PAGE)
        start = area.end - least
        ctypes.memmove(start, table(version), least)
        assert read(harness, ctypes.c_char_p(start), 1024)[1] is None
        refused(harness, ctypes.c_char_p(area.end - 24), "no table", size=1024)


def test_gil_builds_need_no_thread_local_bytecode(harness):
    assert read(harness, table("3.14", **{"frame.tlbc_index": ALL, "code.tlbc": ALL}))[1] is None


# --- tables that are not ------------------------------------------------------------------------------


@pytest.mark.parametrize("cookie", [b"xdebugpz", b"\0" * 8, b"ypgubedx", b"XDEBUGPY"])
def test_cookie(harness, cookie):
    refused(harness, cookie + table("3.14t")[8:], "cookie", "3.13")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 16, 23])
def test_too_short_for_a_version(harness, size):
    refused(harness, table("3.14t"), "cookie", size=size)


@pytest.mark.parametrize("size", [24, 25, 200, 423])
def test_cut_short(harness, size):
    refused(harness, table("3.13"), "CPython 3.13", "cut short", size=size)


@pytest.mark.parametrize("version", ["2.7", "3.0", "3.11", "3.12", "3.16", "3.255", "4.0", "4.13", "0.0"])
def test_version(harness, version):
    major, minor = map(int, version.split("."))
    refused(harness, table("3.14", hexversion=major << 24 | minor << 16 | 0x07F0), f"CPython {version}", "3.15")


def test_version_wider_than_32_bits(harness):
    refused(harness, table("3.14", hexversion=1 << 40 | 0x030E07F0), "not supported")


@pytest.mark.parametrize("release", [0x0A0, 0x0A7, 0x0B1, 0x0B4, 0x000])
@pytest.mark.parametrize("name", ["3.13", "3.14t", "3.15t"])
def test_prerelease(harness, name, release):
    version = name.rstrip("t")
    hexversion = VERSIONS[version] << 16 | release
    refused(harness, table(name, hexversion=hexversion), f"CPython {version}", "pre-release")


@pytest.mark.parametrize("threading", [2, 1 << 32, ALL])
def test_threading_build(harness, threading):
    refused(harness, table("3.14t", threading=threading), "damaged", "the threading build")


def damages(name):
    """(field, value) of every kind of damage to every field."""
    for field in WORDS[name.rstrip("t")]:
        if field in ("frame.tlbc_index", "code.tlbc") and not has_tlbc(name):
            continue
        if field.endswith(".size"):
            yield from ((field, value) for value in (0, 1, 15, (1 << 24) + 8, 1 << 32, ALL))
            continue
        holder = HOLDERS.get(field, field.partition(".")[0] + ".size")
        size, width = {**_SIZES, **FIELDS[name]}[holder], WIDTHS.get(field, 8)
        past_the_end = size - width + 1
        yield from ((field, value) for value in (past_the_end, size, size + 8, 1 << 32, 1 << 63, ALL, ALL - 7))
        yield from ((field, value) for value in (1, width - 1) if value % width)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_damaged(harness, name):
    for field, value in damages(name):
        refused(harness, table(name, **{field: value}), f"CPython {name.rstrip('t')} is damaged", CALLED[field])


@pytest.mark.parametrize("name", list(filter(has_tlbc, FIELDS)))
@pytest.mark.parametrize("field", ["frame.tlbc_index", "code.tlbc"])
def test_free_threaded_build_without_thread_local_bytecode(harness, name, field):
    """Zero would mean to the walk that there is none."""
    refused(harness, table(name, **{field: 0}), "damaged", "the thread-local bytecode")


@pytest.mark.parametrize("name", list(filter(has_base_frame, FIELDS)))
def test_version_with_a_base_frame_needs_it(harness, name):
    """Zero would mean to the walk that the version has none, and a chain would end anywhere."""
    refused(harness, table(name, **{"thread.base_frame": 0}), "damaged", "the base frame")


@given(st.binary(max_size=1100))
def test_any_bytes(harness, data):
    refused(harness, data, "cookie")


@given(st.sampled_from(sorted(FIELDS)), st.lists(st.tuples(st.integers(0, 127), st.integers(0, ALL)), max_size=4))
def test_any_damage_is_refused_or_harmless(harness, name, changes):
    """What is accepted has every field inside its structure."""
    words = list(struct.unpack("<128Q", table(name)))
    for word, value in changes:
        words[word] = value
    layout, problem = read(harness, struct.pack("<128Q", *words))
    if problem is not None:
        assert "\n" not in problem and problem.isprintable()
        return
    found = values(layout)
    for group in ("thread", "frame", "code", "interpreter"):
        members = (value for field, value in found.items() if field.startswith(f"{group}.") and "status_" not in field)
        assert max(members) == found[f"{group}.size"] <= 1 << 24 or (group == "code" and found["code.units"] <= 1 << 24)


@pytest.mark.parametrize("room", [1, 8, 40])
def test_little_room_for_the_sentence(harness, room):
    problem = ctypes.create_string_buffer(b"#" * 64, 64)
    assert not harness.layout_read(ctypes.byref(Layout()), b"", 0, problem, room)
    assert len(problem.value) == room - 1 and problem.raw[room:] == b"#" * (64 - room)


# --- real interpreters ----------------------------------------------------------------------------------


def look_at_yourself():
    """Runs in an interpreter: its table, and what it knows of itself beside what stands in its memory."""
    import ctypes
    import json
    import sys
    import threading

    runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.CDLL(None), "_PyRuntime"))
    print(ctypes.string_at(runtime, 1024).hex(), flush=True)
    layout = json.loads(sys.stdin.readline())

    def word(address):
        return ctypes.c_uint64.from_address(address).value

    def integer(address):
        return ctypes.c_int32.from_address(address).value

    ctypes.pythonapi.PyThreadState_Get.restype = ctypes.c_size_t
    state = ctypes.pythonapi.PyThreadState_Get()
    interpreter = word(runtime + layout["runtime.interpreters_head"])
    code = look_at_yourself.__code__
    frame = ctypes.c_uint64.from_address(state + layout["thread.current_frame"]).value  # here: word() has its own
    bytecode = id(code) + layout["code.code_adaptive"]
    status = integer(state + layout["thread.status"])
    chunk = word(state + layout["thread.datastack_chunk"])
    tlbc = layout["code.tlbc"] and word(id(code) + layout["code.tlbc"])
    index = integer(frame + layout["frame.tlbc_index"]) if tlbc else 0
    if tlbc:
        bytecode = word(tlbc + layout["tlbc_array.entries"] + 8 * index)
    distance = word(frame + layout["frame.instr_ptr"]) - bytecode
    facts = {
        "thread state is in the list": word(interpreter + layout["interpreter.threads_head"]) == state,
        "thread's interpreter": word(state + layout["thread.interpreter"]) == interpreter,
        "native id": word(state + layout["thread.native_thread_id"]) == threading.get_native_id(),
        "thread id": word(state + layout["thread.thread_id"]) == threading.get_ident(),
        "bound": status & layout["thread.status_bound"] != 0 and status & layout["thread.status_unbound"] == 0,
        "active": status & layout["thread.status_active"] != 0,
        "last interpreter": word(interpreter + layout["interpreter.next"]) == 0,
        "last thread": word(state + layout["thread.next"]) == 0,
        "current frame runs this function": word(frame + layout["frame.executable"]) & ~3 == id(code),
        "owned by the thread": ctypes.c_ubyte.from_address(frame + layout["frame.owner"]).value == 0,
        "frame lies in the chunk": 0 < frame - chunk - layout["chunk.data"] < word(chunk + layout["chunk.size"]),
        "caller is the module": word(word(frame + layout["frame.previous"]) + layout["frame.executable"]) & ~3
        == id(sys._getframe(1).f_code),
        "length": word(id(code) + layout["code.units"]) == len(code.co_code) // 2,
        "instruction is inside": 0 <= distance < len(code.co_code),
        "first line": integer(id(code) + layout["code.first_line"]) == code.co_firstlineno,
        "file name": word(id(code) + layout["code.filename"]) == id(code.co_filename),
        "qualified name": word(id(code) + layout["code.qualname"]) == id(code.co_qualname),
        "type": word(id(code) + layout["object_type"]) == id(type(code)),
        "base frame": layout["thread.base_frame"] == 0 or word(state + layout["thread.base_frame"]) != 0,
    }
    print(json.dumps([name for name, holds in facts.items() if not holds]))


@pytest.mark.parametrize("name", ["3.13", "3.13t", "3.14", "3.14t", "3.15t"])
def test_real_interpreter(harness, name, tmp_path):
    python = subprocess.run([support.ROOT / "ci" / "python", "--existing", name], capture_output=True, text=True)
    if python.returncode != 0:
        pytest.skip(f"there is no interpreter {name}")
    program = support._program(look_at_yourself, tmp_path)
    with subprocess.Popen(
        [python.stdout.strip(), program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        data = bytes.fromhex(child.stdout.readline())
        layout, problem = read(harness, data)
        assert problem is None
        found = values(layout)
        child.stdin.write(json.dumps(found) + "\n")
        child.stdin.close()
        answer = child.stdout.readline()
    assert json.loads(answer) == [] and child.returncode == 0
    assert (layout.version, layout.free_threaded) == (VERSIONS[name.rstrip("t")], name.endswith("t"))

"""From an instruction to its line: the same as Python itself says, and nothing wild from a damaged table."""

import contextlib
import ctypes
import importlib
import random
import types

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

MODULES = (
    "argparse", "ast", "asyncio.base_events", "asyncio.tasks", "bdb", "calendar", "collections", "configparser",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "dis", "doctest", "email.message", "enum", "fractions",
    "ftplib", "functools", "heapq", "html.parser", "http.client", "inspect", "ipaddress", "json.decoder", "locale",
    "logging", "mailbox", "multiprocessing.pool", "optparse", "pathlib", "pdb", "pickle", "pickletools", "platform",
    "plistlib", "pprint", "pydoc", "random", "shutil", "smtplib", "socket", "ssl", "statistics", "string",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "tokenize", "traceback", "typing", "unittest.mock",
    "urllib.request", "uuid", "warnings", "xml.dom.minidom", "zipfile",
)  # fmt: skip
INT32_MAX = (1 << 31) - 1


@pytest.fixture(scope="module")
def line_of(harness):
    harness.location_line.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_uint32]
    harness.location_line.restype = ctypes.c_int32
    return harness.location_line


def codes_of(module):
    """Every code object of a module's source, its own and all inside it."""
    source = importlib.util.find_spec(module).loader.get_source(module)
    waiting = [compile(source, module, "exec", dont_inherit=True)]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def lines_by_python(code):
    lines = {}
    for start, end, line in code.co_lines():
        for instruction in range(start // 2, end // 2):
            lines[instruction] = line or 0
    return lines


def test_whole_standard_library_modules(line_of):
    """Every instruction of every function, and those past the end."""
    compared = 0
    for module in MODULES:
        with contextlib.suppress(ImportError, AttributeError):
            for code in codes_of(module):
                table, expected = code.co_linetable, lines_by_python(code)
                count = len(code.co_code) // 2
                found = {i: line_of(table, len(table), code.co_firstlineno, i) for i in range(count)}
                assert (code, found) == (code, expected)
                assert line_of(table, len(table), code.co_firstlineno, count) == 0
                assert line_of(table, len(table), code.co_firstlineno, (1 << 32) - 1) == 0
                compared += count
    assert compared > 100_000


@pytest.fixture(scope="module")
def edge():
    """Puts bytes right before memory that cannot be read."""
    area = synthetic.Area(synthetic.PAGE)

    def place(data):
        assert len(data) <= synthetic.PAGE
        ctypes.memmove(area.end - len(data), bytes(data), len(data))
        return area.end - len(data)

    place.area = area
    return place


FIRST_LINE = st.integers(-(1 << 31), INT32_MAX)
INSTRUCTION = st.integers(0, 40) | st.integers(0, (1 << 32) - 1)


@given(st.binary(max_size=200), FIRST_LINE, INSTRUCTION)
def test_any_bytes(line_of, edge, table, first_line, instruction):
    """A read past the end would be the end of this process."""
    assert 0 <= line_of(edge(table), len(table), first_line, instruction) <= INT32_MAX


ENTRY_HEAD = st.integers(128, 255)
ENTRIES = st.lists(st.tuples(ENTRY_HEAD, st.binary(max_size=8)), max_size=30)


@given(ENTRIES, FIRST_LINE, INSTRUCTION)
def test_likely_bytes(line_of, edge, entries, first_line, instruction):
    """Entries that begin as they should get further than any bytes do."""
    table = b"".join(bytes([head]) + rest for head, rest in entries)
    assert 0 <= line_of(edge(table), len(table), first_line, instruction) <= INT32_MAX


def test_cut_tables(line_of, edge):
    """A table cut anywhere gives the right line or none."""
    code = max(codes_of("heapq"), key=lambda code: len(code.co_linetable))
    table, expected = code.co_linetable, lines_by_python(code)
    random_instructions = random.Random(1).sample(sorted(expected), 12)
    for length in range(len(table)):
        address = edge(table[:length])
        for instruction in random_instructions:
            assert line_of(address, length, code.co_firstlineno, instruction) in (0, expected[instruction])


def entry(form, units, *rest):
    return bytes([128 | form << 3 | units - 1, *rest])


def test_every_form(line_of):
    table = (
        entry(0, 2, 5) + entry(9, 1, 5) + entry(10, 1, 1, 2) + entry(11, 1, 1, 2) + entry(12, 1, 1, 2)
        + entry(13, 8, 0b110) + entry(14, 1, 0b111, 0, 1, 1) + entry(15, 3) + entry(13, 1, 64 | 1, 1)
    )  # fmt: skip
    lines = [line_of(table, len(table), 100, instruction) for instruction in range(20)]
    assert lines == [100] * 4 + [101, 103] + [106] * 8 + [103] + [0] * 3 + [71, 0]


@pytest.mark.parametrize("change", [0b0, 0b1], ids=["up", "down"])
def test_lines_that_no_file_has(line_of, change):
    """Far past 2^31 in either direction, by steps as large as they can be."""
    far = [64 | 62 | change, 127, 127, 127, 127, 3]
    table = entry(13, 1, *far) * 50 + entry(13, 1, 0)
    assert {line_of(table, len(table), 1, instruction) for instruction in range(2, 51)} == {0}


def test_numbers_longer_than_any(line_of, edge):
    """Six bytes hold 32 bits; a seventh is damage, though it adds nothing."""
    found = []
    for more in range(10):
        table = entry(13, 1, *[64] * more, 0)
        found.append(line_of(edge(table), len(table), 5, 0))
    assert found == [5] * 6 + [0] * 4


@pytest.mark.parametrize("form", [13, 14])
def test_number_that_runs_into_the_next_entry(line_of, form):
    """Where an entry is cut, the head of the next is no part of its number."""
    for number in ([], [64], [64 | 2, 64]):
        table = entry(0, 1, 5) + entry(form, 1, *number) + entry(0, 1, 5)
        assert [line_of(table, len(table), 5, instruction) for instruction in range(4)] == [5, 0, 0, 0]


def test_table_that_does_not_begin_with_an_entry(line_of):
    table = bytes([13 << 3, 0]) + entry(13, 1, 0)
    assert line_of(table, len(table), 5, 0) == 0

"""Guarded loads: every width, every kind of memory that is not there, and no fault of anybody else's."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import synthetic
from synthetic import HIGH, PAGE

WIDTHS = {"byte": 1, "int": 4, "word": 8, "link": 8}
PATTERN = bytes(range(0x81, 0x91))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The loads, linked with a core of their own."""
    loads = ctypes.CDLL(str(synthetic.build(tmp_path_factory.mktemp("native"), "loads.c", "-shared")))
    for width in WIDTHS:
        function = getattr(loads, f"try_{width}")
        function.restype = ctypes.c_bool
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    for function in ("site_instruction", "site_landing", "recovered"):
        getattr(loads, function).restype = ctypes.c_size_t
    loads.recovered.argtypes = [ctypes.c_size_t]
    return loads


@pytest.fixture(params=["guarded", "syscall"])
def load(request, library):
    """Loads with a width from an address: the value, or None where it cannot be read."""
    reader = synthetic.Reader()
    if request.param == "syscall":
        request.getfixturevalue("by_syscall")
        reader.through = synthetic.address_of(library.read_by_syscall)

    def load(width, address):
        value = ctypes.c_uint64(0xEEEE_EEEE_EEEE_EEEE)
        done = getattr(library, f"try_{width}")(ctypes.byref(reader), address, ctypes.byref(value))
        return value.value if done else None

    with synthetic.fault_handler(library):
        yield load


@pytest.fixture(params=WIDTHS)
def width(request):
    return request.param


def test_value(load, width):
    """The bytes that were asked for, the rest zero."""
    size, area = WIDTHS[width], synthetic.Area(PAGE)
    for offset in (0, 8, PAGE - 16):
        ctypes.memmove(area.start + offset, PATTERN, 16)
        assert load(width, area.start + offset) == int.from_bytes(PATTERN[:size], "little")


@pytest.mark.parametrize("width", ["byte", "int", "word"])
@pytest.mark.parametrize("offset", range(1, 8))
def test_value_at_any_alignment(load, width, offset):
    area = synthetic.Area(PAGE)
    ctypes.memmove(area.start, PATTERN, 16)
    assert load(width, area.start + offset) == int.from_bytes(PATTERN[offset : offset + WIDTHS[width]], "little")


@pytest.mark.parametrize("way", ["protected", "unmapped"])
def test_page_that_is_not_there(load, width, way):
    area = synthetic.Area(3 * PAGE)
    page = area.start + PAGE
    with synthetic.bad_page(page, way):
        for address in (page, page + 8, page + PAGE - 8):
            assert load(width, address) is None
        assert load(width, page - 8) == load(width, page + PAGE) == 0
    assert load(width, page) == 0


@pytest.mark.parametrize(
    "address",
    [0, 8, PAGE - 8, 0xFFFF, HIGH - 8, HIGH, 1 << 47 | 8, 1 << 63, 0xFFFF_8000_0000_0000, (1 << 64) - 8],
    ids=hex,
)
def test_address_that_is_nowhere(load, width, address):
    assert load(width, address) is None


@pytest.mark.parametrize("way", ["protected", "unmapped"])
@pytest.mark.parametrize("width", ["int", "word"])
def test_value_across_the_edge_of_a_page(load, width, way):
    area = synthetic.Area(2 * PAGE)
    edge = area.start + PAGE
    ctypes.memmove(edge - 8, PATTERN, 16)
    for inside in range(1, WIDTHS[width]):
        first = 8 - inside
        expected = int.from_bytes(PATTERN[first : first + WIDTHS[width]], "little")
        assert load(width, edge - inside) == expected
        for page in (edge - PAGE, edge):
            with synthetic.bad_page(page, way):
                assert load(width, edge - inside) is None


def test_file_that_became_shorter(load, width, tmp_path):
    """SIGBUS, not SIGSEGV."""
    with open(tmp_path / "file", "w+b") as file:
        file.truncate(PAGE)
        shared_read_only = (0x01, 1)
        address = synthetic.libc.mmap(0, PAGE, shared_read_only[1], shared_read_only[0], file.fileno(), 0)
        try:
            assert load(width, address) == 0
            file.truncate(0)
            assert load(width, address) is None
        finally:
            synthetic.libc.munmap(address, PAGE)


def test_many_faults_in_a_row(load, width):
    """None leaves anything behind: neither a blocked signal nor an alternate stack in use."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert [load(width, 64) for _ in range(2000)] == [None] * 2000
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_system_call_needs_no_handler(library, by_syscall):
    value = ctypes.c_uint64()
    library.read_by_syscall.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p]
    library.read_by_syscall.restype = ctypes.c_bool
    assert not library.read_by_syscall(None, 64, 8, ctypes.byref(value))
    source = ctypes.create_string_buffer(PATTERN)
    assert library.read_by_syscall(None, ctypes.addressof(source), 4, ctypes.byref(value))
    assert value.value == int.from_bytes(PATTERN[:4], "little")


# --- whose fault ------------------------------------------------------------------------------------


def test_recovery_goes_by_the_instruction_alone(library):
    """Each load's own address leads to its landing; no other address does."""
    sites = {library.site_instruction(n): library.site_landing(n) for n in range(library.site_count())}
    assert len(sites) == library.site_count() >= len(WIDTHS)
    for instruction, landing in sites.items():
        assert library.recovered(instruction) == landing != instruction
    others = {n + off for n in sites for off in (-8, -1, 1, 2, 3, 8)} | set(sites.values()) | {0, 8, (1 << 64) - 1}
    for address in others - sites.keys():
        assert library.recovered(address) == 0


CHILD = """
import ctypes, faulthandler, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
library = ctypes.CDLL(sys.argv[1])
if "faulthandler" in sys.argv[2:]:
    faulthandler.enable()
handler = ctypes.cast(library.handler_on_fault, ctypes.c_void_p)
for number in (signal.SIGSEGV, signal.SIGBUS):
    assert library.signals_take(number, handler) == 0
value, none = ctypes.c_uint64(), (ctypes.c_void_p * 2)()
address = ctypes.c_size_t(ctypes.addressof(ctypes.create_string_buffer(8)) if "mapped" in sys.argv[2:] else 64)
for _ in range(3):
    assert not library.try_word(none, ctypes.c_size_t(64), ctypes.byref(value)) & 1
print("loads recovered", flush=True)
"""


def child(library, last_words, *arguments):
    """Ends the child with what `last_words` does, after some guarded loads of its own."""
    return subprocess.run(
        [sys.executable, "-c", CHILD + textwrap.dedent(last_words), library._name, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": ""},
    )


@pytest.mark.parametrize("former", ["nobody", "faulthandler"])
def test_foreign_fault_still_kills(library, former):
    """At the very address that the guarded loads had no harm from."""
    end = child(library, "ctypes.string_at(64)\nprint('survived')", former)
    assert end.returncode == -signal.SIGSEGV
    assert end.stdout == "loads recovered\n"
    assert ("Fatal Python error: Segmentation fault" in end.stderr) == (former == "faulthandler")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS"])
def test_fault_signal_that_was_sent_still_kills(library, name):
    end = child(library, f"import os\nos.kill(os.getpid(), signal.{name})\nprint('survived')")
    assert end.returncode == -getattr(signal, name)
    assert end.stdout == "loads recovered\n"


# --- a neighbour that is put before ours in the midst of loads ---------------------------------------


BEHIND = """
count = library.load_behind_a_neighbour(none, ctypes.c_size_t(64), ctypes.byref(value), {looking}, signal.{name})
print("went on after", count)
"""


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS"])
def test_a_fault_that_a_neighbour_sends_again_is_still_a_loads(library, name):
    end = child(library, BEHIND.format(looking=True, name=name))
    assert (end.returncode, end.stdout) == (0, f"loads recovered\nwent on after {int(name == 'SIGSEGV')}\n"), end.stderr


def test_a_fault_that_is_sent_again_where_nobody_looks_still_kills(library):
    end = child(library, BEHIND.format(looking=False, name="SIGSEGV"))
    assert (end.returncode, end.stdout) == (-signal.SIGSEGV, "loads recovered\n")


def test_a_fault_of_another_process_in_a_look_still_kills(library):
    end = child(library, "import os\nlibrary.look()\nos.kill(os.getpid(), signal.SIGSEGV)\nprint('survived')")
    assert (end.returncode, end.stdout) == (-signal.SIGSEGV, "loads recovered\n")


def test_a_load_survives_faulthandler(library):
    end = child(library, "library.look()\nfaulthandler.enable()\n" + READ, "faulthandler later")
    assert (end.returncode, end.stdout) == (0, "loads recovered\nread 0\n"), end.stderr
    assert "Fatal Python error: Segmentation fault" in end.stderr


READ = "print('read', library.try_word(none, ctypes.c_size_t(64), ctypes.byref(value)) & 1, flush=True)"

READ_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint64)
)


def test_whoever_looks_says_so(harness):
    """A session's reads: of the handler, of the observer, and of the list of threads."""
    looking = ctypes.c_bool.in_dll(harness, "load_looking")  # the calling thread's
    seen = []
    refuse = READ_FUNCTION(lambda *_: seen.append(looking.value))  # None is false: nothing can be read
    reader = synthetic.Reader(through=synthetic.address_of(refuse))
    state = synthetic.Area(PAGE).start
    scratch = ctypes.create_string_buffer(4096)
    slot = synthetic.aligned(synthetic.Slot, tid=1, thread_state=state, scratch=ctypes.addressof(scratch))
    walk = synthetic.Walk(layout=ctypes.pointer(synthetic.Layout()), reader=reader, thread_state=state)
    looks = {
        "handler": lambda: harness.handler_tick(ctypes.byref(slot), 1, ctypes.c_size_t(0), reader),
        "observer": lambda: harness.observe_thread(ctypes.byref(synthetic.Observer()), ctypes.byref(walk)),
        "list": lambda: harness.threads_scan(reader),
        "caller": lambda: harness.threads_admit(ctypes.c_size_t(state), reader),
    }
    for name, look in looks.items():
        seen.clear()
        look()
        assert seen and all(seen), name
        assert not looking.value, name

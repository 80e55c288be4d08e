"""What runs in signal handlers: what it may call, what it leaves alone, and where each signal goes."""

import ctypes
import itertools
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import support
import synthetic
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic import REASONS, Image, put_byte

ERRNO_MARK = 1234  # ticks.c sets it before each signal
SI_TIMER, SI_USER = -2, 0
RED_ZONE = 128 if platform.machine() == "x86_64" else 0  # bytes below the stack pointer that belong to a function
COOKIE = 0xC0_FFEE
LEASE = 0x155_5555 & ~0xFF | 5
LEASES = synthetic.LEASES
LONG = 250_000  # nanoseconds of CPU time that make a look a long one
MS = 1_000_000

# --- what the handler's objects call ------------------------------------------------------------------

# All that may be undefined in the objects of the handler's side, each with why it is allowed there.
ALLOWED = {
    "_GLOBAL_OFFSET_TABLE_": "the linker's: position-independent code",
    "__start_spprof_loads": "the linker's: first entry of the table of loads",
    "__stop_spprof_loads": "the linker's: end of the table of loads",
    "__errno_location": "errno itself; an address computation",
    "clock_gettime": "async-signal-safe by POSIX; the time of a sample",
    "getpid": "async-signal-safe by POSIX; whose memory process_vm_readv reads",
    "memcpy": "async-signal-safe by POSIX; the compiler copies structs with it",
    "memset": "async-signal-safe by POSIX; the compiler clears structs with it",
    "pthread_sigmask": "async-signal-safe by POSIX; a former owner runs under its own mask",
    "sched_yield": "a system call and no more; a signal waits for the thread that is taking it",
    "sigaction": "async-signal-safe by POSIX; who owns a signal, and the default action",
    "kill": "async-signal-safe by POSIX; gives a signal back to the process",
    "sigpending": "async-signal-safe by POSIX; whether a signal still waits for another thread",
    "sigemptyset": "async-signal-safe by POSIX; bits of a set",
    "sigaddset": "async-signal-safe by POSIX; bits of a set",
    "sigdelset": "async-signal-safe by POSIX; bits of a set",
    "sigfillset": "async-signal-safe by POSIX; bits of a set",
    "sigismember": "async-signal-safe by POSIX; a bit of a set",
    "sigorset": "pure: bits of two sets, in the caller's memory",
    "syscall": "the kernel directly: process_vm_readv, tgkill, gettid",
    "__stack_chk_fail": "a compiler that hardens by default; ends the process",
}


# The compiler's own on ARM64: one atomic operation each, with the instructions that the processor has.
OUTLINE_ATOMIC = re.compile(r"__aarch64_(ldadd|ldclr|ldeor|ldset|swp|cas)[1248]_(relax|acq|rel|acq_rel)")

HANDLER_SIDE = {
    "load",
    "walk",
    "observe",
    "ring",
    "counters",
    "handler",
    "states",
    "held",
    "signals",
    "thunks",
    "reasons",
}


def symbols(path, *options):
    run = subprocess.run(["nm", "-P", *options, path], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in run.stdout.splitlines()}


@pytest.mark.skipif("sanitize" in os.environ.get("CFLAGS", ""), reason="a sanitizer adds calls of its own")
def test_objects_call_nothing_else(library):
    objects = sorted((support.BUILD / "handler").glob("*.o"))
    assert {path.stem for path in objects} == HANDLER_SIDE
    defined = set().union(*(symbols(path, "--defined-only") for path in objects))
    undefined = set().union(*(symbols(path, "-u") for path in objects))
    outline = {name for name in undefined if OUTLINE_ATOMIC.fullmatch(name)}
    assert undefined - defined - outline - ALLOWED.keys() == set()


def test_thread_local_storage_is_there_before_any_signal(library):
    """Only the initial-exec model is free of a call that may allocate (__tls_get_addr)."""
    for path in (support.BUILD / "handler").glob("*.o"):
        run = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True)
        assert not re.search(r"R_X86_64_(TLSGD|TLSLD|GOTPC32_TLSDESC)|R_AARCH64_TLS(GD|LD|DESC)", run.stdout)


def test_handlers_objects_come_from_the_files_that_say_so():
    """The list above is of what the build calls the handler's side; it must be all of core/*.c but layout.c."""
    sources = {path.stem for path in (support.ROOT / "core").glob("*.c")}
    assert sources - {"layout"} == HANDLER_SIDE


def static_asserts(structure):
    """C text that compiles only where the compiler lays the struct out as ctypes does."""
    yield structure.C_NAME, "", ctypes.sizeof(structure)
    for name, kind in structure._fields_:
        if name.startswith("_"):
            continue  # what the compiler leaves out to align the next
        yield structure.C_NAME, name, getattr(structure, name).offset
        if issubclass(kind, ctypes.Structure) and not hasattr(kind, "C_NAME"):
            for member, _ in kind._fields_:
                offset = getattr(structure, name).offset + getattr(kind, member).offset
                yield structure.C_NAME, f"{name}.{member}", offset


def test_mirrors_of_the_structs(tmp_path):
    """The tests' idea of the core's structs is the compiler's."""
    lines = [f'#include "{header}.h"' for header in ("handler", "layout", "walk", "observe", "spprof")]
    for structure in synthetic.MIRRORS:
        for name, member, value in static_asserts(structure):
            found = f"offsetof({name}, {member})" if member else f"sizeof({name})"
            lines.append(f'_Static_assert({found} == {value}, "{name} {member}");')
    lines.append(f'_Static_assert(SPPROF_REASONS == {len(REASONS)}, "reasons");')
    lines.append(f'_Static_assert(SLOTS_MAX == {synthetic.SLOTS_MAX}, "slots");')
    source = tmp_path / "mirrors.c"
    source.write_text("\n".join([*lines, ""]))
    core = support.ROOT / "core"
    command = ["cc", "-std=gnu11", "-fsyntax-only", f"-I{core}", f"-I{core}/include", source]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


# Which side writes a member of a slot, as core/handler.h and core/ring.h say.
WRITERS = {
    "session": (
        "thread", "tid", "lease", "thread_id", "scratch", "stack_low", "stack_high", "thread_state", "ring.words",
        "ring.capacity",
    ),
    "monitor": ("watch",),
    "handler": ("inside", "due", "rest_until", "counters", "ring.head"),
    "consumer": ("ring.tail",),
}  # fmt: skip
LINE = 64


def lines_of(member):
    """The cache lines that a member of a slot lies on."""
    name, _, inner = member.partition(".")
    field = getattr(synthetic.Slot, name)
    offset, size = field.offset, field.size
    if inner:
        inner = getattr(synthetic.Ring, inner)
        offset, size = offset + inner.offset, inner.size
    return set(range(offset // LINE, (offset + size - 1) // LINE + 1))


def test_what_one_side_writes_shares_no_cache_line_with_what_another_does():
    """Else each tick takes the line from the drain's processor, and each drain from the thread's."""
    named = {member.partition(".")[0] for members in WRITERS.values() for member in members}
    assert named == {name for name, _ in synthetic.Slot._fields_ if not name.startswith("_")}
    lines = {side: set().union(*map(lines_of, members)) for side, members in WRITERS.items()}
    for side, others in itertools.permutations(lines, 2):
        assert not lines[side] & lines[others], f"{side} and {others}"
    assert ctypes.sizeof(synthetic.Slot) % LINE == 0, "the next slot begins on this one's last line"


# --- ticks ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """Folder with what is built of tests/native."""
    return tmp_path_factory.mktemp("native")


class Rig:
    """A session's side of the handler, made by hand: one slot, one synthetic thread."""

    def __init__(self, path, name="3.14t", ring_words=64, max_depth=32):
        self.library = library = ctypes.CDLL(str(path))
        library.deliver.argtypes = [
            ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_size_t, ctypes.c_int,
        ]  # fmt: skip
        self.image = Image(name)
        self.sampler = synthetic.Sampler.in_dll(library, "sampler")
        ctypes.memset(ctypes.byref(self.sampler), 0, ctypes.sizeof(self.sampler))
        ctypes.c_uint32.in_dll(library, "tick_cookie").value = COOKIE
        self.words = (ctypes.c_uint64 * ring_words)()
        self.scratch = ctypes.create_string_buffer(ctypes.sizeof(synthetic.RecordHead) + 16 * max_depth)
        self.slot = synthetic.aligned(
            synthetic.Slot,
            thread=9,
            tid=self.image.tid,
            thread_id=self.image.stack.end,
            scratch=ctypes.addressof(self.scratch),
            thread_state=self.image.state,
            lease=LEASE,
        )
        library.ring_init(ctypes.byref(self.slot.ring), self.words, ctypes.c_uint64(ring_words))
        self.sampler.layout = self.image.layout
        self.sampler.code_type = self.image.code_type
        self.sampler.max_depth = max_depth
        self.sampler.long_look = LONG
        self.sampler.main_stack_high = 1 << 46
        self.sampler.slots[3] = ctypes.addressof(self.slot)
        self.sampler.active = True
        library.signals_take.argtypes = [ctypes.c_int, ctypes.c_void_p]
        assert library.signals_take(signal.SIGPROF, synthetic.address_of(library.handler_on_profile_signal)) == 0

    def tick(self, slot=3, lease=LEASE, cookie=COOKIE, code=SI_TIMER, overrun=0, blocked=0, stack=None):
        """Delivers one; returns errno afterwards."""
        value = synthetic.tick_value(slot, lease, cookie)
        low = self.image.stack.start + 128 if stack is None else stack
        error = self.library.deliver(code, value, overrun, low, blocked)
        assert self.slot.inside == 0
        return error

    @property
    def stats(self):
        stats = synthetic.Stats()
        self.library.counters_snapshot(ctypes.byref(self.slot.counters), ctypes.byref(stats))
        assert stats.ticks == sum(stats.by_reason)
        return stats

    @property
    def strays(self):
        return {name: n for name, n in zip(REASONS, self.sampler.strays.by_reason, strict=True) if n}

    def pop(self):
        """(head, frames) of the oldest record, or None."""
        words = (ctypes.c_uint64 * len(self.words))()
        count = self.library.ring_pop(ctypes.byref(self.slot.ring), words, len(words))
        if count == 0:
            return None
        head = synthetic.RecordHead.from_buffer(words)
        assert count == (ctypes.sizeof(head) + 16 * head.depth) // 8
        frames = (synthetic.WalkFrame * head.depth).from_buffer(words, ctypes.sizeof(head))
        return head, tuple((frame.code, frame.instruction, frame.first_line) for frame in frames)

    def stack_up(self):
        self.image.enter()
        self.image.call(self.image.code(), 4)
        self.image.resume(self.image.code(), 2)


@pytest.fixture
def rig(ticks):
    made = Rig(ticks)
    with synthetic.fault_handler(made.library):
        yield made


def test_tick_becomes_a_record(rig):
    rig.stack_up()
    rig.sampler.deaths = 77
    before = time.monotonic_ns()
    rig.tick(overrun=2)
    head, frames = rig.pop()
    assert frames == rig.image.whole().frames
    assert before <= head.time <= time.monotonic_ns()
    assert (head.thread, head.tid, head.generation, head.weight, head.flags) == (9, rig.image.tid, 77, 3, 0)
    stats = rig.stats
    assert (stats.ticks, stats.samples, stats.handler_runs, stats.unguarded_ticks) == (3, 1, 1, 0)
    assert (stats.outcomes, rig.strays, rig.pop()) == ({"captured": 3}, {}, None)


def test_flags_go_into_the_record(rig):
    rig.stack_up()
    rig.image.set_status(bound=True)
    rig.sampler.max_depth = 1
    rig.tick()
    head, frames = rig.pop()
    assert head.flags == synthetic.DETACHED | synthetic.TRUNCATED
    assert frames == rig.image.whole(depth=1).frames


def test_refused_stack_leaves_no_record(rig):
    rig.stack_up()
    put_byte(rig.image.at("frame.owner", rig.image.chain[0]), 7)
    rig.tick(overrun=1)
    assert (rig.stats.outcomes, rig.stats.samples, rig.pop()) == ({"owner": 2}, 0, None)


def test_ring_that_is_full(rig):
    rig.stack_up()
    for _ in range(8):
        rig.tick()
    fits = rig.stats.samples
    assert 0 < fits < 8
    assert rig.stats.outcomes == {"captured": fits, "ring_full": 8 - fits}
    assert [rig.pop() is not None for _ in range(fits + 1)] == [True] * fits + [False]


def tick_at(rig, began, ended, **arguments):
    """A tick whose look begins and ends at these readings of the thread's CPU clock; returns its outcome."""
    before = rig.stats.outcomes
    (ctypes.c_int64 * 3).in_dll(rig.library, "cpu_times")[1:] = began, ended
    left = ctypes.c_uint.in_dll(rig.library, "cpu_times_left")
    left.value = 2
    assert rig.tick(**arguments) == ERRNO_MARK
    left.value = 0
    rig.pop()
    after = rig.stats.outcomes
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name)}


def test_thread_runs_three_times_as_long_as_a_long_look_took(rig):
    """But for 20 ms of rest that it may owe."""
    rig.stack_up()
    assert tick_at(rig, 2 * MS, 12 * MS) == {"captured": 1}  # rested at 42 ms
    assert tick_at(rig, 12 * MS, 90 * MS, overrun=6) == {"throttled": 7}
    assert tick_at(rig, 22 * MS - 1, 90 * MS) == {"throttled": 1}
    assert tick_at(rig, 22 * MS, 32 * MS) == {"captured": 1}  # rested at 82 ms
    assert tick_at(rig, 62 * MS - 1, 0) == {"throttled": 1}
    assert tick_at(rig, 62 * MS, 62 * MS) == {"captured": 1}
    assert tick_at(rig, 200 * MS, 210 * MS) == {"captured": 1}  # long rested before; rested at 240 ms
    assert tick_at(rig, 220 * MS - 1, 0) == {"throttled": 1}
    assert rig.stats.handler_runs == 8


def test_long_looks_now_and_then_are_forgiven(rig):
    rig.stack_up()
    for began in (2 * MS, 3 * MS, 4 * MS, 20 * MS, 21 * MS):
        assert tick_at(rig, began, began + MS) == {"captured": 1}


def test_short_looks_follow_each_other(rig):
    rig.stack_up()
    for _ in range(100):
        assert tick_at(rig, 2 * MS, 2 * MS + LONG - 1) == {"captured": 1}


def test_long_looks_add_up(rig):
    rig.stack_up()
    found = [tick_at(rig, 2 * MS, 2 * MS + LONG) for _ in range(25)]
    assert found == [{"captured": 1}] * 21 + [{"throttled": 1}] * 4


def test_unguarded_ticks_are_those_that_looked(rig, by_syscall):
    rig.stack_up()
    tick_at(rig, 2 * MS, 12 * MS, blocked=signal.SIGSEGV)
    tick_at(rig, 12 * MS, 12 * MS, blocked=signal.SIGSEGV)
    assert (rig.stats.unguarded_ticks, rig.stats.outcomes) == (1, {"captured": 1, "throttled": 1})


@pytest.mark.parametrize("clock", [(-22, -22), (-22, 50 * MS), (MS, -22)])
def test_thread_whose_clock_cannot_be_read_is_looked_at(rig, clock):
    rig.stack_up()
    assert [tick_at(rig, *clock) for _ in range(3)] == [{"captured": 1}] * 3
    assert tick_at(rig, MS, MS) == {"captured": 1}


def test_thread_that_no_state_is_known_of(rig):
    rig.slot.thread_state = 0
    rig.tick()
    assert rig.stats.outcomes == {"no_thread_state": 1}


def test_stack_of_the_initial_thread(rig):
    """Its descriptor lies below its stack, so the session says where that ends."""
    rig.stack_up()
    rig.slot.thread_id = synthetic.LOW
    rig.sampler.main_stack_high = rig.image.stack.end
    rig.tick()
    rig.sampler.main_stack_high = rig.image.stack.end - 8
    rig.tick()
    assert rig.stats.outcomes == {"captured": 1, "bounds": 1}


def test_stack_of_the_initial_thread_below_its_descriptor(rig):
    """As an emulator places it: whichever end is nearer above the stack pointer is the stack's."""
    rig.stack_up()
    rig.slot.thread_id = rig.image.stack.end + synthetic.MEGABYTE
    rig.sampler.main_stack_high = rig.image.stack.end
    rig.tick()
    rig.sampler.main_stack_high = rig.image.stack.end - 8
    rig.tick()
    assert rig.stats.outcomes == {"captured": 1, "bounds": 1}


def test_tick_on_another_stack_than_the_threads_own(rig):
    """As on an alternate one, where several signals came together: the thread's own bounds count, all of them."""
    rig.stack_up()
    elsewhere = rig.image.stack.end + synthetic.MEGABYTE
    rig.tick(stack=elsewhere)
    rig.slot.stack_low, rig.slot.stack_high = rig.image.stack.start, rig.image.stack.end
    rig.tick(stack=elsewhere)
    entry = rig.image.chain[0]
    for low in (entry, entry + 8):
        rig.slot.stack_low = low
        rig.tick(stack=elsewhere)
    rig.slot.stack_low, rig.slot.stack_high = rig.image.stack.start, rig.image.stack.end - 8
    rig.tick(stack=elsewhere)
    assert rig.stats.outcomes == {"captured": 2, "bounds": 3}


def test_stack_pointer_counts_on_the_threads_own_stack(rig):
    rig.stack_up()
    rig.slot.stack_low, rig.slot.stack_high = rig.image.stack.start, rig.image.stack.end
    entry = rig.image.chain[0]
    for stack in (entry + RED_ZONE, entry + RED_ZONE + 8):
        rig.tick(stack=stack)
    assert rig.stats.outcomes == {"captured": 1, "bounds": 1}


def test_red_zone_belongs_to_the_stack(rig):
    rig.stack_up()
    entry = rig.image.chain[0]
    for stack in (entry + RED_ZONE, entry + RED_ZONE + 8):
        rig.tick(stack=stack)
    assert rig.stats.outcomes == {"captured": 1, "bounds": 1}


@pytest.mark.parametrize("slot", [0, 4, synthetic.SLOTS_MAX - 1])
def test_tick_for_no_slot(rig, slot):
    rig.tick(slot=slot, overrun=4)
    assert (rig.strays, rig.stats.ticks) == ({"no_thread_state": 5}, 0)


def test_tick_for_a_former_tenant(rig):
    rig.tick(lease=LEASE - 1)
    assert (rig.strays, rig.stats.ticks) == ({"no_thread_state": 1}, 0)


VALUE_ASKS = 1 << 14


@pytest.mark.parametrize(("slot", "lease"), [(4, LEASE), (3, LEASE - 1)])
def test_signal_that_asks_in_vain_is_no_tick(rig, slot, lease):
    """What was due then has been counted by whoever closed the slot."""
    rig.slot.due = 3
    value = synthetic.tick_value(slot, lease, COOKIE) | VALUE_ASKS
    rig.library.deliver(SI_TIMER, value, 4, rig.image.stack.start + 128, 0)
    assert (rig.strays, rig.stats.ticks, rig.slot.due, rig.slot.inside) == ({}, 0, 3, 0)


@pytest.mark.parametrize("bit", range(LEASES.bit_length() - 1))
def test_lease_is_compared_whole(rig, bit):
    """However many tenants the slot has had since the signal was sent."""
    rig.slot.lease = LEASE ^ 1 << bit
    rig.tick()
    assert (rig.strays, rig.stats.ticks) == ({"no_thread_state": 1}, 0)


@pytest.mark.parametrize("lease", [0, LEASES - 1])
def test_first_and_last_lease(rig, lease):
    rig.slot.lease = lease
    rig.tick(lease=lease)
    assert rig.stats.outcomes == {"captured": 1}


def test_slot_that_is_not_let_again_takes_no_tick(rig):
    """Its lease is past the last that a signal can carry."""
    rig.slot.lease = LEASES
    rig.tick(lease=0)
    rig.tick(lease=LEASES - 1)
    assert (rig.strays, rig.stats.ticks) == ({"no_thread_state": 2}, 0)


@pytest.mark.parametrize("slot", [0, 1, synthetic.SLOTS_MAX - 1])
@pytest.mark.parametrize("lease", [0, LEASE, LEASES - 1])
def test_value_of_a_tick(rig, slot, lease):
    """Three numbers side by side, each with all its bits."""
    rig.library.tick_value_of.restype = ctypes.c_uint64
    assert rig.library.tick_value_of(slot, lease) == synthetic.tick_value(slot, lease, COOKIE)


# Upper halves of what a neighbour's timer may carry: a number, one below 0, a pointer, a pointer whose top byte is a tag.
FOREIGN_VALUES = (
    *(1 << bit for bit in range(48)), *(-(1 << bit) & (1 << 64) - 1 for bit in range(48)),
    *(tag << 56 | 1 << bit for tag in (0x5A, 0xF0, 0xFF) for bit in range(48)),
)  # fmt: skip


@given(st.integers(0, (1 << 32) - 1))
@example(0)
@example((1 << 32) - 1)
def test_cookie_is_never_the_upper_part_of_a_pointer_or_of_a_small_number(harness, random):
    cookie = harness.tick_cookie_of(ctypes.c_uint32(random))
    assert 0 <= cookie < 1 << 24
    assert all(value >> 40 != cookie for value in FOREIGN_VALUES)


def test_cookies_are_as_many_as_there_can_be(harness):
    """Every draw of two bytes that are neither 0 nor 255 and one that may be anything."""
    drawn = {harness.tick_cookie_of(ctypes.c_uint32(high << 16 | low)) for high in range(1 << 16) for low in (0, 7)}
    assert len(drawn) == 254 * 254 * 2


def test_tick_after_the_session(rig):
    rig.sampler.active = False
    rig.tick(overrun=1)
    assert (rig.strays, rig.stats.ticks, rig.pop()) == ({"busy": 2}, 0, None)


@pytest.mark.parametrize("foreign", [{"cookie": COOKIE ^ 1}, {"code": SI_USER}, {"code": -1}, {"cookie": 0}])
def test_signal_of_somebody_else(rig, foreign):
    rig.library.take_from_an_owner()
    before = rig.library.owner_calls()
    rig.tick(**foreign)
    assert rig.library.owner_calls() == before + 1
    assert (rig.strays, rig.stats.ticks) == ({}, 0)


@pytest.mark.parametrize("blocked", [signal.SIGSEGV, signal.SIGBUS])
def test_blocked_fault_signal_makes_the_tick_unguarded(rig, blocked, by_syscall):
    rig.stack_up()
    rig.tick(blocked=blocked, overrun=1)
    rig.tick()
    assert (rig.stats.unguarded_ticks, rig.stats.outcomes) == (2, {"captured": 3})


@pytest.mark.parametrize("displaced", [signal.SIGSEGV, signal.SIGBUS])
def test_displaced_fault_handler_makes_the_tick_unguarded(rig, displaced, by_syscall):
    rig.stack_up()
    rig.library.signals_give_back(displaced)
    rig.tick()
    with synthetic.bad_page(rig.image.chunks[0], "protected"):
        rig.tick()
    assert (rig.stats.unguarded_ticks, rig.stats.outcomes) == (2, {"captured": 1, "fault": 1})


def every_kind_of_tick(rig):
    """Delivers one of each kind; yields errno after each."""
    rig.stack_up()
    rig.library.take_from_an_owner()
    yield rig.tick()
    yield rig.tick(blocked=signal.SIGSEGV)
    with synthetic.bad_page(rig.image.chunks[0], "protected"):
        yield rig.tick()
        yield rig.tick(blocked=signal.SIGSEGV)  # here process_vm_readv fails, and says so in errno
    for _ in range(8):
        yield rig.tick()
    yield rig.tick(slot=7)
    yield rig.tick(lease=LEASE + 1)
    yield rig.tick(code=SI_USER)
    yield rig.library.deliver_foreign_fault()
    rig.sampler.active = False
    yield rig.tick()
    assert {"captured", "fault", "ring_full"} == set(rig.stats.outcomes)
    assert rig.strays == {"no_thread_state": 2, "busy": 1}


def test_errno_is_kept(rig):
    assert set(every_kind_of_tick(rig)) == {ERRNO_MARK}


def run_here(function, *arguments, **environment):
    """Calls a function of this file in a child process."""
    program = f"import sys; sys.path.insert(0, {str(support.ROOT / 'tests')!r}); import test_handler_side as here\n"
    program += f"here.{function.__name__}(*sys.argv[1:]); print('done')"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def ticks_under_watch(path):
    rig = Rig(path)
    with synthetic.fault_handler(rig.library):
        list(every_kind_of_tick(rig))


def allocation_under_watch(path):
    ctypes.CDLL(path).allocate_while_watched()


def test_handler_does_not_allocate(ticks):
    """With a malloc that ends the process while a handler runs."""
    run = run_here(ticks_under_watch, ticks, LD_PRELOAD=str(ticks))
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


def test_watch_for_allocations_works(ticks):
    run = run_here(allocation_under_watch, ticks, LD_PRELOAD=str(ticks))
    assert (run.returncode, run.stdout) == (-signal.SIGABRT, "")


def ticks_of_a_real_timer(path):
    rig = Rig(path, ring_words=1 << 12)
    library, slot = rig.library, ctypes.byref(rig.slot)
    rig.slot.tid = threading.get_native_id()
    rig.image.put("thread.native_thread_id", rig.image.state, rig.slot.tid)
    interval, value = ctypes.c_uint64(1_000_000), ctypes.c_uint64(synthetic.tick_value(3, LEASE, COOKIE))
    with synthetic.fault_handler(rig.library):
        timer = library.timers_open(time.CLOCK_THREAD_CPUTIME_ID, rig.slot.tid, signal.SIGPROF, value)
        assert timer >= 0
        assert library.timers_run(timer, interval, interval) == 0
        library.spin.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        assert library.spin(slot, 30) == ERRNO_MARK
        library.timers_close(timer)
    stats, popped = rig.stats, list(iter(rig.pop, None))
    assert stats.outcomes == {"captured": stats.ticks} and stats.handler_runs >= 30
    assert sum(head.weight for head, _ in popped) == stats.ticks
    assert len(popped) == stats.samples and {frames for _, frames in popped} == {()}


def test_real_timer(ticks):
    """The kernel's own signals, on a thread whose synthetic stack is empty."""
    run = run_here(ticks_of_a_real_timer, ticks)
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr

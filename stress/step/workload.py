"""What `ninja step` steps through: small pieces of work, one for each way in which a stack can change.

A step costs some 30 us, so a piece makes few rounds: what matters is that every kind of push and pop is met, in the
form that the interpreter runs at first and in the one that it has specialised the code to.
"""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import signal
import sys
import threading
import zlib

# CPython lets go of the thread state for more than 2047 bytes (hashlib) and 5120 bytes (zlib.crc32, adler32).
BLOCK = bytes(range(256)) * 24


# --- calls and returns -------------------------------------------------------------------------------


def add(left, right=1, *rest, scale=1):
    return (left + right + len(rest)) * scale


def calls():
    total = 0
    for number in range(4):
        total += add(number) + add(number, 2, 3, scale=2) + add(*(1, 2), **{"scale": 3})
    return total


def descend(depth):
    return 1 + descend(depth - 1) if depth else 0


def recursion():
    return descend(12)


WIDE = "def wide(depth):\n if depth: wide(depth - 1)\n return 0\n " + " = ".join(f"v{n}" for n in range(200)) + " = 0"


def make_wide(namespace):
    exec(WIDE, namespace)  # noqa: S102
    return namespace["wide"]


wide = make_wide({})


def chunk_edges():
    """Frames so large that they need chunks of the data stack (16 KiB) of their own, mapped and freed in passing."""
    for _ in range(2):
        wide(12)


def even(number):
    return number == 0 or odd(number - 1)


def odd(number):
    return number != 0 and even(number - 1)


def closures():
    step = 3

    def outer(number):
        def inner():
            return number + step

        return inner() + (lambda: number * step)()

    return [outer(number) for number in range(3)]


def comprehensions():
    return (
        [add(n) for n in range(3)],
        {n: add(n) for n in range(2)},
        {add(n) for n in range(2)},
        sum(add(n) for n in range(3)),
    )


# --- generators and coroutines ----------------------------------------------------------------------


def count_to(limit):
    for number in range(limit):  # noqa: UP028
        yield number


def delegate(limit):
    result = yield from count_to(limit)
    yield from (number + 1 for number in count_to(limit))
    return result


def generators():
    return [number for number in delegate(3)] + list(delegate(2))


def echo():
    received = None
    try:
        while True:
            received = yield received
    except KeyError:
        yield "caught"
    finally:
        add(1)


def echo_through():
    yield from echo()


def sending_and_throwing():
    for make in (echo, echo_through):
        generator = make()
        next(generator)
        generator.send(add(1))
        generator.throw(KeyError("into the generator"))
        generator.close()
        del generator
    abandoned = echo_through()
    next(abandoned)
    del abandoned  # closed by its deallocation


@dataclasses.dataclass
class Later:
    """Awaitable that lets its task go once."""

    value: int

    def __await__(self):
        yield self.value
        return self.value


async def inner(number):
    return await Later(number) + number


async def outer(number):
    return await inner(number) + await inner(number + 1)


def coroutines():
    coroutine = outer(2)
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


async def ticks(limit):
    for number in range(limit):
        yield number
        await Later(number)


async def managed():
    async with Guard() as guard:
        return [number async for number in ticks(2)] + [await inner(guard.entered)]


def async_generators():
    coroutine = managed()
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


async def with_a_task():
    return await asyncio.ensure_future(asyncio.sleep(0, 1))


@functools.cache
def loop():
    return asyncio.new_event_loop()


def event_loop():
    return loop().run_until_complete(with_a_task())


# --- exceptions --------------------------------------------------------------------------------------


def raise_at(depth):
    if depth == 0:
        raise ValueError("from the bottom")
    return raise_at(depth - 1)


def clean_up(depth):
    try:
        if depth:
            clean_up(depth - 1)
        else:
            raise KeyError(depth)
    finally:
        add(depth)


def translate(depth):
    try:
        return raise_at(depth)
    except ValueError as error:
        raise RuntimeError("translated") from error


def exceptions():
    for function, depth in ((raise_at, 6), (clean_up, 4), (translate, 3)):
        try:
            function(depth)
        except (ValueError, KeyError, RuntimeError):
            add(depth)
    with contextlib.suppress(ValueError):
        list(map(raise_at, range(2)))
    with contextlib.suppress(TypeError):
        add()  # the call fails while its frame is made
    with contextlib.suppress(ValueError):
        list(fails_midway(3))


def fails_midway(limit):
    yield from count_to(limit)
    raise_at(2)


# --- classes -----------------------------------------------------------------------------------------


class Guard:
    def __init__(self):
        self.entered = 0

    def __enter__(self):
        self.entered += 1
        return self

    def __exit__(self, *_):
        return True

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *_):
        await Later(1)


class Empty:
    pass


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = add(y)


class NamedPoint(Point):
    def __init__(self, x, y):
        super().__init__(x, y)
        self.name = "point"


class Inherits(Point):
    pass


class Slotted:
    __slots__ = ("left",)

    def __init__(self, left):
        self.left = left


class Made:
    def __new__(cls, value):
        self = super().__new__(cls)
        self.value = add(value)
        return self


class Refuses:
    def __init__(self):
        raise_at(1)


class Builds:
    """Instantiates while it is being instantiated."""

    def __init__(self, depth):
        self.next = Builds(depth - 1) if depth else Slotted(0)


@dataclasses.dataclass
class Record:
    left: int
    right: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    left: int


def instantiation():
    for number in range(2):
        Empty()
        Point(number, 2)
        NamedPoint(number, 2)
        Inherits(number, 2)
        Slotted(number)
        Made(number)
        Builds(2)
        Record(number)
        Frozen(number)
        with contextlib.suppress(ValueError):
            Refuses()


class Special:
    """Whatever the interpreter calls by itself."""

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Special(self.value + other)

    def __getitem__(self, index):
        return add(index)

    def __eq__(self, other):
        return self.value == other

    def __hash__(self):
        return hash(self.value)

    def __getattr__(self, name):
        return name

    @property
    def doubled(self):
        return add(self.value)

    def __iter__(self):
        yield self.value

    def __call__(self, number):
        return number

    def __del__(self):
        add(1)


def special_methods():
    special = Special(2)
    pair = special + 1
    return special[1], special == 2, {special: 1}, pair.missing, pair.doubled, list(pair), pair(4)


def context_managers():
    for _ in range(2):
        with Guard() as guard, contextlib.nullcontext():
            add(guard.entered)
        with Guard():
            raise_at(1)


@contextlib.contextmanager
def bracket():
    add(1)
    try:
        yield
    finally:
        add(2)


def generator_managers():
    with bracket():
        add(3)
    with contextlib.suppress(ValueError), bracket():
        raise_at(1)


# --- C code ------------------------------------------------------------------------------------------


def key(number):
    return -number


def combine(left, right):
    return left + right


def callbacks():
    return (
        sorted(range(4), key=key),
        list(map(key, range(3))),
        functools.reduce(combine, range(4)),
        max(range(3), key=key),
        sorted(map(key, count_to(3)), key=functools.cmp_to_key(combine)),
    )


def detached():
    return zlib.crc32(BLOCK), hashlib.sha256(BLOCK[:2100]).digest()


SOURCE = compile("def made(): return sum(n for n in range(2))\nresult = made()", "made", "exec")


def executed():
    """A function that is made, called and freed."""
    namespace = {}
    exec(SOURCE, namespace)  # noqa: S102
    return namespace["result"]


# --- what comes from outside --------------------------------------------------------------------------


def watch(frame, event, argument):
    add(1)
    return watch


def hooks():
    """Switched on and off below frames that are running; a hook's own frame comes and goes on top."""
    sys.setprofile(watch)
    add(1)
    sys.settrace(watch)
    sys.setprofile(None)
    add(2)
    sys.settrace(None)
    add(3)


def on_signal(*_):
    add(1)


def signals():
    """The first handler runs as a C function on top of the stepped instruction, the second as Python code."""
    signal.raise_signal(signal.SIGUSR1)
    add(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.raise_signal(signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])


def in_a_thread(generator, results):
    results.append(recursion())
    results.append(next(generator))  # from here on in this thread's copy of the bytecode, where the version has such


def thread():
    """A thread made by a stepped one is stepped itself, from its first machine instruction to its last."""
    results, generator = [], delegate(3)
    next(generator)
    worker = threading.Thread(target=in_a_thread, args=(generator, results))
    worker.start()
    worker.join()
    results.extend(generator)
    return results


# In order; `thread` makes the most steps, many of them in the allocator when the thread begins and ends.
PIECES = [
    calls,
    recursion,
    closures,
    comprehensions,
    generators,
    sending_and_throwing,
    coroutines,
    async_generators,
    exceptions,
    instantiation,
    special_methods,
    context_managers,
    generator_managers,
    callbacks,
    detached,
    hooks,
    signals,
    executed,
    chunk_edges,
    event_loop,
    thread,
]

# Run again when the interpreter has specialised their code.
SPECIALISED = [piece for piece in PIECES if piece not in (detached, hooks, signals, executed, event_loop, thread)]
# For a short run.
SHORT = [calls, recursion, generators, sending_and_throwing, coroutines, exceptions, instantiation, callbacks, thread]

WARMING = 40  # calls


def warm():
    for piece in SPECIALISED:
        for _ in range(WARMING):
            piece()


def prepare():
    """What is to have happened before, unstepped."""
    signal.signal(signal.SIGUSR1, on_signal)
    loop()
    # The first thread of a process makes 3.13t immortalise every function and type there is: a million steps.
    first = threading.Thread(target=int)
    first.start()
    first.join()

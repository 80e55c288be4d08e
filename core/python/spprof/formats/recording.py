"""The recording itself, which a session can append to while it runs; specs/recording.md has the format.

A file that was cut anywhere, since the process that wrote it was killed, reads up to the last moment of which it holds
everything. One that was damaged is refused.
"""

from __future__ import annotations

import json
import struct
import sys
from binascii import crc32
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..counters import MODES, RECORDINGS, zero_counters
from ..records import BLOCK, ROOT, Thread, name_threads
from ..version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .._native import NativeProfile, NativeStats
    from ..calltree import CallTree

suffix = ".spprof"

_MAGIC = b"\x89spprof\n"
_ORDER = 0x01020304
_VERSION = 1
_FILE_HEAD = struct.Struct("=8sII")
_HEAD = "IIII"  # kind, length, checksum of what follows, checksum of these three
_HEAD_SIZE = struct.calcsize("=" + _HEAD)


class _Kind(IntEnum):
    SETTINGS = 1
    CODES = 2
    NODES = 3
    RECORDS = 4
    CHANGES = 5
    AGAIN = 6
    THREADS = 7
    COUNTERS = 8
    END = 9


_CODE = "iII"  # first line, bytes of the name and of the file's name, which follow
_NODE = "iii"
_RECORD = "qqIiII"
_CHANGE = "qII"  # last time, number, weight
_THREAD = "i16s"
_LAST_AT = 8  # in a record
_WEIGHT_AT = 24

_MOST = 1 << 64  # no counter is that large


class Unreadable(ValueError):
    """Not a recording, or a damaged one. The message goes on from the file's name."""


class Settings(NamedTuple):
    """What a session was asked for, and in which process."""

    mode: str
    interval_ms: float
    recording: str
    process_id: int
    launchers: Sequence[str]
    """Files whose frames, where they are outermost, only started the program; a folder's name ends in a slash."""


@dataclass
class Contents:
    """A file that was read: what `Profile` is made of."""

    native: NativeProfile
    settings: Settings
    threads: list[Thread]
    is_whole: bool
    """Whether its session came to its end and said so."""

    def is_launcher(self, filename: str) -> bool:
        """Whether code of that file is what started the program."""
        return any(filename.startswith(name) if name.endswith("/") else filename == name for name in self._launchers)

    @property
    def _launchers(self) -> Sequence[str]:
        return self.settings.launchers


# --- writing ---------------------------------------------------------------------------------------------------------


def head(settings: Settings) -> bytes:
    """What a file begins with."""
    described = {**settings._asdict(), "launchers": list(settings.launchers), "spprof": __version__}
    return _FILE_HEAD.pack(_MAGIC, _ORDER, _VERSION) + _block(_Kind.SETTINGS, _text(described))


def end_text(threads: Iterable[Thread]) -> bytes:
    """What the last block of a file says: names and CPU times of threads, which are known at the end."""
    known = list(threads)
    cpu_ns = [round(thread.cpu_s * 1e9) for thread in known]
    return _text({"threads": [thread.name for thread in known], "cpu_ns": cpu_ns})


def write(tree: CallTree) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    records = tree.records
    native = records.native
    settings = Settings(records.mode, records.interval_ms, records.recording, 0, ())
    yield head(settings)
    yield _block(_Kind.CODES, b"".join(map(_code, native["codes"])))
    for kind, blocks in ((_Kind.NODES, native["nodes"]), (_Kind.RECORDS, native["samples"])):
        yield from (_block(kind, bytes(block)) for block in blocks)
    packed = [struct.pack("=" + _THREAD, thread.native_id, b"") for thread in records.threads]
    yield _block(_Kind.THREADS, b"".join(packed))
    yield _block(_Kind.COUNTERS, _text(native["stats"]))
    yield _block(_Kind.END, end_text(records.threads))


def _text(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")  # two escaped surrogates would be read as one character


def _block(kind: int, payload: bytes) -> bytes:
    first = struct.pack("=III", kind, len(payload), crc32(payload))
    return first + struct.pack("=I", crc32(first)) + payload


def _code(code: tuple[str, str, int]) -> bytes:
    name, filename = (text.encode("utf-8", "surrogatepass") for text in code[:2])
    return struct.pack("=" + _CODE, code[2], len(name), len(filename)) + name + filename


# --- reading ---------------------------------------------------------------------------------------------------------


def read(data: bytes) -> Contents:
    """What a file holds. Raises Unreadable."""
    return _Reader(data).contents()


@dataclass
class _Held:
    """What all blocks until now have come to."""

    codes: list[tuple[str, str, int]] = field(default_factory=list)
    nodes: bytearray = field(default_factory=bytearray)
    records: bytearray = field(default_factory=bytearray)
    threads: list[tuple[int, str]] = field(default_factory=list)
    stats: NativeStats = field(default_factory=zero_counters)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._order = _order_of(data)
        self._held = _Held()
        self._names: list[str] | None = None
        self._cpu_ns: list[int] = []

    def contents(self) -> Contents:
        blocks = self._blocks()
        settings = _settings_of(next(blocks, None))
        waiting: list[tuple[int, memoryview]] = []
        for kind, payload in blocks:
            if self._names is not None:
                raise Unreadable("is damaged: it goes on after its end")
            waiting.append((kind, payload))
            if kind in (_Kind.COUNTERS, _Kind.END):  # all before it is of one moment
                for each in waiting:
                    self._take(*each)
                waiting.clear()
        return self._made(settings)

    def _blocks(self) -> Iterator[tuple[int, memoryview]]:
        """Kind and contents of each whole block; what is left at the end was cut."""
        data, at = self._data, _FILE_HEAD.size
        while len(data) - at >= _HEAD_SIZE:
            kind, length, checksum, own = struct.unpack_from(self._order + _HEAD, data, at)
            if crc32(data[at : at + _HEAD_SIZE - 4]) != own:
                raise Unreadable(f"is damaged at byte {at}: the head of a block does not have its checksum")
            at += _HEAD_SIZE
            payload = data[at : at + length]
            if len(payload) < length:
                return
            if crc32(payload) != checksum:
                raise Unreadable(f"is damaged at byte {at}: a block does not have its checksum")
            at += length
            yield kind, payload

    def _unpacked(self, form: str, payload: memoryview) -> Iterator[tuple[Any, ...]]:
        each = struct.Struct(self._order + form)
        if len(payload) % each.size:
            raise Unreadable("is damaged: a block ends in the middle of an entry")
        return each.iter_unpack(payload)

    def _native(self, form: str, payload: memoryview) -> bytes | memoryview:
        """In this machine's byte order."""
        entries = self._unpacked(form, payload)
        if self._order == _own_order():
            return payload
        pack = struct.Struct("=" + form).pack
        return b"".join(pack(*entry) for entry in entries)

    def _take(self, kind: int, payload: memoryview) -> None:
        held = self._held
        match kind:
            case _Kind.CODES:
                held.codes.extend(self._codes(payload))
            case _Kind.NODES:
                held.nodes += self._native(_NODE, payload)
            case _Kind.RECORDS:
                held.records += self._native(_RECORD, payload)
            case _Kind.CHANGES:
                self._change(payload)
            case _Kind.AGAIN:
                held.records.clear()
            case _Kind.THREADS:
                found = self._unpacked(_THREAD, payload)
                held.threads.extend((tid, _kernel_name(name)) for tid, name in found)
            case _Kind.COUNTERS:
                held.stats = _stats_of(payload)
            case _Kind.END:
                self._names, self._cpu_ns = _end_of(payload)
            case _:
                raise Unreadable(f"has a block of a kind that this version does not know ({kind}); take a newer one")

    def _codes(self, payload: memoryview) -> Iterator[tuple[str, str, int]]:
        code = struct.Struct(self._order + _CODE)
        at = 0
        while at < len(payload):
            if len(payload) - at < code.size:
                raise Unreadable("is damaged: a code object is not whole")
            first_line, *lengths = code.unpack_from(payload, at)
            at += code.size
            texts = []
            for length in lengths:
                texts.append(_decoded(payload[at : at + length], length))
                at += length
            yield texts[0], texts[1], first_line

    def _change(self, payload: memoryview) -> None:
        records, size = self._held.records, struct.calcsize("=" + _RECORD)
        for last, number, weight in self._unpacked(_CHANGE, payload):
            at = number * size
            if at >= len(records):
                raise Unreadable("is damaged: a record changes that is not there")
            struct.pack_into("=q", records, at + _LAST_AT, last)
            struct.pack_into("=I", records, at + _WEIGHT_AT, weight)

    # --- the whole ---

    def _made(self, settings: Settings) -> Contents:
        held = self._held
        _check_nodes(held)
        captured = _check_records(held)
        found: list[tuple[int, str, str | None, int]] = [(tid, name, None, 0) for tid, name in held.threads]
        if self._names is None:
            process = next((name for tid, name in held.threads if tid == settings.process_id), "")
            threads = name_threads(found, {}, process)
        elif not len(self._names) == len(self._cpu_ns) == len(found):
            raise Unreadable("is damaged: it has not as many names as threads")
        else:
            known = enumerate(zip(held.threads, self._names, self._cpu_ns, strict=True))
            threads = [Thread(index, tid, name, cpu_ns / 1e9) for index, ((tid, _), name, cpu_ns) in known]
        native: NativeProfile = {
            "codes": held.codes,
            "nodes": _split(held.nodes, _NODE),
            "samples": _split(held.records, _RECORD),
            "threads": found,
            "stats": _agreed(held.stats, captured),
        }
        return Contents(native, settings, threads, self._names is not None)


def _own_order() -> str:
    return "<" if sys.byteorder == "little" else ">"


def _order_of(data: bytes) -> str:
    """The byte order of the file, as `struct` writes it."""
    if len(data) < _FILE_HEAD.size or not data.startswith(_MAGIC):
        raise Unreadable("is not a recording of spprof")
    for order in "<>":
        _, mark, version = struct.unpack_from(order + "8sII", data)
        if mark == _ORDER:
            if version != _VERSION:
                raise Unreadable(f"is a recording of version {version}, and this spprof reads version {_VERSION}")
            return order
    raise Unreadable("is damaged: its byte order is none")


def _parsed(payload: memoryview | bytes) -> Any:
    try:
        return json.loads(bytes(payload).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise Unreadable("is damaged: a block is no JSON") from None


def _settings_of(block: tuple[int, memoryview] | None) -> Settings:
    if block is None or block[0] != _Kind.SETTINGS:
        raise Unreadable("is a recording that was cut before its session began")
    match _parsed(block[1]):
        case {
            "mode": str(mode),
            "interval_ms": float() | int() as interval_ms,
            "recording": str(recording),
            "process_id": int(process_id),
            "launchers": [*launchers],
        } if (
            mode in MODES
            and recording in RECORDINGS
            and 0 < interval_ms < _MOST
            and all(isinstance(name, str) for name in launchers)
        ):
            return Settings(mode, interval_ms, recording, process_id, launchers)
    raise Unreadable("is damaged: its settings are none")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _stats_of(payload: memoryview) -> NativeStats:
    """Counters that the file does not have are 0; those that only a newer version knows are passed over."""
    found, stats = _parsed(payload), zero_counters()
    losses = found.get("dropped") if isinstance(found, dict) else None
    numbers = {name: found.get(name, 0) for name in stats if name != "dropped"} if isinstance(losses, dict) else {}
    if not numbers or not all(map(_is_count, chain(numbers.values(), losses.values()))):
        raise Unreadable("is damaged: its counters are none")
    if numbers["recording"] >= len(RECORDINGS):
        raise Unreadable("is damaged: its samples are neither a timeline nor counts")
    return cast("NativeStats", {**numbers, "dropped": losses})


def _end_of(payload: memoryview) -> tuple[list[str], list[int]]:
    """Names and CPU times of threads."""
    match _parsed(payload):
        case {"threads": [*names], **others} if all(isinstance(name, str) for name in names):
            cpu_ns = others.get("cpu_ns", [0] * len(names))
            if isinstance(cpu_ns, list) and all(map(_is_count, cpu_ns)):
                return names, cpu_ns
    raise Unreadable("is damaged: its end is none")


def _decoded(text: memoryview, length: int) -> str:
    if len(text) == length:
        try:
            return bytes(text).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
    raise Unreadable("is damaged: a name is none")


def _kernel_name(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _check_nodes(held: _Held) -> None:
    codes = len(held.codes)
    for number, (parent, code, line) in enumerate(struct.iter_unpack("=" + _NODE, held.nodes)):
        if not (ROOT <= parent < number and 0 <= code < codes and line >= 0):
            raise Unreadable("is damaged: its call tree is none")


def _check_records(held: _Held) -> int:
    """The ticks that the records stand for."""
    nodes, threads, captured = len(held.nodes) // struct.calcsize("=" + _NODE), len(held.threads), 0
    for _, _, thread, node, weight, _ in struct.iter_unpack("=" + _RECORD, held.records):
        if not (thread < threads and ROOT <= node < nodes):
            raise Unreadable("is damaged: a record is of no thread or no stack")
        captured += weight
    return captured


def _split(records: bytearray, form: str) -> list[memoryview]:
    """As the extension hands them over."""
    size = BLOCK * struct.calcsize("=" + form)
    return [memoryview(records)[at : at + size] for at in range(0, len(records), size)]


def _agreed(stats: NativeStats, captured: int) -> NativeStats:
    """Counters that agree with the records. While a session runs some ticks have been counted whose stacks are on their way."""
    on_their_way = max(0, stats["captured"] - captured)
    return {
        **stats,
        "captured": captured,
        "ticks": captured + sum(stats["dropped"].values()),
        "samples": min(stats["samples"], captured),
        "ticks_in_progress": stats["ticks_in_progress"] + on_their_way,
    }

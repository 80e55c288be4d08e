"""Which function an address of this process is in: from the files that are mapped, static functions too."""

import bisect
import functools
import struct
from pathlib import Path

SYMBOL_TABLE, DYNAMIC_SYMBOLS = 2, 11
FUNCTION, INDIRECT_FUNCTION = 2, 10
LOADED = 1


def read_maps():
    """(start, end, offset in the file, path) of every mapped file."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/"):
            start, end = (int(number, 16) for number in fields[0].split("-"))
            found.append((start, end, int(fields[2], 16), fields[5]))
    return found


class Image:
    """The functions of an ELF file of 64 bits."""

    def __init__(self, path):
        try:
            self.data = Path(path).read_bytes()
        except OSError:  # gone, or replaced, since it was mapped
            self.data = b""
        self.segments, self.functions = [], {}
        if self.data[:5] == b"\x7fELF\x02":
            self._read()
        self.starts = sorted(self.functions)

    def _read(self):
        segments, sections = struct.unpack_from("<QQ", self.data, 32)
        segment_count, _, section_count = struct.unpack_from("<HHH", self.data, 56)
        for index in range(segment_count):
            kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", self.data, segments + 56 * index)
            if kind == LOADED:
                self.segments.append((offset, address, size))
        headers = [struct.unpack_from("<IIQQQQI", self.data, sections + 64 * index) for index in range(section_count)]
        for _, kind, _, _, offset, size, link in headers:
            if kind in (SYMBOL_TABLE, DYNAMIC_SYMBOLS):
                self._read_symbols(offset, size, headers[link][4])

    def _read_symbols(self, offset, size, names):
        for at in range(offset, offset + size, 24):
            name, info, _, section, value, length = struct.unpack_from("<IBBHQQ", self.data, at)
            if info & 15 in (FUNCTION, INDIRECT_FUNCTION) and section != 0:
                end = self.data.index(b"\0", names + name)
                self.functions[value] = (self.data[names + name : end].decode(), length)

    def address_of(self, offset):
        """The address in the file's own numbering, or None."""
        for start, address, size in self.segments:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def name_of(self, address):
        index = bisect.bisect_right(self.starts, address) - 1
        if index < 0:
            return None
        name, length = self.functions[self.starts[index]]
        # Parts that a compiler splits off are named after the whole: f.cold, f.part.0
        return name.split(".")[0] if address < self.starts[index] + length else None


@functools.cache
def image(path):
    return Image(path)


def function_at(address, maps):
    """The function's name; where the file does not tell, the file's name in brackets."""
    for start, end, offset, path in maps:
        if start <= address < end:
            own = image(path).address_of(address - start + offset)
            name = image(path).name_of(own) if own is not None else None
            return name or f"[{Path(path).name}]"
    return "[unmapped]"


def address_of(name, maps):
    """Where the function of that name begins, or 0."""
    for start, end, offset, path in maps:
        for value, (found, _) in image(path).functions.items():
            own = image(path).address_of(offset)
            if found == name and own is not None and own <= value < own + end - start:
                return start + value - own
    return 0

"""Which lines of some files are run."""

import sys
from pathlib import Path


class Watch:
    """Between enter and exit: `seen` has (file, line) of each line that was run."""

    def __init__(self, files):
        self.files = frozenset(files)
        self.seen = set()
        self.left = {}  # by id of the code object: lines that were not run yet
        self.codes = []  # kept alive, or an id would be used again

    def __enter__(self):
        sys.settrace(self._called)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _called(self, frame, event, _):
        code = frame.f_code
        left = self.left.get(id(code))
        if left is None:
            self.codes.append(code)
            left = self.left[id(code)] = lines_of(code) if code.co_filename in self.files else set()
        if not left:
            return None  # nothing new can come of it: a name of a megabyte is a million calls
        self._note(code, left, frame.f_lineno)
        return self._ran

    def _ran(self, frame, event, _):
        if event == "line":
            self._note(frame.f_code, self.left[id(frame.f_code)], frame.f_lineno)
        return self._ran

    def _note(self, code, left, line):
        left.discard(line)
        self.seen.add((code.co_filename, line))


def lines_of(code):
    return {line for _, _, line in code.co_lines() if line}


def lines_in(file):
    """Every line of the file that can be run."""
    waiting, found = [compile(Path(file).read_text(), file, "exec")], set()
    while waiting:
        code = waiting.pop()
        found |= lines_of(code)
        waiting += [constant for constant in code.co_consts if hasattr(constant, "co_lines")]
    return found


def row(file, shown, watch):
    """How many lines of a file were run, and which were not; `shown` is its name in the row."""
    everything = lines_in(file)
    seen = {line for name, line in watch.seen if name == file}
    missed = sorted(everything - seen)
    told = f"; not {', '.join(map(str, missed))}" if missed else ""
    return f"{shown!s:28} {len(everything & seen):4} of {len(everything):4} lines{told}"

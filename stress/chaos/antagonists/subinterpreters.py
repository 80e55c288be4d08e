"""Interpreters that are made, run and destroyed beside the one that is sampled."""

from antagonists import Antagonist, expect

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

TEXT = "assert sum(number * number for number in range(1000)) == 332833500"


# 3.13.15 and 3.14.7, free-threaded, keep about 3 MiB of each that was destroyed, with no profiler in the process
# (evidence/subinterpreters.py).
KEPT_OF_EACH = 4 << 20


class Subinterpreters(Antagonist):
    grows = True

    def round(self, dice):
        made = [_interpreters.create() for _ in range(dice.randrange(1, 3))]
        try:
            for interpreter in made:
                failure = _interpreters.run_string(interpreter, TEXT)
                expect(failure is None, f"a subinterpreter failed: {failure}")
        finally:
            for interpreter in made:
                _interpreters.destroy(interpreter)
                self.kept += KEPT_OF_EACH

"""The command line's entry: chooses where the launcher's modules come from before it loads them."""

from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run a command line (without the program name; by default this process's); the exit status.

    Raises SystemExit after `--help` and `--version`, KeyboardInterrupt where the program ended by
    it. The process is the program's afterwards: its `sys.argv`, `sys.path` and `__main__` stay.
    """
    imports.keep_to_library()
    try:
        from . import _load, command

        _load()  # a program that imports the package finds it whole
        return command.main(argv)
    finally:
        imports.give_back()

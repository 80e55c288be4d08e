"""Where modules come from: the launcher's from the standard library alone, the program's as ever.

Until the program runs, the process is the launcher's, and a file of the program that has the name
of a standard module must not become one of the launcher's. From then on it is the program's, which
must find that file, though the launcher has loaded the standard module. What the interpreter itself
had loaded by its start stays, as it does without the launcher.

This file imports nothing but what is built in, frozen or there already, as `os` is: the path is not
to be trusted yet. So do the others that come before `keep_to_library`.
"""

import os
import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

_PACKAGE = __name__.partition(".")[0]


class _Launch:
    """What is to be given to the program; `path` is None where the launcher has not begun."""

    def __init__(self) -> None:
        self.before: list[str] = []  # sys.path as it was
        self.path: list[str] | None = None  # the same without the launcher's own place
        self.loaded = set(sys.modules)  # should the order of sys.modules not tell
        self.finders = set(sys.path_importer_cache)
        self.set_aside: dict[str, ModuleType] = {}


_launch = _Launch()


def keep_to_library() -> None:
    """From here on modules come from the standard library and what follows it on `sys.path`.

    The launcher's own place at its head (the working directory, with `-m`) goes for good. Modules
    with a standard name that were found there by now, by `runpy`, are kept for the program.
    """
    _launch.before = sys.path[:]
    _launch.path = sys.path[:] if sys.flags.safe_path else sys.path[1:]
    sys.path[:] = _from_library_on(_launch.path)
    standard = _brought() & sys.stdlib_module_names
    for name in _names_under(top for top in standard if _is_elsewhere(top)):
        _launch.set_aside[name] = sys.modules.pop(name)


def find(name: str, folder: str | None) -> bool:
    """Whether the program would find a top-level module, with `folder` the first place."""
    from importlib.util import find_spec  # not before keep_to_library: it imports `types`

    own_path = sys.path[:]
    sys.path[:] = _programs_path(folder)
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
    finally:
        sys.path[:] = own_path


def hand_over(folder: str | None) -> None:
    """From here on `sys.path` is the program's, with `folder` the first place where there is one.

    Modules that the launcher loaded, and the program would find elsewhere, it has to load itself.
    """
    sys.path[:] = _programs_path(folder)
    for name in _names_under(top for top in _brought() - {_PACKAGE} if _is_elsewhere(top)):
        del sys.modules[name]
    sys.modules.update(_launch.set_aside)
    for place in sys.path_importer_cache.keys() - _launch.finders:
        del sys.path_importer_cache[place]  # a program may write modules and import them at once
    _launch.path = None


def give_back() -> None:
    """Where no program has run `sys.path` and the modules are as they were."""
    if _launch.path is not None:
        sys.path[:] = _launch.before
        sys.modules.update(_launch.set_aside)


def _programs_path(folder: str | None) -> list[str]:
    path = sys.path if _launch.path is None else _launch.path
    return [*path] if folder is None else [folder, *path]


def _from_library_on(path: list[str]) -> list[str]:
    """Without the places of PYTHONPATH, of which one may be the program's folder."""
    library = sys._stdlib_dir  # type: ignore[attr-defined]
    if library not in path:
        return path
    first = path.index(library)
    has_archive = first > 0 and path[first - 1].endswith(".zip")
    return path[first - has_archive :]


def _brought() -> set[str]:
    """Top-level names of the modules that the interpreter had not loaded by its start.

    Its last one is `site`, which has loaded what configures it by then; -S leaves it out.
    """
    names = list(sys.modules)  # in the order in which their loading ended
    if "site" in sys.modules:
        names = names[names.index("site") + 1 :]
    else:
        names = [name for name in names if name not in _launch.loaded]
    return {name.partition(".")[0] for name in names} - {"__main__"}


def _names_under(tops: "Iterable[str]") -> list[str]:
    """The loaded modules of these names and within them."""
    wanted = set(tops)
    return [name for name in sys.modules if name.partition(".")[0] in wanted]


def _is_elsewhere(name: str) -> bool:
    """Whether `sys.path` has another top-level module of that name than the one that is loaded."""
    if BuiltinImporter.find_spec(name) is not None or FrozenImporter.find_spec(name) is not None:
        return False  # which come first whatever the path is
    found = PathFinder.find_spec(name)
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if found is None or found.loader is None or loaded is None:
        return False
    return not _is_same_file(found.origin, loaded.origin)


def _is_same_file(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)

"""The package's modules stand in layers: what a module imports lies below it.

An import counts wherever it stands: in a function, or for a type checker alone.
"""

import ast
import graphlib
import shutil

import pytest
import support

PACKAGE = support.ROOT / "core" / "python" / "spprof"

# Lowest first; `spprof` is the package's own __init__. Modules of one layer do not know each other.
LAYERS = (
    {"_native", "files", "imports", "version"},
    {"counters"},
    {"records"},
    {"calltree"},
    {"formats.escapes", "formats.labels"},
    {"formats.collapsed", "formats.recording", "formats.speedscope"},
    {"formats"},
    {"profiles"},
    {"launch", "report", "session"},
    {"reporting"},
    {"spprof"},
    {"command"},
    {"cli"},
    {"__main__"},
)


def modules_of(package):
    """The file of each module, by its full name."""
    files = {}
    for file in [*package.rglob("*.py"), *package.rglob("*.pyi")]:
        parts = file.relative_to(package.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def origin(node, name, file):
    """The full name of what an import statement of the module takes names from."""
    if not node.level:
        return node.module
    package = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *filter(None, [node.module])])


def mentioned(name, file):
    """What the module imports: pairs of what it is taken from and the name there, if any."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((origin(node, name, file), alias.name) for alias in node.names)


def imports_of(package):
    """For each module those of the package that it imports, by their names below `spprof`."""
    files = modules_of(package)
    found = {}
    for name, file in files.items():
        named = set()
        for base, last in mentioned(name, file):
            inner = f"{base}.{last}"  # a module of the package, or else a name in `base`
            named.add(inner if inner in files else base)
        found[short(name)] = {short(other) for other in named & files.keys()}
    return found


def short(name):
    return name.removeprefix("spprof.")


def upward(imports):
    """The imports that do not go to a lower layer."""
    height = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    pairs = {(name, other) for name, others in imports.items() for other in others}
    return {(name, other) for name, other in pairs if height[other] >= height[name]}


def circle(imports):
    """The modules of an import circle; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return set(error.args[1])
    return set()


def test_each_module_has_one_layer():
    assert sorted(name for layer in LAYERS for name in layer) == sorted(imports_of(PACKAGE))


def test_imports_go_to_lower_layers():
    assert upward(imports_of(PACKAGE)) == set()


def test_there_is_no_import_circle():
    assert circle(imports_of(PACKAGE)) == set()


def planted(tmp_path, *edits):
    """The imports of a copy of the package with a line more in some of its files."""
    package = shutil.copytree(PACKAGE, tmp_path / "spprof")
    for file, line in edits:
        with open(package / file, "a") as opened:
            opened.write(f"\n{line}\n")
    return imports_of(package)


@pytest.mark.parametrize(
    ("file", "line", "edge"),
    [
        ("records.py", "from . import profiles", ("records", "profiles")),
        ("records.py", "from .calltree import CallTree", ("records", "calltree")),
        ("calltree.py", "def late(): from . import formats", ("calltree", "formats")),
        (
            "calltree.py",
            "if TYPE_CHECKING: from .profiles import Profile",
            ("calltree", "profiles"),
        ),
        ("formats/labels.py", "from ..profiles import Profile", ("formats.labels", "profiles")),
        ("formats/labels.py", "from .. import profiles", ("formats.labels", "profiles")),
        ("formats/labels.py", "from . import escapes", ("formats.labels", "formats.escapes")),
        ("formats/collapsed.py", "from . import get", ("formats.collapsed", "formats")),
        ("formats/speedscope.py", "from .. import __version__", ("formats.speedscope", "spprof")),
        ("formats/__init__.py", "import spprof.profiles", ("formats", "profiles")),
        ("formats/__init__.py", "from spprof.profiles import *", ("formats", "profiles")),
        ("profiles.py", "from spprof import session", ("profiles", "session")),
    ],
)
def test_import_of_a_higher_layer_is_found(tmp_path, file, line, edge):
    assert upward(planted(tmp_path, (file, line))) == {edge}


def test_import_circle_is_found(tmp_path):
    edits = [
        ("formats/labels.py", "from . import escapes"),
        ("formats/escapes.py", "def late(): from .labels import losses"),
    ]
    assert circle(planted(tmp_path, *edits)) == {"formats.labels", "formats.escapes"}

"""Files of the program that have the names of standard modules: each side gets its own.

A run under the profiler is compared with the same run of the interpreter alone.
"""

import os
import subprocess
import zipfile

import pytest

# Every shadow of a standard module says that it was loaded, and by which code.
SHADOW = """
import sys
WHOSE = "the program's"
with open("LOG", "a") as log:
    print(__name__, file=log)
"""
USE = """
import sys
for name in sys.argv[1:]:
    print(name, getattr(__import__(name), "WHOSE", "the library's"))
print(sys.path[0], sys.argv, __name__)
"""
USED = ["json", "secrets", "struct", "argparse", "dataclasses", "threading", "warnings", "re", "colorsys"]


@pytest.fixture
def place(every_interpreter, tmp_path):
    return Place(every_interpreter, tmp_path)


class Place:
    """A folder for the program, one for what is run from elsewhere, and ways to run."""

    def __init__(self, interpreter, path):
        self.interpreter = interpreter
        self.folder, self.elsewhere = path / "program", path / "elsewhere"
        self.folder.mkdir()
        self.elsewhere.mkdir()
        (self.elsewhere / "spprof").write_text("import sys\nfrom spprof.cli import main\nsys.exit(main())\n")
        self.write("app.py", USE)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def shadow(self, *names):
        for name in names:
            self.write(f"{name}.py", SHADOW.replace("LOG", str(self.elsewhere / "log")))

    def shadow_all(self):
        """But for those that the interpreter itself imports by then: of `encodings`, and for -m."""
        code = (
            "import sys, _imp\n"
            "print(*(n for n in sys.stdlib_module_names if not (_imp.is_builtin(n) or _imp.is_frozen(n))))"
        )
        names = set(self.run("-I", "-c", code).stdout.split()) - {"encodings", "importlib", "types"}
        assert {"json", "struct", "threading", "_struct"} & names
        self.shadow(*names)

    def run(self, *arguments, path="", **environment):
        """The interpreter in the program's folder; `path` is added to PYTHONPATH."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [path, str(self.interpreter.packages)]))
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        variables |= environment
        command = [self.interpreter.path, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=120, check=False
        )

    def loaded(self):
        """The shadows that were loaded since the last time, in no order."""
        log = self.elsewhere / "log"
        names = sorted(log.read_text().split()) if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def compare(self, *program, options=(), launcher=("-m", "spprof"), **environment):
        """What the program prints, which must be the same in both runs, with the same of its files loaded."""
        alone = self.run(*options, *program, **environment)
        alone_loaded = self.loaded()
        output = self.elsewhere / "out"
        profiled = self.run(*options, *launcher, "run", "-o", output, *program, **environment)
        assert profiled.returncode == alone.returncode == 0, (profiled.stderr, alone.stderr)
        assert f"spprof: saved to {output}" in profiled.stderr
        assert profiled.stdout == alone.stdout
        assert self.loaded() == alone_loaded
        return profiled.stdout

    @property
    def script(self):
        """The launcher as pip installs it."""
        return (str(self.elsewhere / "spprof"),)


WAYS = {
    "script": ["app.py"],
    "module": ["-m", "app"],
    "package": ["-m", "package"],
    "submodule": ["-m", "package.inner"],
    "folder": ["container"],
    "archive": ["archive.zip"],
}


def fill(place):
    """The program in every form; what has folders of its own has the shadows there."""
    place.write("package/__init__.py", "")
    place.write("package/__main__.py", USE)
    place.write("package/inner.py", USE)
    shadow = SHADOW.replace("LOG", str(place.elsewhere / "log"))
    place.write("container/__main__.py", USE)
    with zipfile.ZipFile(place.folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", USE)
        for name in USED:
            place.write(f"container/{name}.py", shadow)
            archive.writestr(f"{name}.py", shadow)


@pytest.mark.parametrize("launcher", ["module", "script"])
@pytest.mark.parametrize("way", WAYS)
def test_program_gets_its_own_modules_and_the_launcher_the_librarys(place, way, launcher):
    fill(place)
    place.shadow(*USED)
    launcher = {"launcher": place.script} if launcher == "script" else {}
    printed = place.compare(*WAYS[way], *USED, **launcher)
    assert [line.split(" ", 1)[1] for line in printed.splitlines()[: len(USED)]] == ["the program's"] * len(USED)


@pytest.mark.parametrize("way", WAYS)
def test_without_such_files_the_program_gets_the_librarys(place, way):
    fill(place)
    for name in USED:
        (place.folder / "container" / f"{name}.py").unlink()
    with zipfile.ZipFile(place.folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", USE)
    printed = place.compare(*WAYS[way], *USED)
    assert "the program's" not in printed


@pytest.mark.parametrize("way", ["script", "module"])
@pytest.mark.parametrize("format", ["speedscope", "collapsed"])
def test_every_standard_module_has_a_file_of_the_program_before_it(place, way, format):
    """Nothing of it is loaded by the launcher, neither before the program runs nor to save the profile."""
    place.shadow_all()
    launcher = ["-m", "spprof"] if way == "module" else place.script
    place.compare(*WAYS[way], *USED, launcher=launcher)
    output = place.elsewhere / "out"
    output.unlink()
    done = place.run(*launcher, "run", "-f", format, "--mode", "wall", "-i", "1", "-o", output, *WAYS[way])
    assert done.returncode == 0 and output.stat().st_size > 0, done.stderr
    assert place.loaded() == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run", "--help"], 0),
        (["run", "-i", "soon", "app.py"], 2),
        (["run", "missing.py"], 2),
        ([], 2),
        (["--version"], 0),
    ],
)
def test_refusals_and_help_load_nothing_of_the_folder(place, arguments, status):
    place.shadow_all()
    done = place.run("-m", "spprof", *arguments)
    assert (done.returncode, place.loaded()) == (status, []), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("options", [["-P"], ["-I"], ["-S"], ["-s", "-E"]])
def test_interpreter_options(place, options):
    """-P and -I search no folder of the program's; -E and -I hide the package, unless it is beside the program."""
    place.shadow(*USED)
    if {"-I", "-E"} & set(options):
        launcher = place.elsewhere / "launch"
        packages = str(place.interpreter.packages)
        launcher.write_text(
            f"import sys\nsys.path.append({packages!r})\nfrom spprof.cli import main\nsys.exit(main())\n"
        )
        printed = place.compare("app.py", *USED, options=options, launcher=(str(launcher),))
    else:
        printed = place.compare("app.py", *USED, options=options)
    assert ("the library's" in printed) == bool({"-P", "-I"} & set(options))


def test_safe_path_of_the_environment(place):
    place.shadow(*USED)
    assert "the program's" not in place.compare("app.py", *USED, PYTHONSAFEPATH="1")


@pytest.mark.parametrize("launcher", ["module", "script"])
@pytest.mark.parametrize("path", [".", "lib"])
def test_folders_of_pythonpath_are_the_programs(place, path, launcher):
    place.shadow(*(USED if path == "." else ()))
    for name in USED if path == "lib" else ():
        place.write(f"lib/{name}.py", SHADOW.replace("LOG", str(place.elsewhere / "log")))
    launcher = {"launcher": place.script} if launcher == "script" else {}
    printed = place.compare("app.py", *USED, path=path, **launcher)
    assert "the library's" not in printed


def test_working_file_called_types_is_the_programs(place):
    """runpy itself imports `types`, so from the working directory with -m, and before any code of ours."""
    place.write("types.py", SHADOW.replace("LOG", str(place.elsewhere / "log")) + "ModuleType = type(sys)\n")
    printed = place.compare("-m", "app", "types")
    assert printed.startswith("types the program's\n")
    printed = place.compare("app.py", "types", launcher=place.script)
    assert printed.startswith("types the program's\n")


def test_what_the_interpreter_had_loaded_is_not_loaded_twice(place):
    place.write(
        "app.py",
        "import sys\nbefore = {name: id(module) for name, module in sys.modules.items()}\n"
        "import os, threading, warnings, signal, atexit, json\n"
        "print(threading.main_thread() is threading.current_thread(), threading.active_count())\n"
        "print(all(id(sys.modules[name]) == before[name] for name in before if name in sys.modules))\n"
        "print(threading.Thread is sys.modules['threading'].Thread, os is sys.modules['os'])\n",
    )
    place.shadow("colorsys", "secrets")
    assert place.compare("app.py") == "True 1\nTrue\nTrue True\n"


def test_file_that_the_program_writes_is_found_at_once(place):
    place.write("app.py", "open('written.py', 'w').write('print(5)')\nimport written\n")
    assert place.compare("app.py") == "5\n"


def test_program_that_uses_the_package(place):
    place.shadow("colorsys")
    place.write(
        "app.py", "import spprof\nprint(sorted(spprof.__all__) == sorted(set(dir(spprof)) & {*spprof.__all__}))\n"
    )
    assert place.compare("app.py") == "True\n"


def test_package_that_profiles_itself_while_it_is_located(place):
    """The package then takes it for its own command line, and must work all the same."""
    place.write("package/__init__.py", "import spprof\nwith spprof.Profiler() as profiler: pass\n")
    place.write("package/__main__.py", "from package import profiler\nprint(profiler.profile.mode)\n")
    assert place.run("-m", "package").stdout == "cpu\n"


def test_host_of_main_has_its_path_back_after_a_refusal(place):
    code = (
        "import sys\nbefore = [*sys.path]\nfrom spprof.cli import main\n"
        "assert main(['run', 'missing.py']) == 2\nprint(sys.path == before, 'types' in sys.modules)\n"
    )
    assert place.run("-c", code).stdout == "True True\n"

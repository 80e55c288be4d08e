"""`pip install .` on every interpreter that the package is for, from a copy of the sources, and a session with it."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import support

CHECK = """
import json, sys, threading, spprof
def spin():
    while spprof.stats()["captured"] < 20:
        sum(range(1000))
with spprof.Profiler(interval_ms=1) as p:
    threads = [threading.Thread(target=spin) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
names = {frame.name for sample in p.profile for frame in sample.stack}
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(json.dumps({"file": spprof.__file__, "spin": "spin" in names, "gil": gil, "typed": spprof.__version__}))
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The files that make a package, so that pip's own build folder stays out of the repository."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("core", "pyproject.toml", "README.md", "LICENSE"):
        source = support.ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


@pytest.fixture(scope="module")
def build_backend(tmp_path_factory):
    """A folder with setuptools from the tests' own environment, so nothing is fetched, and with nothing else of it."""
    folder = tmp_path_factory.mktemp("backend")
    site = Path(sysconfig.get_path("purelib"))
    for package in [*site.glob("setuptools*"), site / "_distutils_hack"]:
        (folder / package.name).symlink_to(package)
    return folder


def sources_in(packages):
    """Every module that has a source, and what is there for type checkers."""
    package = packages / "spprof"
    wanted = {".py", ".pyi", ".typed"}
    return {path.relative_to(package) for path in package.rglob("*") if path.suffix in wanted}


def test_pip_installs_the_package(every_interpreter, sources, build_backend, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    environment["PYTHONPATH"] = str(build_backend)
    install = [every_interpreter.path, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*install, "--no-index", "--target", tmp_path / "site", sources],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    environment["PYTHONPATH"] = str(tmp_path / "site")
    done = subprocess.run(
        [every_interpreter.path, "-c", CHECK], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["file"].startswith(str(tmp_path / "site"))
    assert found["spin"]
    assert found["gil"] == (not every_interpreter.free_threaded)
    assert sources_in(tmp_path / "site") == sources_in(sources / "core" / "python")

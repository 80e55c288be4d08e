"""Fixtures of every test.

A scenario runs in a child process of an interpreter under test, so the tests themselves run on any Python 3.11 or
newer:

    def test_something(freethreaded):
        outcome = freethreaded.run("a_file_in_tests_scenarios", "argument")
        assert outcome.json["captured"] > 0

Files named test_freethreading_*.py are what `pytest tests/ -k freethreading` selects.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parent.parent))  # for the reference models: `import model`

import provision
import support
import synthetic

from stress.children import hear_signals
from stress.interpreters import FREE_THREADED

try:
    import profiles
except ImportError:  # without Hypothesis; the tests that need it say so themselves
    profiles = None

EVERY = ("3.13", "3.14", *FREE_THREADED)
CONFINEMENT = pytest.StashKey()


def pytest_configure(config):
    hear_signals()  # or else what the tests start would not
    confinement = config.stash[CONFINEMENT] = provision.Confinement()
    config.add_cleanup(confinement.end)
    if profiles is None:
        return
    try:
        profiles.load()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def ticks(tmp_path_factory):
    """The core with a clock that tests set (tests/native/ticks.c). One for all: each has thread-local storage of its own, of
    which a process can load only so much."""
    return synthetic.build(tmp_path_factory.mktemp("native"), "ticks.c", "-shared")


def provided(function, *arguments):
    """The function's value; where something is missing the test fails with the line that names the command."""
    try:
        return function(*arguments)
    except support.Missing as missing:
        message = str(missing)
    return pytest.fail(message, pytrace=False)  # out here, or the report would tell of the exception as well


def provided_interpreter(name):
    if support.EMULATOR and f"SPPROF_PYTHON_{name.replace('.', '_')}" not in os.environ:
        pytest.skip(f"there is no {name} for ARM64 (ci/interpreters)")
    return provided(support.interpreter, name)


@pytest.fixture(autouse=True)
def confined(request):
    """What a test asked for and ci/test does not provide fails it, whether or not the test could do without."""
    yield
    if refused := request.config.stash[CONFINEMENT].refused():
        pytest.fail("\n".join(refused), pytrace=False)


@pytest.fixture(scope="session")
def interpreter():
    """Function from a name (3.14, 3.14t, ...) to the interpreter with the package built for it."""
    return provided_interpreter


@pytest.fixture(scope="session", params=FREE_THREADED)
def freethreaded(request):
    """The free-threaded interpreters that the project is for, in turn."""
    return provided_interpreter(request.param)


@pytest.fixture(scope="session", params=EVERY)
def every_interpreter(request):
    """All that the package is built for, those with a GIL too."""
    return provided_interpreter(request.param)


@pytest.fixture(scope="session")
def library():
    """The folder that the C library has been built into."""
    provided(support.ninja, "library")
    return support.BUILD


@pytest.fixture(scope="session")
def by_syscall():
    """Asked for by what reads through process_vm_readv, in the tests' process or in what they start."""
    if support.EMULATOR:
        pytest.skip("there is no process_vm_readv here: QEMU's user mode has none")


@pytest.fixture(scope="session")
def limits():
    """Asked for by what sets itself a limit of memory or of the stack."""
    if support.EMULATOR:
        pytest.skip("no limit of memory or of the stack can be set here: QEMU's user mode passes none on")


@pytest.fixture(scope="session")
def harness():
    """The C core with every function in reach, through ctypes."""
    return provided(support.harness)

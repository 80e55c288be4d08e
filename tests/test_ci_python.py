"""ci/python: finds or builds the interpreters, and leaves nothing half-made.

Builds here are of a fake release whose configure takes a second, pinned in a table of its own.
"""

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import support

from stress.interpreters import FREE_THREADED

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "ci" / "python"
NAME, VERSION = "9.9t", "9.9.1"

# Notes each build, so that a test can count them; the sleep is what an interrupt arrives in.
CONFIGURE = """#!/bin/sh
echo configured >> "$FAKE_NOTES"
printf '%s\\n' 'gcc -c one.c' 'clang -O2 -c two.c' 'cross-gcc --sysroot=x -c three.c' 'gcc -shared one.o' 'ar -c x.a'
sleep "${FAKE_SECONDS:-1}" || exit 1
for argument; do case $argument in --prefix=*) prefix=${argument#--prefix=} ;; esac; done
printf 'all:\\n\\ttrue\\ninstall:\\n\\tmkdir -p $(DESTDIR)%s/bin\\n' "$prefix" > Makefile
printf '\\tcp interpreter $(DESTDIR)%s/bin/python9.9t\\n' "$prefix" >> Makefile
"""
INTERPRETER = "#!/bin/sh\necho whole\n"


def add(archive, name, text):
    entry = tarfile.TarInfo(f"Python-{VERSION}/{name}")
    entry.mode, entry.size = 0o755, len(text)
    archive.addfile(entry, io.BytesIO(text.encode()))


class Fake:
    """A table with one release, its tarball, an empty cache, and no other source in reach."""

    def __init__(self, folder):
        self.folder = folder
        self.sources = folder / "sources"
        self.cache = folder / "cache" / "spprof"
        self.notes = folder / "notes"
        self.sources.mkdir()
        self.tarball = self.sources / "fake_9.9.1.orig.tar.xz"
        with tarfile.open(self.tarball, "w:xz") as archive:
            add(archive, "configure", CONFIGURE)
            add(archive, "interpreter", INTERPRETER)
        self.pin()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPPROF_")},
            "PATH": str(self.tools()),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "SPPROF_SOURCES": str(self.sources),
            "SPPROF_INTERPRETERS": str(folder / "table"),
            "FAKE_NOTES": str(self.notes),
        }

    def pin(self):
        digest = hashlib.sha256(self.tarball.read_bytes()).hexdigest()
        (self.folder / "table").write_text(
            f"# a comment\n{NAME} {VERSION} {digest} {self.tarball.name} --some-option\n"
        )

    def tools(self):
        """A folder with the system's programs, except those that reach the network or other interpreters."""
        folder = self.folder / "bin"
        folder.mkdir()
        for program in (*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()):
            name = program.name
            if name.startswith(("apt", "curl", "wget", "uv", "python")) or (folder / name).is_symlink():
                continue
            (folder / name).symlink_to(program)
        return folder

    def start(self, *arguments, **environment):
        with support.hearing(signal.SIGHUP):
            return subprocess.Popen(
                [PROGRAM, *arguments],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def run(self, *arguments, **environment):
        child = self.start(*arguments, **environment)
        stdout, stderr = child.communicate(timeout=120)
        return child.returncode, stdout, stderr

    def builds(self):
        return len(self.notes.read_text().splitlines()) if self.notes.exists() else 0

    def wait_for_build(self, child):
        while self.builds() == 0:
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.01)

    def leftovers(self):
        """What lies in the cache, but for locks and logs."""
        return sorted(p.name for p in self.cache.glob("python/*") if p.suffix not in (".lock", ".log"))


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


def last_line(text):
    return text.strip().splitlines()[-1]


def test_unknown_name_lists_the_known_ones(fake):
    status, stdout, stderr = fake.run("9.8")
    assert (status, stdout) == (2, "")
    assert last_line(stderr) == f"ci/python: no interpreter is named '9.8'; there are: {NAME}"


def test_no_name_is_a_usage_error(fake):
    status, stdout, stderr = fake.run()
    assert (status, stdout) == (2, "")
    assert stderr.startswith("usage: ci/python NAME")


def test_missing_table_is_named(fake):
    status, _, stderr = fake.run(NAME, SPPROF_INTERPRETERS="/nonexistent/table")
    assert status == 1
    assert last_line(stderr) == (
        "ci/python: there is no table /nonexistent/table; set SPPROF_INTERPRETERS to one or unset it"
    )


def test_environment_must_name_a_program(fake):
    status, _, stderr = fake.run(NAME, SPPROF_PYTHON_9_9T="/nonexistent/python")
    assert status == 1
    assert last_line(stderr) == (
        "ci/python: $SPPROF_PYTHON_9_9T is '/nonexistent/python', which is not a program; "
        "set it to an interpreter or unset it"
    )


def test_environment_must_name_the_right_version(fake):
    status, _, stderr = fake.run(NAME, SPPROF_PYTHON_9_9T=sys.executable)
    version = "{}.{}".format(*sys.version_info)
    assert status == 1
    assert f"is '{sys.executable}', which is {version}" in last_line(stderr)
    assert last_line(stderr).endswith("set it to a 9.9t or unset it")
    assert fake.builds() == 0


def test_existing_provides_nothing(fake):
    status, stdout, stderr = fake.run("--existing", NAME)
    assert (status, stdout) == (3, "")
    assert stderr == f"ci/python: no {NAME} yet; provide it with: ci/python {NAME}\n"
    assert fake.builds() == 0
    assert not fake.cache.exists()


def test_builds_once_and_then_finds_it(fake):
    status, stdout, stderr = fake.run(NAME)
    assert status == 0, stderr
    assert re.search(rf"building {NAME}: ended after 3 files, \d+ s$", last_line(stderr)), stderr
    assert subprocess.check_output([stdout.strip()], text=True) == "whole\n"
    assert fake.run(NAME)[:2] == (0, stdout)
    assert fake.run("--existing", NAME) == (0, stdout, "")
    assert fake.builds() == 1
    assert len(fake.leftovers()) == 1


def test_passes_over_an_interpreter_on_path_that_is_another_version(fake):
    (fake.folder / "bin" / f"python{NAME}").symlink_to(sys.executable)
    status, stdout, stderr = fake.run(NAME)
    assert status == 0, stderr
    assert str(fake.cache) in stdout
    assert f"passing over {fake.folder}/bin/python{NAME}: it is " in stderr


def test_damaged_tarball_is_refused(fake):
    damaged = bytearray(fake.tarball.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    fake.tarball.write_bytes(damaged)
    status, stdout, stderr = fake.run(NAME)
    assert (status, stdout) == (1, "")
    assert f"ci/python: passing over {fake.tarball}: its SHA-256 is not the pinned one" in stderr
    assert last_line(stderr) == (
        f"ci/python: no source of CPython {VERSION} could be had; "
        f"put {fake.tarball.name} into a folder and set SPPROF_SOURCES to it"
    )
    assert fake.builds() == 0
    assert fake.leftovers() == []


def test_a_source_that_downloads_damaged_is_refused(fake):
    fake.tarball.unlink()
    downloader = fake.folder / "bin" / "curl"
    downloader.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho damaged > "$2"\n')
    downloader.chmod(0o755)
    status, stdout, stderr = fake.run(NAME)
    assert (status, stdout) == (1, "")
    assert "passing over one copy: its SHA-256 is not the pinned one" in stderr
    assert list(fake.cache.glob("sources/*")) == []


def test_two_at_once_build_one(fake):
    children = [fake.start(NAME) for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert fake.builds() == 1
    assert sum("waiting for another run" in stderr for _, stderr in answers) <= 1
    assert len(fake.leftovers()) == 1


def processes_of(folder):
    """The processes that work below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str((process / "cwd").readlink()).startswith(str(folder)):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # gone meanwhile, or not ours
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_interrupted_build_leaves_nothing(fake, how):
    child = fake.start(NAME, FAKE_SECONDS="300")
    fake.wait_for_build(child)
    child.send_signal(how)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode != 0, stderr
    assert fake.leftovers() == []
    assert processes_of(fake.cache) == []
    assert fake.run(NAME)[0] == 0


def test_killed_build_does_not_stand_in_the_way(fake):
    child = fake.start(NAME, FAKE_SECONDS="3")
    fake.wait_for_build(child)
    child.kill()
    child.communicate(timeout=60)
    assert fake.run("--existing", NAME)[0] == 3
    status, stdout, stderr = fake.run(NAME)
    assert status == 0, stderr
    assert subprocess.check_output([stdout.strip()], text=True) == "whole\n"
    assert len(fake.leftovers()) == 1


def test_failed_build_shows_its_log_and_leaves_nothing(fake):
    status, stdout, stderr = fake.run(NAME, FAKE_SECONDS="no number")
    assert (status, stdout) == (1, "")
    assert "no number" in stderr
    assert last_line(stderr).endswith(f"run ci/setup for what it needs, then: ci/python {NAME}")
    assert fake.leftovers() == []


def test_missing_compiler_is_named(fake):
    (fake.folder / "bin" / "gcc").unlink()
    status, stdout, stderr = fake.run(NAME)
    assert (status, stdout) == (1, "")
    assert last_line(stderr) == f"ci/python: building {NAME} needs gcc; run ci/setup"


def test_the_real_table_names_every_interpreter():
    rows = [
        line.split() for line in (ROOT / "ci" / "interpreters").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert {row[0] for row in rows} == {
        *("3.13", "3.14", *FREE_THREADED),
        *("3.13t-arm64", "3.14t-arm64", "3.14t-tsan", "3.15t-tsan"),
    }
    for name, version, digest, _, *arguments in rows:
        build, _, _ = name.partition("-")
        assert version.startswith(build.rstrip("t") + ".")
        assert len(digest) == 64
        assert ("--disable-gil" in arguments) == build.endswith("t")

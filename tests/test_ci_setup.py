"""ci/setup: asks for nothing where nothing is missing, and otherwise names the command. Installs nothing here."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "ci" / "setup"
INSTALLED = 'for name; do case $name in -*|*{*) ;; *) echo "installed $name" ;; esac; done\n'


class Machine:
    """Programs put before the system's own: what they say decides what ci/setup believes."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = folder / "calls"
        self.put("dpkg-query", INSTALLED)
        self.put("apt-get", f'echo "apt-get $*" >> {self.calls}\n')
        self.put("id", "echo 1000\n")

    def put(self, name, text):
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{text}")
        program.chmod(0o755)

    def without(self, package):
        self.put("dpkg-query", INSTALLED.replace("-*", f"-*|{package}"))

    def run(self, *arguments, **environment):
        path = f"{self.folder}:/usr/bin:/bin"
        return subprocess.run(
            [PROGRAM, *arguments],
            env={**os.environ, "PATH": path, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def said(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_nothing_missing_needs_no_network_and_no_root(machine):
    run = machine.run(PIP_INDEX_URL="file:///nonexistent", PIP_NO_INDEX="1")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert machine.said() == []


def test_missing_package_without_root_names_the_command(machine):
    machine.without("libffi-dev")
    machine.put("sudo", "exit 1\n")
    run = machine.run()
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ci/setup: the packages could not be installed; see above, then as root run: "
        "apt-get update && apt-get install -y libffi-dev"
    )
    assert machine.said() == []


def test_missing_package_is_installed_alone(machine):
    machine.without("libffi-dev")
    machine.put("id", "echo 0\n")
    run = machine.run()
    assert run.returncode == 0, run.stderr
    assert machine.said() == ["apt-get -qq update", "apt-get -qq install -y --no-install-recommends libffi-dev"]


def test_packages_that_are_listed_are_those_that_are_installed(machine):
    listed = machine.run("--packages").stdout.split()
    machine.put("dpkg-query", "exit 1\n")
    machine.put("id", "echo 0\n")
    for argument in ((), ("--arm64",)):
        assert machine.run(*argument).returncode == 0
    asked = {
        name for line in machine.said() if " install " in line for name in line.partition("recommends ")[2].split()
    }
    assert len(asked) > 20
    assert set(listed) == asked | {"python3.11", "python3.11-venv"}  # where the distribution's own is too old


def test_failed_install_names_the_command(machine):
    machine.without("libffi-dev")
    machine.put("id", "echo 0\n")
    machine.put("apt-get", "exit 100\n")
    run = machine.run()
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("apt-get update && apt-get install -y libffi-dev")


def test_environment_is_whole_or_not_there(machine, tmp_path):
    cache = tmp_path / "cache"
    run = machine.run("--venv", XDG_CACHE_HOME=str(cache), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert run.returncode == 1
    assert run.stdout == ""
    assert (
        run.stderr.splitlines()[-1] == "ci/setup: pip could not install ci/requirements.txt; see above, then: ci/setup"
    )
    assert not [path for path in cache.glob("spprof/venv-*") if path.is_symlink()]


def test_unknown_argument_is_a_usage_error(machine):
    run = machine.run("--unknown")
    assert run.returncode == 2
    assert run.stderr.startswith("usage: ci/setup")


def test_every_requirement_is_pinned():
    lines = (ROOT / "ci" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    assert all("==" in line for line in wanted)

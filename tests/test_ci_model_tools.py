"""ci/model-tools: interrupted while it fetches a tool, it ends and leaves nothing half-made."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import support

PROGRAM = support.ROOT / "ci" / "model-tools"
SYSTEMS_OWN = ("bash", "dirname", "cat", "mkdir", "mktemp", "rm", "sleep", "touch", "readlink", "id")


@pytest.fixture
def environment(tmp_path):
    """No tool on PATH, an empty cache, and an archive that takes for ever."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in SYSTEMS_OWN:
        (programs / name).symlink_to(shutil.which(name))
    (programs / "apt-cache").write_text("#!/bin/sh\nexit 0\n")
    (programs / "apt-get").write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 600\n")
    for name in ("apt-cache", "apt-get"):
        (programs / name).chmod(0o755)
    return {**os.environ, "PATH": str(programs), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_interrupted_it_leaves_nothing(environment, tmp_path, how):
    with support.hearing(signal.SIGHUP):
        child = subprocess.Popen(
            [PROGRAM, "herd7"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    with child:
        while not (tmp_path / "begun").exists() and child.poll() is None:
            time.sleep(0.01)
        os.killpg(child.pid, how)  # as a terminal does
        complaint = child.stderr.read()
    assert child.returncode == 130, complaint
    assert "could not be downloaded" not in complaint
    assert list((tmp_path / "cache" / "spprof").iterdir()) == []

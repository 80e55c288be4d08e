"""What can be said of the ARM64 code on any machine: the part of the core that needs no system headers compiles, and the
links of a frame chain are loaded with acquire."""

import re
import subprocess

import pytest
import support

CORE = support.ROOT / "core"
PURE = ("walk", "ring", "counters", "reasons")


def assembly(name):
    command = [
        "clang",
        "--target=aarch64-linux-gnu",
        "-ffreestanding",
        "-std=gnu11",
        "-O2",
        "-fPIC",
        "-Wall",
        "-Wextra",
    ]
    command += ["-Werror", f"-I{CORE}", f"-I{CORE / 'include'}", "-S", "-o", "-", str(CORE / f"{name}.c")]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    return compiled.stdout


@pytest.mark.parametrize("name", PURE)
def test_core_compiles(name):
    assert assembly(name)


def test_links_are_loaded_with_acquire():
    links = (CORE / "walk.c").read_text().count("load_link(")
    assert links > 0
    assert len(re.findall(r"^\s+ldar\s", assembly("walk"), re.MULTILINE)) >= links


def test_ring_publishes_with_release_and_observes_with_acquire():
    text = assembly("ring")
    assert len(re.findall(r"^\s+stlr\s", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^\s+lda[p]?r\s", text, re.MULTILINE)) >= 2

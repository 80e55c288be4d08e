"""What the compilers make of the core's orderings and of its guarded loads, on both architectures.

An emulator on x86-64 never shows a barrier that is missing, so these look at the instructions themselves.
"""

import functools
import platform
import re
import subprocess

import pytest
import support

CORE = support.ROOT / "core"
HOST = platform.machine()
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-S", "-o", "-")
# Inline atomics instead of calls; with and without the instructions of later processors, for compilers that would use
# a weaker load (ldapr) there.
ARM64_FLAGS = {
    "v8.0": ("-mno-outline-atomics",),
    "v8.1": ("-mno-outline-atomics", "-march=armv8.1-a"),
    "v8.3": ("-mno-outline-atomics", "-march=armv8.3-a"),
}
LOADS = {
    "x86_64": {"load_byte": "movzbl", "load_int": "movl", "load_word": "movq", "load_link": "movq"},
    "aarch64": {"load_byte": "ldrb", "load_int": "ldr", "load_word": "ldr", "load_link": "ldar"},
}


@functools.cache
def cross(option):
    found = subprocess.run([support.ROOT / "ci" / "arm64-tools", option], capture_output=True, text=True)
    if found.returncode != 0:
        raise support.Missing(found.stderr.strip().splitlines()[-1])
    return found.stdout.strip()


def compiler(architecture, name):
    if architecture == HOST:
        return (name,)
    if architecture == "x86_64":
        pytest.skip("x86-64 code is looked at on x86-64")
    try:
        return tuple(cross("--compiler").split()) if name == "gcc" else (
            "clang", "--target=aarch64-linux-gnu", f"--sysroot={cross('--root')}",
        )  # fmt: skip
    except support.Missing as missing:
        message = str(missing)
    return pytest.fail(message, pytrace=False)


def assembly(command, source, *flags, core=CORE):
    compiled = subprocess.run(
        [*command, *FLAGS, *flags, f"-I{core}", f"-I{core}/include", str(core / source)], capture_output=True, text=True
    )
    assert compiled.returncode == 0, compiled.stderr
    return compiled.stdout


def body(text, function):
    """The instructions of a function, one a line."""
    found = re.search(rf"^{function}:[^\n]*\n(.*?)^\s*\.size\s+{function},", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no function {function}"
    lines = (re.split(r"\s(?://|#|;)\s", line)[0].strip() for line in found[1].splitlines())
    return [line for line in lines if line and not line.startswith((".", "#", "/")) and not line.endswith(":")]


def patched(folder, file, old, new):
    """A copy of the core in which one text is another."""
    for path in CORE.rglob("*.[ch]"):
        copy = folder / path.relative_to(CORE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    text = (folder / file).read_text()
    assert text.count(old) == 1, f"core/{file} has no longer what this test breaks"
    (folder / file).write_text(text.replace(old, new))
    return folder


# --- guarded loads --------------------------------------------------------------------------------------


def loads(text):
    """(name, instructions) of each guarded load that the compiler has put in."""
    for block in re.findall(r"^\s*(?:#|//)\s*APP\n(.*?)^\s*(?:#|//)\s*NO_APP", text, re.DOTALL | re.MULTILINE):
        if "spprof_loads" not in block:
            continue
        before = block.partition(".pushsection")[0]
        lines = [
            line.strip() for line in before.splitlines() if line.strip() and not line.strip().startswith(("#", "//"))
        ]
        yield re.search(r"/\* (\w+) \*/", before)[1], lines


def check_loads(architecture, text):
    names = set()
    for name, lines in loads(text):
        names.add(name)
        assert len(lines) == 1, f"{name} is not one instruction: {lines}"
        match = re.fullmatch(r"1:\s*(\w+)\s+(.*?)\s*/\* \w+ \*/", lines[0])
        assert match and match[1] == LOADS[architecture][name], lines[0]
        assert ("(" if architecture == "x86_64" else "[x") in match[2], f"{lines[0]} loads nothing"
    assert names == set(LOADS[architecture])


@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("architecture", LOADS)
def test_guarded_load_is_one_labelled_instruction(architecture, name):
    """And a load of a link acquires, wherever it was inlined."""
    verbatim = ("-fno-integrated-as",) if name == "clang" else ()
    check_loads(architecture, assembly(compiler(architecture, name), "walk.c", *verbatim))


def test_links_of_the_chain_are_loaded_as_links():
    """No load of `previous` or `current_frame` in the core is of the kind that does not acquire."""
    text = "".join(path.read_text() for path in CORE.glob("*.c"))
    kinds = re.findall(r"\b(load_\w+|still)\([^;]*?layout->(?:frame\.previous|thread\.current_frame)", text)
    assert len(kinds) >= 4
    assert set(kinds) <= {"load_link", "still"}
    assert re.search(r"bool still\([^{]*\{[^}]*load_link\(", text)


def test_acquire_that_was_removed_is_noticed(tmp_path):
    broken = patched(
        tmp_path, "load.h", '#define LOAD_64_ACQUIRE "ldar %0, %1"', '#define LOAD_64_ACQUIRE "ldr %0, %1"'
    )
    text = assembly(compiler("aarch64", "gcc"), "walk.c", core=broken)
    with pytest.raises(AssertionError, match="ldr .*load_link"):
        check_loads("aarch64", text)


# --- the stop handshake ------------------------------------------------------------------------------------

ORDERED = re.compile(r"^(ldapr|ldapur|ldar|stlr|stlxr|stxr|ldaxr|ldxr|ldadd|swp|cas|dmb)\w*")


def ordered(text, function):
    """The instructions of a function that order memory, without their operands."""
    return [line.split()[0] for line in body(text, function) if ORDERED.match(line)]


def raises(words):
    """Where an addition that both acquires and releases is: one instruction, or a pair of exclusives."""
    for at, word in enumerate(words):
        if re.fullmatch(r"ldaddal\w*", word) or (word.startswith("stlxr") and words[at - 1].startswith("ldaxr")):
            return at
    raise AssertionError(f"no addition that acquires and releases: {words}")


def check_enter(text):
    words = ordered(text, "handler_on_profile_signal")
    after = words[raises(words) + 1 :]  # in the order of the text, where the way out may come before the second look
    assert after[0] == "ldarb" and "ldar" in after and "ldapr" not in after, words


def check_close(text):
    """The addition to the lease, then the call, and in what is called the look before anything else that orders."""
    words, lines = ordered(text, "close_slot"), body(text, "close_slot")
    last = max(at for at, line in enumerate(lines) if ORDERED.match(line))
    assert raises(words) == len(words) - 1, words
    assert any(re.match(r"bl?\s+wait_until_left$", line) for line in lines[last:]), lines
    assert ordered(text, "wait_until_left")[0] == "ldar"


@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("flags", ARM64_FLAGS.values(), ids=ARM64_FLAGS)
def test_handler_raises_its_flag_before_it_looks(name, flags):
    """enter_raise, then enter_check and enter_lease: loads that stay behind a store-release before them."""
    check_enter(assembly(compiler("aarch64", name), "handler.c", *flags))


@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("flags", ARM64_FLAGS.values(), ids=ARM64_FLAGS)
def test_session_takes_away_before_it_looks(name, flags):
    """active_write is a store-release, and slot_retire is followed by the look at `inside` (quiesce_check)."""
    written = (CORE / "ordinary" / "session.c").read_text().count("atomic_write(active_write")
    session = assembly(compiler("aarch64", name), "ordinary/session.c", *flags)
    assert len(re.findall(r"^\s+stlrb\s", session, re.MULTILINE)) >= written > 0
    check_close(assembly(compiler("aarch64", name), "ordinary/threads.c", "-fno-inline", *flags))


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_handshake_on_x86_64(name):
    """A locked addition before the handler's look, an exchange or a fence for the session's flag."""
    handler = body(assembly(compiler("x86_64", name), "handler.c"), "handler_on_profile_signal")
    first = next(at for at, line in enumerate(handler) if re.match(r"lock\s*(;|add|xadd|inc|$)", line))
    assert any(
        "sampler" in line or line.startswith(("movzb", "movb", "cmpb")) for line in handler[first + 1 : first + 4]
    )
    session = assembly(compiler("x86_64", name), "ordinary/session.c")
    assert re.search(r"^\s+(xchgb|mfence)\b", session, re.MULTILINE)


@pytest.mark.parametrize("site", ["enter_raise", "enter_check"])
def test_weakened_handshake_is_noticed(tmp_path, site):
    text = (CORE / "atomics.h").read_text()
    old = re.search(rf"#define ORDER_{site} memory_order_seq_cst", text)[0]
    broken = patched(tmp_path, "atomics.h", old, f"#define ORDER_{site} memory_order_relaxed")
    with pytest.raises(AssertionError):
        check_enter(assembly(compiler("aarch64", "gcc"), "handler.c", *ARM64_FLAGS["v8.1"], core=broken))


# --- the ring --------------------------------------------------------------------------------------------------


def test_ring_publishes_with_release_and_observes_with_acquire():
    text = assembly(compiler("aarch64", "gcc"), "ring.c")
    assert len(re.findall(r"^\s+stlr\s", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^\s+lda[p]?r\s", text, re.MULTILINE)) >= 2


# --- other machines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["armv7-linux-gnueabihf", "riscv64-linux-gnu", "x86_64-linux-gnux32", "aarch64_be-linux-gnu", "arm64-apple-macos"],
)
def test_other_machines_are_refused_in_one_sentence(target):
    command = ["clang", f"--target={target}", "-ffreestanding", "-fsyntax-only", "-x", "c", str(CORE / "load.h")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "spprof runs on Linux on x86-64 and on 64-bit ARM (aarch64)" in refused.stderr.splitlines()[0]

"""Hostile names and numbers through every form of the output, read back by the oracle of the fuzz target `output`.

The oracle (fuzz/output_oracle.py) shares nothing with what it judges.
"""

import json
import sys

import pytest
import support
from hypothesis import given
from hypothesis import strategies as st
from test_profile import REASONS, collected, formats, records, report, spprof  # with the package in reach

sys.path.insert(0, str(support.ROOT / "fuzz"))

import output_oracle as oracle
from output_oracle import DETACHED, TRUNCATED
from recording import PIECES as HOSTILE

# --- what is written -------------------------------------------------------------------------------------

texts = st.lists(
    st.one_of(
        st.sampled_from(HOSTILE), st.text(max_size=4), st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Co"])
    ),
    max_size=5,
).map("".join)
lines = st.one_of(st.integers(0, 20), st.sampled_from([0, 1, 2**31 - 1]))


@st.composite
def recordings(draw):
    """The arguments of `collected`, the number of ticks that each loss has, and the interval."""
    codes = draw(st.lists(st.tuples(texts, texts, st.one_of(lines, st.just(-1))), min_size=1, max_size=4))
    nodes = []
    for number in range(draw(st.integers(0, 8))):
        nodes.append((draw(st.integers(-1, number - 1)), draw(st.integers(0, len(codes) - 1)), draw(lines)))
    threads = draw(st.lists(st.tuples(st.integers(1, 4), texts.filter(bool)), min_size=1, max_size=4))
    sample = st.tuples(
        st.integers(0, 2**62),
        st.integers(0, len(threads) - 1),
        st.integers(-1, len(nodes) - 1),
        st.integers(1, 2**31),
        st.integers(0, DETACHED | TRUNCATED),
    )
    losses = {reason: draw(st.integers(0, 3)) for reason in REASONS}
    interval = draw(st.sampled_from([0.1, 1, 2.5, 10, 10_000]))
    return codes, nodes, draw(st.lists(sample, max_size=8)), threads, losses, interval


def profile_of(codes, nodes, samples, threads, losses, interval):
    named = [records.Thread(index, tid, name) for index, (tid, name) in enumerate(threads)]
    native = collected(codes, nodes, samples, threads, **losses)
    return spprof.Profile(native, mode="cpu", interval_ms=interval, threads=named)


def session_of(codes, nodes, samples, threads, losses, interval):
    """What the oracle takes: each sample with its own stack."""

    def stack_of(node):
        stack = []
        while node != -1:
            node, code, line = nodes[node]
            stack.insert(0, oracle.Frame(*codes[code], line))
        return stack

    shown = [oracle.Shown(time, thread, stack_of(node), *rest, last=time) for time, thread, node, *rest in samples]
    return oracle.Session(shown, threads, losses, interval)


# --- the check -------------------------------------------------------------------------------------------


def written(profile, name):
    """The bytes of a file in that format, without the file."""
    return "".join(formats.get(name).write(profile.tree)).encode("utf-8")


def saved(profile, name, folder):
    path = folder / name
    profile.save(path, name)
    assert list(folder.iterdir()) == [path]
    data = path.read_bytes()
    path.unlink()
    return data


def check(recording, folder=None):
    """Whether each format holds the recording; through a file where there is a folder for it."""
    profile, session = profile_of(*recording), session_of(*recording)
    for name in formats.TEXTS:
        data = saved(profile, name, folder) if folder else written(profile, name)
        oracle.check_format(name, data, session)
    oracle.check_samples(profile, session)
    oracle.check_functions(profile.functions(), session)
    oracle.check_summary(list(report.lines(profile)), session)


# --- the tests ----------------------------------------------------------------------------------------------


def test_every_format_is_read_back():
    assert set(formats.TEXTS) == set(oracle.READERS) == {"collapsed", "speedscope"}


@given(recording=recordings())
def test_any_names(recording):
    check(recording)


def recording_named(name, file, thread):
    nodes = [(-1, 0, 3), (0, 1, 0), (1, 0, 7)]
    samples = [(1, 0, 2, 1, 0), (2, 1, 1, 5, DETACHED), (3, 0, -1, 2, TRUNCATED), (4, 0, 2, 1, 0)]
    return [(name, file, 1), ("f", "f.py", 0)], nodes, samples, [(1, thread), (2, "t")], {"busy": 2}, 2.5


@pytest.mark.parametrize("text", HOSTILE)
def test_each_hostile_name(tmp_path, text):
    check(recording_named(text, "a.py", "t1"), tmp_path)
    check(recording_named("f", text, "t1"), tmp_path)
    check(recording_named("f", "a.py", text or "-"), tmp_path)


@pytest.mark.parametrize("piece", ["a", ";", "\ud800", "\n", '"'])
def test_megabyte_names(tmp_path, piece):
    check(recording_named(piece * (1 << 20), "a.py", "t1"), tmp_path)


# --- writers that would not do --------------------------------------------------------------------------------

WEAKER = {
    "nothing_escaped": ("collapsed", "escaped", lambda text, also="": text),
    "no_backslash_escaped": ("collapsed", "escaped", lambda text, also="": ESCAPED(text, ";")),
    "no_semicolon_escaped": ("collapsed", "escaped", lambda text, also="": ESCAPED(text, "\\")),
    "unprintable_dropped": (
        "collapsed",
        "escaped",
        lambda text, also="": ESCAPED("".join(filter(str.isprintable, text))),
    ),
    "short_escapes_only": ("escapes", "_escape_sequence", lambda code: f"\\x{code & 0xFF:02x}"),
    "thread_may_pass_for_losses": ("collapsed", "_root", lambda thread: ESCAPED(thread)),
    "no_line": ("collapsed", "_frame", lambda frame: ESCAPED(f"{frame.name} ({frame.filename})")),
    "quotes_by_hand": (
        "speedscope",
        "_frame",
        lambda frame: f'{{"name": "{frame.name}", "file": "{frame.filename}"}}',
    ),
    "same_name_same_frame": ("speedscope", "_frame", lambda frame: json.dumps({"name": frame.name})),
    "losses_left_out": ("labels", "losses", lambda stats: iter(())),
    "thread_names_alone": (
        "labels",
        "thread_labels",
        lambda threads: [str(thread.native_id) for thread in threads],
    ),
}
ESCAPED = formats.escaped


@pytest.mark.parametrize("name", WEAKER)
def test_weaker_writer_is_found(monkeypatch, name):
    module, function, weaker = WEAKER[name]
    sound = getattr(formats, module)
    assert callable(getattr(sound, function))
    monkeypatch.setattr(sound, function, weaker)
    found = 0
    for text in HOSTILE:
        for recording in (recording_named(text, "a.py", "t1"), recording_named("f", "a.py", text or "-")):
            try:
                check(recording)
            except (AssertionError, ValueError, UnicodeEncodeError):
                found += 1
    assert found > 0

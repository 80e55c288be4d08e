"""Hostile names and numbers through every output format, read back by parsers that share nothing with the writers."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_profile import REASONS, collected, formats, profiles, spprof  # with the package in reach

DETACHED, TRUNCATED = 1, 2

# --- what is written -------------------------------------------------------------------------------------

# What has a meaning in one of the formats, ends a line somewhere, or is no character at all.
HOSTILE = (
    "", " ", ";", "\\", '"', "'", "\n", "\r", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\x85", "\xa0", "\u2028", "\u2029",
    "\u200b", "\u202e", "\ufeff", "\ud800", "\udfff", "\udc80", "\ud83d\ude00", "\U0001f600", "\U0010ffff", "\\x3b", "\\n",
    "\\u0041", "%s", "{}", "</script>", "<b>&amp;", "[lost samples]", "[truncated]", "[C code, detached]", "[", "(", ") 7",
    " (a.py:1)", "null", "1", "-1", "1e9", "é", "日本",
)  # fmt: skip

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
    named = [profiles.Thread(index, tid, name) for index, (tid, name) in enumerate(threads)]
    native = collected(codes, nodes, samples, threads, **losses)
    return spprof.Profile(native, mode="cpu", interval_ms=interval, threads=named)


# --- what must be read ----------------------------------------------------------------------------------


def labels_of(threads):
    names = [name for _, name in threads]
    return [name if names.count(name) == 1 else f"{name} ({tid})" for tid, name in threads]


def stack_of(codes, nodes, node, flags, frame):
    """Outermost first: `frame(name, file, first line, line)` for each level, text for a level that is no frame."""
    stack = []
    while node != -1:
        parent, code, line = nodes[node]
        stack.insert(0, frame(*codes[code], line))
        node = parent
    stack = stack or ["[no Python frame]"]
    return ["[truncated]"] * bool(flags & TRUNCATED) + stack + ["[C code, detached]"] * bool(flags & DETACHED)


def expected_folded(codes, nodes, samples, threads, losses, _):
    def frame(name, file, _, line):
        return f"{name} ({file}:{line})" if line else f"{name} ({file})"

    labels, found = labels_of(threads), Counter()
    for _, thread, node, weight, flags in samples:
        found[("thread", labels[thread], *stack_of(codes, nodes, node, flags, frame))] += weight
    for reason, ticks in losses.items():
        if ticks:
            found["lost", f"[lost: {reason}]"] += ticks
    return found


def in_json(text):
    """JSON cannot tell two lone surrogates that stand together from the character that they would make."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def expected_timelines(codes, nodes, samples, threads, losses, interval):
    def frame(name, file, first_line, _):
        return {"name": in_json(name), "file": in_json(file), **({"line": first_line} if first_line > 0 else {})}

    def level(found):
        return found if isinstance(found, dict) else {"name": found}

    timelines = [(in_json(label), []) for label in labels_of(threads)]
    for _, thread, node, weight, flags in samples:
        stack = [level(found) for found in stack_of(codes, nodes, node, flags, frame)]
        timelines[thread][1].append((stack, weight))
    lost = [([{"name": f"[lost: {reason}]"}], ticks) for reason, ticks in losses.items() if ticks]
    return timelines + ([("[lost samples]", lost)] if lost else [])


# --- the parsers ------------------------------------------------------------------------------------------

SPECIAL = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def plain(label):
    """The text that an escaped label stands for; what is left of a backslash is no escape."""
    assert "\\" not in SPECIAL.sub("", label)
    assert label.isprintable()
    return SPECIAL.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), label)


def read_folded(data):
    found = Counter()
    assert data == b"" or data.endswith(b"\n")
    for line in data.decode("utf-8").split("\n")[:-1]:
        stack, _, ticks = line.rpartition(" ")
        root, *levels = stack.split(";")
        assert ticks.isascii() and ticks.isdigit() and levels
        kind = ("lost",) if root == "[lost samples]" else ("thread", plain(root))
        found[(*kind, *map(plain, levels))] += int(ticks)
    return found


def read_timelines(data, interval):
    document = json.loads(data.decode("ascii"))
    frames = document["shared"]["frames"]
    assert len({json.dumps(frame, sort_keys=True) for frame in frames}) == len(frames)
    assert document["activeProfileIndex"] in range(len(document["profiles"]))
    timelines = []
    for timeline in document["profiles"]:
        assert len(timeline["samples"]) == len(timeline["weights"])
        ticks = [round(weight / interval) for weight in timeline["weights"]]
        assert round(timeline["endValue"] / interval) == sum(ticks)
        stacks = [[frames[number] for number in sample] for sample in timeline["samples"]]
        timelines.append((timeline["name"], list(zip(stacks, ticks, strict=True))))
    return timelines


def written(profile, name):
    """The bytes of a file in that format, without the file."""
    return "".join(formats.get(name).write(profile)).encode("utf-8")


def saved(profile, name, folder):
    path = folder / name
    profile.save(path, name)
    assert list(folder.iterdir()) == [path]
    data = path.read_bytes()
    path.unlink()
    return data


def check(recording, folder=None):
    """Whether both formats hold the recording; through a file where there is a folder for it."""
    profile = profile_of(*recording)
    folded, timelines = (
        saved(profile, name, folder) if folder else written(profile, name) for name in ("collapsed", "speedscope")
    )
    assert read_folded(folded) == expected_folded(*recording)
    assert read_timelines(timelines, recording[-1]) == expected_timelines(*recording)


# --- the tests ----------------------------------------------------------------------------------------------


def test_every_format_is_read_back():
    assert set(formats.FORMATS) == {"collapsed", "speedscope"}


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
    "nothing_escaped": ("escaped", lambda text, also="": text),
    "no_backslash_escaped": ("escaped", lambda text, also="": ESCAPED(text, ";")),
    "no_semicolon_escaped": ("escaped", lambda text, also="": ESCAPED(text, "\\")),
    "unprintable_dropped": ("escaped", lambda text, also="": ESCAPED("".join(filter(str.isprintable, text)))),
    "short_escapes_only": ("_escape_sequence", lambda code: f"\\x{code & 0xFF:02x}"),
    "thread_may_pass_for_losses": ("_collapsed_root", lambda thread: ESCAPED(thread)),
    "no_line": ("_collapsed_frame", lambda frame: ESCAPED(f"{frame.name} ({frame.filename})")),
    "quotes_by_hand": ("_speedscope_frame", lambda frame: f'{{"name": "{frame.name}", "file": "{frame.filename}"}}'),
    "same_name_same_frame": ("_speedscope_frame", lambda frame: json.dumps({"name": frame.name})),
    "losses_left_out": ("_losses", lambda profile: iter(())),
    "thread_names_alone": ("_thread_labels", lambda threads: [str(thread.native_id) for thread in threads]),
}
ESCAPED = formats.escaped


@pytest.mark.parametrize("name", WEAKER)
def test_weaker_writer_is_found(monkeypatch, name):
    function, weaker = WEAKER[name]
    assert callable(getattr(formats, function))
    monkeypatch.setattr(formats, function, weaker)
    found = 0
    for text in HOSTILE:
        for recording in (recording_named(text, "a.py", "t1"), recording_named("f", "a.py", text or "-")):
            try:
                check(recording)
            except (AssertionError, ValueError, UnicodeEncodeError):
                found += 1
    assert found > 0

"""What every form of a profile must say, and parsers that read it back. Shares no code with the core and the package."""

import json
import re
from collections import Counter, namedtuple

DETACHED, TRUNCATED = 1, 2
INT32_MAX, UINT32_MAX = (1 << 31) - 1, (1 << 32) - 1
APART = 1_000_000_000  # nanoseconds: equal samples that are further apart are not one

Frame = namedtuple("Frame", "name file first_line line")
# One sample; the stack's outermost frame first. `last` is when it was seen for the last time in a row.
Shown = namedtuple("Shown", "time thread stack weight flags last")
Session = namedtuple("Session", "samples threads losses interval")  # threads: (tid, name); losses: ticks by reason


class Wrong(AssertionError):
    """A form of the profile does not say what it must."""


def law(condition, *what):
    if not condition:
        raise Wrong(" ".join(part if isinstance(part, str) else excerpt(part) for part in what))


def excerpt(value):
    """On one line, and short where a name has a megabyte."""
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:120]} ... {text[-60:]}"


def same(what, found, expected):
    if found != expected:
        raise Wrong(f"{what} {first_difference(found, expected)}")


def first_difference(found, expected):
    """Of the first item that differs, where these are collections."""
    if isinstance(found, dict) and isinstance(expected, dict):
        found, expected = (
            [item for item in one.items() if item not in other.items()]
            for one, other in ((found, expected), (expected, found))
        )
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        for left, right in zip(found, expected, strict=False):
            if left != right:
                return first_difference(left, right)
        longer, shorter = max(found, expected, key=len), min(len(found), len(expected))
        return f"{'lacks' if longer is expected else 'has more:'} {excerpt(longer[shorter])}"
    return f"is {excerpt(found)} and must be {excerpt(expected)}"


# --- lines ------------------------------------------------------------------------------------------------

ENTRY = re.compile(rb"([\x80-\xff])([\x00-\x7f]*)", re.DOTALL)
NUMBER = re.compile(rb"[\x40-\x7f]{0,5}[\x00-\x3f]", re.DOTALL)
SAME, ONE_LINE, NO_COLUMNS, LONG, NONE = range(10), (10, 11, 12), 13, 14, 15


def step_of(form, rest):
    """By how many lines an entry goes on; None for one that is cut."""
    if form in ONE_LINE:
        return ONE_LINE.index(form)
    if form not in (NO_COLUMNS, LONG):
        return 0
    number = NUMBER.match(rest)
    if number is None:
        return None
    value = sum((byte & 63) << 6 * place for place, byte in enumerate(number[0])) & 0xFFFF_FFFF
    return -(value >> 1) if value & 1 else value >> 1


def line_of(table, first_line, instruction):
    """By CPython's InternalDocs/code_objects.md; 0 for no line, and for what no line of a file can be."""
    line, past = first_line, 0
    if ENTRY.match(table) is None:
        return 0
    for head, rest in ENTRY.findall(table):
        form, units = head[0] >> 3 & 15, (head[0] & 7) + 1
        step = step_of(form, rest)
        if step is None:
            return 0
        line, past = line + step, past + units
        if instruction < past:
            return line if form != NONE and 1 <= line <= INT32_MAX else 0
    return 0


def frame_of(code, instruction):
    if code.name is None:
        return Frame("[unknown]", "", 0, 0)
    return Frame(code.name, code.file, code.first_line, line_of(code.table, code.first_line, instruction))


def together(samples):
    """Samples of a thread that are equal and follow one another are one."""
    found, recent = [], {}
    for sample in samples:
        at = recent.get(sample.thread)
        former = found[at] if at is not None else None
        is_equal = former and (former.stack, former.flags) == (sample.stack, sample.flags)
        if is_equal and sample.time - former.last <= APART and former.weight + sample.weight <= UINT32_MAX:
            found[at] = former._replace(weight=former.weight + sample.weight, last=sample.time)
        else:
            recent[sample.thread] = len(found)
            found.append(Shown(*sample, last=sample.time))
    return found


def session_of(recording):
    """A recording (recording.py), resolved."""
    samples = [
        sample._replace(stack=[frame_of(recording.codes[call.code], call.instruction) for call in sample.stack])
        for sample in together(recording.samples)
    ]
    return Session(samples, recording.threads, recording.losses, recording.interval)


# --- what must be read ------------------------------------------------------------------------------------


def labels_of(threads):
    names = [name for _, name in threads]
    return [name if names.count(name) == 1 else f"{name} ({tid})" for tid, name in threads]


def levels_of(sample, frame):
    """Outermost first: `frame(...)` for each frame, text for a level that is none."""
    stack = [frame(found) for found in sample.stack] or ["[no Python frame]"]
    return (
        ["[truncated]"] * bool(sample.flags & TRUNCATED)
        + stack
        + ["[C code, detached]"] * bool(sample.flags & DETACHED)
    )


def expected_folded(session):
    def level(frame):
        return f"{frame.name} ({frame.file}:{frame.line})" if frame.line else f"{frame.name} ({frame.file})"

    labels, found = labels_of(session.threads), Counter()
    for sample in session.samples:
        found[("thread", labels[sample.thread], *levels_of(sample, level))] += sample.weight
    for reason, ticks in session.losses.items():
        if ticks:
            found["lost", f"[lost: {reason}]"] += ticks
    return found


def in_json(text):
    """JSON cannot tell two lone surrogates that stand together from the character that they would make."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def expected_timelines(session):
    def box(frame):
        line = {"line": frame.first_line} if frame.first_line > 0 else {}
        return {"name": in_json(frame.name), "file": in_json(frame.file), **line}

    timelines = [(in_json(label), []) for label in labels_of(session.threads)]
    for sample in session.samples:
        stack = [level if isinstance(level, dict) else {"name": level} for level in levels_of(sample, box)]
        timelines[sample.thread][1].append((stack, sample.weight))
    lost = [([{"name": f"[lost: {reason}]"}], ticks) for reason, ticks in session.losses.items() if ticks]
    return timelines + ([("[lost samples]", lost)] if lost else [])


def expected_functions(session):
    """Own and total ticks of each function."""
    own, total = Counter(), Counter()
    for sample in session.samples:
        functions = [tuple(frame[:3]) for frame in sample.stack]
        for function in set(functions):
            total[function] += sample.weight
        if functions:
            own[functions[-1]] += sample.weight
    return {function: (own[function], ticks) for function, ticks in total.items()}


# --- the parsers --------------------------------------------------------------------------------------------

SPECIAL = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def plain(label):
    """The text that an escaped label stands for; what is left of a backslash is no escape."""
    law("\\" not in SPECIAL.sub("", label), "a backslash is no escape in", label)
    law(label.isprintable(), "unprintable:", label)
    return SPECIAL.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), label)


def read_folded(data):
    found = Counter()
    law(data == b"" or data.endswith(b"\n"), "the last line does not end:", data[-80:])
    for line in data.decode("utf-8").split("\n")[:-1]:
        stack, _, ticks = line.rpartition(" ")
        root, *levels = stack.split(";")
        law(ticks.isascii() and ticks.isdigit() and levels, "no line of folded stacks:", line)
        kind = ("lost",) if root == "[lost samples]" else ("thread", plain(root))
        found[(*kind, *map(plain, levels))] += int(ticks)
    return found


def read_timelines(data, interval):
    document = json.loads(data.decode("ascii"))
    frames = document["shared"]["frames"]
    law(len({json.dumps(frame, sort_keys=True) for frame in frames}) == len(frames), "a frame is there twice")
    law(document["activeProfileIndex"] in range(len(document["profiles"])), "no timeline is the active one")
    timelines = []
    for timeline in document["profiles"]:
        law(len(timeline["samples"]) == len(timeline["weights"]), "samples and weights differ in number")
        ticks = [round(weight / interval) for weight in timeline["weights"]]
        same("the end of a timeline", round(timeline["endValue"] / interval), sum(ticks))
        stacks = [[frames[number] for number in sample] for sample in timeline["samples"]]
        timelines.append((timeline["name"], list(zip(stacks, ticks, strict=True))))
    return timelines


# --- the checks -----------------------------------------------------------------------------------------------

READERS = {
    "collapsed": (lambda data, _: read_folded(data), expected_folded),
    "speedscope": (read_timelines, expected_timelines),
}


def check_format(name, data, session):
    """Whether a file of that format holds the session."""
    read, expected = READERS[name]
    try:
        found = read(data, session.interval)
    except (ValueError, KeyError, IndexError, TypeError) as error:  # no sound file at all
        raise Wrong(f"{name} cannot be read back: {excerpt(str(error))}") from error
    same(f"something in {name}", found, expected(session))


def check_samples(profile, session):
    """The samples as a sink of one's own gets them."""
    found = [
        (
            sample.time_ns,
            sample.thread.index,
            [(frame.name, frame.filename, frame.first_line, frame.line) for frame in sample.stack],
            sample.weight,
            sample.detached * DETACHED | sample.truncated * TRUNCATED,
            sample.last_ns,
        )
        for sample in profile
    ]
    same(
        "something in the samples",
        found,
        [(*sample[:2], list(map(tuple, sample.stack)), *sample[3:]) for sample in session.samples],
    )


def check_functions(functions, session):
    found = {(each.name, each.filename, each.first_line): (each.self, each.total) for each in functions}
    same("something in the functions", found, expected_functions(session))
    law(len(found) == len(functions), "a function is there twice")
    order = [(-each.self, -each.total, each.name, each.filename) for each in functions]
    law(order == sorted(order), "the functions are not in order")


def check_summary(lines, session):
    """The numbers of the summary, and the lines of its functions: names cut, otherwise as they are."""
    captured, lost = sum(sample.weight for sample in session.samples), sum(session.losses.values())
    counts = re.match(r"captured (\d+) of (\d+) ticks?\b", lines[1])
    law(counts, "no counts in", lines[1])
    same("the counts of the summary", tuple(map(int, counts.groups())), (captured, captured + lost))
    for reason, ticks in session.losses.items():
        law(not ticks or f"{reason} {ticks} (" in lines[1], reason, "is missing in", lines[1])
    at = next((at for at, line in enumerate(lines) if line.startswith("hottest functions")), len(lines))
    shown = lines[at + 1 :]
    for reason, ticks in session.losses.items():
        told = any(line.startswith(f"  {reason}: ") for line in lines[2:at])
        law(
            told == (ticks > 0 and 100 * ticks >= captured + lost),
            "what",
            reason,
            "means is told" if told else "is missing",
        )
    functions = expected_functions(session)
    asked = sorted((own for own, _ in functions.values() if own), reverse=True)[:10]
    law(len(shown) == len(asked), len(shown), "functions in the summary, and not", len(asked))
    described = {}
    for (name, file, line), (own, _) in functions.items():
        described.setdefault(f"{name[:100]} ({file[-100:]}:{line})", set()).add(own)
    for line, own in zip(shown, asked, strict=True):
        share, text = line[: line.index("%")].strip(), line[line.index("%") + 3 :]
        law(own in described.get(text, ()), "no such function with these ticks:", text)
        law(abs(float(share) - 100 * own / captured) <= 0.0101, share, "is not the share of", own, "of", captured)
        law(own == captured or 0 < float(share) < 100, share, "is said of some ticks")

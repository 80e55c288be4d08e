"""Names, lines and losses, resolved by the core and written by the package in every form, each read back.

The input is a recording (recording.py). The oracle (output_oracle.py) knows what each form must then say.
"""

import output_oracle as oracle
import recording
import resolve

LARGEST = 4096  # bytes of an input that are looked at
WATCHED = (
    "spprof.counters",
    "spprof.records",
    "spprof.calltree",
    "spprof.formats.escapes",
    "spprof.formats.labels",
    "spprof.formats.collapsed",
    "spprof.formats.recording",
    "spprof.formats.speedscope",
    "spprof.formats",
    "spprof.profiles",
    "spprof.report",
)


class Target:
    """Tries one input after another. `modules` are those of WATCHED, by their names."""

    def __init__(self, modules):
        self.records, self.formats, self.profiles, self.report = (
            modules[f"spprof.{name}"] for name in ("records", "formats", "profiles", "report")
        )
        oracle.same("the formats", set(self.formats.TEXTS), set(oracle.READERS))
        self.resolver = resolve.Resolver()

    def try_one(self, data):
        """What the input came to, in words, and what was written of it. Raises where a form is not as it must be."""
        recorded = recording.decode(data)
        session = oracle.session_of(recorded)
        profile = self.profile_of(recorded)
        written = {name: self.written(profile, name) for name in self.formats.TEXTS}
        for name, form in written.items():
            oracle.check_format(name, form, session)
        oracle.check_samples(profile, session)
        oracle.check_functions(profile.functions(), session)
        summary = list(self.report.lines(profile))
        oracle.check_summary(summary, session)
        return words_of(recorded, session, written), (*written.values(), "\n".join(summary))

    def profile_of(self, recorded):
        thread = self.records.Thread
        threads = [thread(number, *known) for number, known in enumerate(recorded.threads)]
        native = self.resolver.native(recorded)
        return self.profiles.Profile(native, mode=recorded.mode, interval_ms=recorded.interval, threads=threads)

    def written(self, profile, name):
        """The bytes of a file in that format, without the file."""
        return "".join(self.formats.get(name).write(profile.tree)).encode("utf-8")


def words_of(recorded, session, written):
    names = [text for code in recorded.codes for text in (code.name or "", code.file)]
    names += [thread.name for thread in recorded.threads]
    frames = [frame for sample in session.samples for frame in sample.stack]
    reached = {
        "captured": bool(session.samples),
        "lost": any(session.losses.values()),
        "line": any(frame.line for frame in frames),
        "detached": any(sample.flags & oracle.DETACHED for sample in session.samples),
        "truncated": any(sample.flags & oracle.TRUNCATED for sample in session.samples),
        "nameless": any(code.name is None for code in recorded.codes),
        "escaped": b"\\" in written["collapsed"],
        "megabyte": any(len(name) >= recording.MEGABYTE for name in names),
    }
    return tuple(word for word, is_so in reached.items() if is_so) or ("nothing",)

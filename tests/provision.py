"""Confines the tests to what ci/test provides, on machines that happen to have more too.

What is asked of ci/python, ci/setup, ci/arm64-tools and ci/model-tools is compared with
ci/provided (ci/confine), and a program of a package that ci/setup does not install is hidden by one
that refuses to run. Both hold for whatever the tests start, and both note what they refuse, because
who asked may go on without it. Programs that no package put where they are (an interpreter on PATH,
a tool below /usr/local) are not hidden; nor are headers and libraries.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN, REFUSED = "SPPROF_RUN", "SPPROF_REFUSED"
SYSTEM = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
HIDING = "unprovided"  # the folder with what stands for the hidden programs
# Programs that are asked for where they are there and not missed where they are not.
OPTIONAL = {"lsb_release"}  # by pip, which tells an index what it runs on
LISTS = Path("/var/lib/dpkg/info")
FORM = "${Package}\t${db:Status-Status}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n"

REFUSAL = """#!/bin/sh
refusal="'${0##*/}' is of a package that ci/setup does not install"
refusal="$refusal; add the package there, or do without it"
[ -z "$SPPROF_REFUSED" ] || printf '%s\\n' "$refusal" >>"$SPPROF_REFUSED"
printf '%s\\n' "$refusal" >&2
exit 127
"""


# --- packages ------------------------------------------------------------------------------------


def names_in(text):
    """The packages of a field like Depends: for each entry its alternatives."""
    entries = (entry.split("|") for entry in text.split(",") if entry.strip())
    return [[re.match(r"\s*([^\s:(]+)", name)[1] for name in entry] for entry in entries]


class Packages:
    """What is installed, from the rows of `dpkg-query -f FORM`."""

    def __init__(self, rows):
        self.needs = defaultdict(list)  # what each package depends on
        self.stand_ins = defaultdict(set)  # who provides a virtual one
        self.essential = {"apt"}  # what every machine has
        for row in rows:
            self.add(*row.split("\t"))

    def add(self, name, status, essential, depends, provides):
        if status != "installed":
            return
        self.needs[name] += names_in(depends)
        if essential == "yes":
            self.essential.add(name)
        for virtual in names_in(provides):
            self.stand_ins[virtual[0]].add(name)

    def is_here(self, name):
        return name in self.needs or name in self.stand_ins

    def with_what_they_need(self, wanted):
        """Those that come with a package: of alternatives the first that is here."""
        found, waiting = set(), list(wanted)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in self.needs:
                waiting += self.stand_ins.get(name, ())
                continue
            found.add(name)
            for alternatives in self.needs[name]:
                waiting += list(filter(self.is_here, alternatives))[:1]
        return found


def installed():
    rows = subprocess.check_output(["dpkg-query", "-W", "-f", FORM], text=True)
    return Packages(rows.splitlines())


def listed_packages():
    """Those of ci/setup. (It installs clang's run-time library too, which has no program.)"""
    return subprocess.check_output([ROOT / "ci" / "setup", "--packages"], text=True).split()


# --- programs ------------------------------------------------------------------------------------


def owners(lists=LISTS, folders=SYSTEM):
    """The packages of each program in these folders, by its real path, from dpkg's lists."""
    found = defaultdict(set)
    real = {folder: os.path.realpath(folder) for folder in folders}
    for listing in lists.glob("*.list"):
        for path in listing.read_text(errors="replace").splitlines():
            folder, _, name = path.rpartition("/")
            if folder in real:
                found[f"{real[folder]}/{name}"].add(listing.stem.partition(":")[0])
    return found


def programs_of_others(kept, owned, folders=SYSTEM):
    """Names of the programs in these folders that are of packages, but of none that is kept."""
    found = set()
    for folder in {os.path.realpath(folder) for folder in folders}:
        for name in os.listdir(folder):
            path = f"{folder}/{name}"
            # A link that chooses an alternative is of the package that it leads to.
            of = owned.get(path) or owned.get(os.path.realpath(path), set())
            if of and not of & kept:
                found.add(name)
    return found


def unprovided_programs():
    """Names of programs that no machine gets from ci/setup; none where packages are not dpkg's."""
    if not shutil.which("dpkg-query") or not LISTS.is_dir():
        return set()
    packages = installed()
    kept = packages.with_what_they_need({*packages.essential, *listed_packages()})
    return programs_of_others(kept, owners()) - OPTIONAL


# --- the tests' own run --------------------------------------------------------------------------


def path_with(hiding, path):
    """PATH with a folder before the first of the system's: what comes before is found as ever."""
    folders = path.split(os.pathsep)
    places = [number for number, folder in enumerate(folders) if folder in SYSTEM]
    place = places[0] if places else len(folders)
    return os.pathsep.join([*folders[:place], str(hiding), *folders[place:]])


class Confinement:
    """From the start of the tests to their end; changes the environment of this process."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="spprof-tests-"))
        self.notes = self.folder / "refused"
        os.environ.setdefault(RUN, "test")
        os.environ[REFUSED] = str(self.notes)
        if f"/{HIDING}:" not in os.environ["PATH"]:  # tests that tests start are in such a run already
            self.hide()

    def hide(self):
        refusal, hiding = self.folder / "refusal", self.folder / HIDING
        refusal.write_text(REFUSAL)
        refusal.chmod(0o755)
        hiding.mkdir()
        for name in unprovided_programs():
            (hiding / name).symlink_to(refusal)
        os.environ["PATH"] = path_with(hiding, os.environ["PATH"])

    def refused(self):
        """What was asked for since the last call and refused, a line each."""
        if not self.notes.exists():
            return []
        lines = self.notes.read_text().splitlines()
        self.notes.unlink()
        return lines

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)

"""Each atomic access of the core has a site, a pair, a litmus test, a mutant and the code that its order needs."""

import re
from collections import Counter

import orders
import pytest
import support

from model import rows, sites
from model.litmus import judge

TABLE = sites.table()
HEADER = sites.ATOMICS.read_text()
CHOICES = [(architecture, compiler) for architecture, of in orders.COMPILERS.items() for compiler in of]
WEAKENINGS = [(site, order) for site, entry in TABLE.items() for order in entry.weakened]
STRENGTH = {"relaxed": 0, "acquire": 1, "release": 1, "acq_rel": 2, "seq_cst": 3}


def core_files():
    for path in sorted(orders.CORE.rglob("*.[ch]")):
        if path != sites.ATOMICS and "example" not in path.parts:
            yield path, re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)


def uses(texts):
    """{site: kinds of access} of the core's source."""
    found = {}
    for _, text in texts:
        for kind, site in re.findall(r"\batomic_(read|write|add|subtract|swap|keep|fence)\(\s*(\w+)[,)]", text):
            found.setdefault(site, set()).add({"subtract": "add"}.get(kind, kind))
    return found


@pytest.fixture(scope="session")
def herd():
    try:
        return judge.Herd()
    except rows.Missing as missing:
        pytest.skip(f"no verdict of herd7: {missing}")


# --- the table -----------------------------------------------------------------------------------------


def test_every_site_is_in_the_table_and_used():
    assert sites.stated(HEADER).keys() == TABLE.keys() == uses(core_files()).keys()


@pytest.mark.parametrize("site", TABLE)
def test_site_is_what_the_table_says(site):
    entry = TABLE[site]
    order, comment = sites.stated(HEADER)[site]
    assert order == entry.order
    assert uses(core_files())[site] == set(entry.access.split(", "))
    assert all(re.search(rf"\b{pair}\b", comment) for pair in entry.pair), f"the comment of {site} names its pair"
    assert all(site in TABLE[pair].pair or site == "leave" for pair in entry.pair)
    assert entry.outside in comment, f"the comment of {site} names what it pairs with outside the core"
    if entry.order == "relaxed":
        assert entry.premise and not entry.weakened and not entry.pair
    else:
        assert (entry.pair or entry.outside) and entry.weakened
        assert all(STRENGTH[order] < STRENGTH[entry.order] for order in entry.weakened)


@pytest.mark.parametrize("site", TABLE)
def test_site_has_litmus_tests_and_twins(site):
    known = judge.tests()
    for claim in TABLE[site].litmus:
        of = [test for test in known.values() if test.claim == claim]
        assert {test.level for test in of if not test.twin} == set(judge.LEVELS)
        assert {test.level for test in of if test.twin} == set(judge.LEVELS)
    named = [test for test in known.values() if site in test.sites and test.claim in TABLE[site].litmus]
    assert named and f"ORDER_{site}" in "".join(test.text for test in named if test.level == "c11")


def test_atomics_go_through_the_header():
    direct = re.compile(
        r"__atomic_|__sync_|\batomic_(?:load|store|exchange|fetch|compare|thread_fence|signal_fence|init)"
    )
    for path, text in core_files():
        assert not direct.search(text), f"{path.name} accesses an atomic without core/atomics.h"
        assert "memory_order" not in text, f"{path.name} names an order, not a site"


def said_of_implicit_accesses(path):
    return orders.diagnose("-Werror=atomic-implicit-seq-cst", path)


@pytest.mark.parametrize("path", orders.USERS, ids=lambda path: path.name)
def test_no_atomic_is_accessed_without_a_site(path):
    """A plain mention of an _Atomic field would be sequentially consistent, and nobody would have decided so."""
    assert said_of_implicit_accesses(path) == ""


def test_access_without_a_site_is_found(tmp_path):
    broken = tmp_path / "ring.c"
    text = (orders.CORE / "ring.c").read_text()
    broken.write_text(text.replace("atomic_read(ring_reserve, &ring->tail)", "ring->tail"))
    assert broken.read_text() != text
    assert "atomic-implicit-seq-cst" in said_of_implicit_accesses(broken)


# --- compiled code -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "compiler"), CHOICES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_code_of_every_access(architecture, compiler, tmp_path):
    try:
        found = orders.compiled(architecture, compiler, tmp_path)
    except support.Missing as missing:
        pytest.fail(str(missing), pytrace=False)
    assert {access.site for access in found} == TABLE.keys()
    assert [
        said for access in found if (said := orders.complaint(access, TABLE[access.site].order, architecture))
    ] == []


@pytest.mark.parametrize(
    ("architecture", "compiler"), CHOICES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_marks_do_not_change_the_code(architecture, compiler, tmp_path):
    """What is ordered in the core as it is built is what is ordered between the marks."""
    marks = tmp_path / "marks.h"
    marks.write_text(orders.MARKS % sites.ATOMICS)
    for source in orders.USERS:
        built = Counter(orders.ordering(orders.assembly(compiler, source), architecture))
        marked = Counter(orders.ordering(orders.assembly(compiler, source, "-include", marks), architecture))
        assert set(built) == set(marked), source.name
        assert "ldapr" not in built or "acquire" in HEADER


@pytest.mark.parametrize(
    ("kind", "order", "instructions"),
    [
        ("read", "seq_cst", ("ldapr",)),
        ("read", "acquire", ("plain",)),
        ("write", "release", ("plain",)),
        ("write", "seq_cst", ("stlr", "plain")),
        ("add", "seq_cst", ("ldaddl",)),
        ("add", "release", ("__aarch64_ldadd4_relax",)),
        ("read", "relaxed", ()),
        ("swap", "acq_rel", ("swpa",)),
        ("swap", "acq_rel", ("__aarch64_swp4_acq",)),
        ("keep", "acquire", ("ldclr",)),
        ("keep", "acquire", ("ldxr", "stxr")),
        ("fence", "acquire", ()),
        ("fence", "acquire", ("dmb ishst",)),
        ("fence", "release", ("dmb ish",)),
    ],
)
def test_judge_of_the_code_refuses(kind, order, instructions):
    access = orders.Access("a_site", kind, "a_file.c", instructions)
    assert orders.complaint(access, order, "aarch64") is not None


@pytest.mark.parametrize(
    ("kind", "order", "instructions"),
    [
        ("swap", "acq_rel", ("plain",)),
        ("keep", "acquire", ("plain",)),
        ("fence", "acquire", ("mfence",)),
        ("fence", "acquire", ("plain",)),
    ],
)
def test_judge_of_the_code_refuses_on_x86_64(kind, order, instructions):
    access = orders.Access("a_site", kind, "a_file.c", instructions)
    assert orders.complaint(access, order, "x86_64") is not None


def test_sources_of_a_header_s_site_are_found():
    assert {path.name for path in orders.users_of("due_take")} >= {"handler.c", "monitor.c", "threads.c"}
    assert [path.name for path in orders.users_of("stands_since")] == ["monitor.c"]


# --- mutants -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("site", "order"), WEAKENINGS)
def test_weakening_is_found(site, order, tmp_path, request):
    """A copy of core/atomics.h with one order weaker: the code for ARM64 is wrong, or else herd7 says that the claim is."""
    atomics = tmp_path / "atomics.h"
    atomics.write_text(sites.weaken(HEADER, site, order))
    assert sites.stated(atomics.read_text())[site][0] != TABLE[site].order  # the table alone tells them apart
    found = orders.compiled("aarch64", orders.COMPILERS["aarch64"][0], tmp_path, atomics, orders.users_of(site))
    mine = [access for access in found if access.site == site]
    assert mine
    if any(orders.complaint(access, TABLE[site].order, "aarch64") for access in mine):
        return
    herd = request.getfixturevalue("herd")
    names = [f"{claim}.c11" for claim in TABLE[site].litmus]
    judged = [job() for job in judge.jobs(herd, names, atomics)]
    assert rows.status_of(judged) == rows.WRONG

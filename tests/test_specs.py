"""The specifications name real tests and real reasons, and the README names the commands that are there."""

import ast
import os
import re

import pytest
import support

SPECS = support.ROOT / "specs"
CLAIMS = SPECS / "005-linux-freethreading" / "spec.md"
REASONS = SPECS / "reasons.md"
MOST_OPEN = 3

REFERENCE = re.compile(r"(tests/\w+\.py)::(\w+)")


def claims(text):
    """Number, title and body of each claim, in their order."""
    parts = re.split(r"^### (C-\d+) (.+)$", text, flags=re.MULTILINE)[1:]
    return [(parts[i], parts[i + 1], re.split(r"^## ", parts[i + 2], flags=re.M)[0]) for i in range(0, len(parts), 3)]


def evidence(body):
    """The claim's last paragraph as one line: what shows it, or why nothing does."""
    return " ".join(body.strip().split("\n\n")[-1].split())


def functions(path):
    """The tests that a file defines at its top level."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def complaint_about(proof):
    """What is wrong with a line of evidence, or None."""
    if proof.startswith("Open: "):
        reason = proof.removeprefix("Open: ")
        if len(reason.split()) < 5 or not reason.rstrip().endswith("."):
            return "open without a reason"
        return "the reason must stand without an issue" if re.search(r"#\d|\bissue\b", reason, re.I) else None
    if not proof.startswith("Shown by: "):
        return "names no test"
    return complaint_about_names(proof.removeprefix("Shown by: "))


def complaint_about_names(names):
    for name in names.removesuffix(".").split(", "):
        found = REFERENCE.fullmatch(name)
        if found is None:
            return f"{name!r} is no test"
        path = support.ROOT / found.group(1)
        if not path.is_file():
            return f"there is no {found.group(1)}"
        if found.group(2) not in functions(path):
            return f"{found.group(1)} has no {found.group(2)}"
    return None


def reason_names():
    text = (support.ROOT / "core" / "include" / "spprof.h").read_text()
    body = text.split("enum spprof_reason {", 1)[1].split("};", 1)[0]
    names = [name.lower() for name in re.findall(r"^\s*SPPROF_(\w+)", body, re.MULTILINE)]
    assert names[0] == "captured" and names[-1] == "reasons"
    return names[1:-1]


def reason_sections():
    parts = re.split(r"^## `(\w+)`$", REASONS.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


ALL = claims(CLAIMS.read_text())


def test_claims_are_numbered_without_a_gap():
    assert [number for number, _, _ in ALL] == [f"C-{index:02}" for index in range(1, len(ALL) + 1)]
    assert len(ALL) > 30


def test_no_claim_has_escaped_the_pattern():
    assert len(re.findall(r"^#+ *C-", CLAIMS.read_text(), re.MULTILINE)) == len(ALL)


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim[0])
def test_claim_is_shown(claim):
    number, title, body = claim
    complaint = complaint_about(evidence(body))
    assert complaint is None, f"{number} ({title}): {complaint}"


def test_few_claims_are_open():
    assert sum(evidence(body).startswith("Open: ") for _, _, body in ALL) <= MOST_OPEN


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "This is so.",
        "Shown by: TODO",
        "Shown by: tests/test_specs.py",
        "Shown by: tests/test_nothing.py::test_few_claims_are_open",
        "Shown by: tests/test_specs.py::test_that_is_not_there",
        "Shown by: tests/test_specs.py::functions",
        "Open: later.",
        "Open: nothing shows this yet, issue 12 will do so.",
    ],
)
def test_bad_evidence_is_noticed(proof):
    assert complaint_about(proof)


def test_good_evidence_is_accepted():
    own = "tests/test_specs.py::test_good_evidence_is_accepted"
    assert complaint_about(f"Shown by: {own}") is None
    assert complaint_about(f"Shown by: {own}, tests/test_specs.py::test_bad_evidence_is_noticed") is None
    assert complaint_about("Open: no test measures this, because no machine has the clock.") is None


def test_reasons_are_those_of_the_header_in_its_order():
    assert list(reason_sections()) == reason_names()


@pytest.mark.parametrize("name", reason_names())
def test_reason_says_where_it_is_tested(name):
    text = " ".join(reason_sections()[name].split())
    assert "How it arises: " in text
    proof = text.partition("Tested in: ")[2]
    complaint = complaint_about_names(proof)
    assert complaint is None, complaint


def test_claims_of_other_documents_name_real_tests():
    for path in SPECS.rglob("*.md"):
        for file, function in REFERENCE.findall(path.read_text()):
            assert function in functions(support.ROOT / file), f"{path.name}: {file}::{function}"


def test_links_between_documents_lead_somewhere():
    for path in [*SPECS.rglob("*.md"), support.ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^):#]+)\)", path.read_text()):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"


@pytest.mark.parametrize("command", ["ci/verify", "ci/test"])
def test_readme_names_the_commands(command):
    assert re.search(rf"^    \./{command}\b", (support.ROOT / "README.md").read_text(), re.MULTILINE)
    assert os.access(support.ROOT / command, os.X_OK)


def test_readme_names_every_folder_of_the_core():
    text = (support.ROOT / "README.md").read_text()
    folders = ["core/", *(f"core/{path.name}/" for path in (support.ROOT / "core").iterdir() if path.is_dir())]
    for folder in [*folders, "ci/", "tests/", "specs/"]:
        if folder.endswith(("__pycache__/",)) or "/." in folder:
            continue
        assert f"`{folder}`" in text, folder

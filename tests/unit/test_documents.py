"""Documents name what is there: rules, programs and files of the tour, kinds of things, paths and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = r"(?:src|docs|tests|config|rules|scripts|benchmarks|reports|profiles|envs|resources)"
EXAMPLES = {
    "src/editfrontier/editing/editors/colour_shift.py": "the example of adding_an_editor.md",
    "config/models.lock.yaml": "what `editfrontier weights` writes",
}


def table_rows(text: str, head: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose head begins with this text."""
    lines = text[text.index(f"| {head} |") :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


TOUR = table_rows((ROOT / "docs/tour.md").read_text(), "Rule")


def rule_text(file: str, name: str) -> str:
    """Return the definition of a rule, from its name to its command."""
    match = re.search(rf"^rule {name}:\n(.*?)(?=^\S|\Z)", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)
    assert match, f"{file} has no rule {name}"
    return match[1]


@pytest.mark.parametrize("row", TOUR, ids=[row[0] for row in TOUR])
def test_the_tour_names_rules_with_their_programs_and_files(row: list[str]) -> None:
    rule, file, program, result, seconds = (cell.strip("`") for cell in row)
    text = rule_text(file, rule)
    assert program == f"scripts/{rule}.py"
    assert (ROOT / program).is_file()
    assert program in text
    outputs = re.findall(r'"<results>/([^"]+)"', text.split("    output:", 1)[1].split("    log:", 1)[0])
    patterns = [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(output)) for output in outputs]
    assert any(re.fullmatch(pattern, result) for pattern in patterns), f"{rule} writes {outputs}"
    assert (seconds == "") == ("    benchmark:" not in text), "seconds are those of the rule's benchmark"


def test_the_tour_goes_through_the_study_in_its_order() -> None:
    assert len(TOUR) == len({row[0] for row in TOUR}) >= 11
    assert [row[0] for row in TOUR][:1] + [row[0] for row in TOUR][-1:] == ["cases", "index"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.name for document in DOCUMENTS])
def test_paths_and_links_of_a_document_exist(document: Path) -> None:
    text = document.read_text()
    paths = re.findall(rf"`({FOLDERS}/[\w./*<>-]+)`", text)
    paths += [f"src/editfrontier/{path}" for path in re.findall(r"`(\w+(?:/\w+)+\.py)`", text) if path not in paths]
    absent = {path for path in paths if not list(ROOT.glob(re.sub(r"<\w+>", "*", path).rstrip("/")))} - set(EXAMPLES)
    assert not absent
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_registry_has_a_row_in_the_guide() -> None:
    """A kind of thing that can be added is named with its place, its declaration and a test."""
    rows = table_rows((ROOT / "CONTRIBUTING.md").read_text(), "Kind")
    kinds = {row[0].lower().replace(" ", "").replace("claim", "test") for row in rows}
    words = re.compile(r'= Registry\(\s*"([\w ]+)"')
    sources = (ROOT / "src").rglob("*.py")
    registries = {
        word.replace(" ", "")
        for source in sources
        if source.name != "registry.py"
        for word in words.findall(source.read_text())
    }
    assert kinds == registries
    for kind, where, declaration, _, test in rows:
        assert re.search(r"`tests/unit/test_\w+\.py`", test), kind
        constant = re.search(r"`([A-Z]+) = ", declaration)
        if constant:  # a plug-in folder: each of its modules declares one
            folder = ROOT / re.findall(r"`([^`]+)/<name>\.py`", where)[0]
            modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert modules
            assert all(re.search(rf"^{constant[1]}\b", path.read_text(), re.MULTILINE) for path in modules), kind

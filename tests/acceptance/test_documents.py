"""What the documents show works as it is shown, and what they point at is there."""

import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "src", "bench", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])


def test_the_readmes_agent_is_as_short_as_it_says() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 30


def prose_of(document: Path) -> str:
    """The text without its blocks of code, in which brackets and hashes mean something else."""
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors_of(document: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them: lower case, no punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`(?!\])", "", prose_of(document)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_something_of_ours_leads_there(document: Path) -> None:
    for link in links_of(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_index_of_the_documents_leaves_none_out() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert {path for path in DOCUMENTS if path.is_relative_to(index.parent)} - listed == {index}


def test_the_rooms_that_the_contributors_are_shown_are_the_rooms_there_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, tree = text.partition("src/outboard/\n")
    shown = set(re.findall(r"^  (\w+)/ ", tree.partition("```")[0], re.MULTILINE))
    source = ROOT / "src" / "outboard"
    assert shown == {path.parent.name for path in source.glob("*/__init__.py")}


def test_every_dependency_has_its_reason() -> None:
    told = set(re.findall(r"[\w-]+", (ROOT / "docs" / "adr" / "0002-dependencies.md").read_text("utf-8").lower()))
    required = {re.split(r"[^\w-]", each.lower(), maxsplit=1)[0] for each in metadata.requires("outboard") or ()}
    assert len(required) > 10
    assert required - told == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_named_exists(document: Path) -> None:
    source = ROOT / "src" / "outboard"
    rooms = "|".join(sorted(path.parent.name for path in source.glob("*/__init__.py")))
    named = re.findall(rf"`(?:src/outboard/)?((?:{rooms})/[\w/]+\.py)`", document.read_text(encoding="utf-8"))
    assert [each for each in named if not (source / each).exists()] == []


def test_the_map_of_the_host_leaves_no_module_out() -> None:
    folder = ROOT / "src" / "outboard" / "host"
    text = (folder / "__init__.py").read_text(encoding="utf-8").partition('\n"""\n')[0]
    there = {path.stem for path in folder.glob("[a-z]*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert set(re.findall(r"`(\w+)`", text)) == there

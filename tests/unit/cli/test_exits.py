from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from outboard.cli.exits import EXITS, REMEDIES, Exit, exit_code
from outboard.errors import InvalidTask, OutboardError

ROOT = Path(__file__).resolve().parents[3]


def tree(kind: type[OutboardError] = OutboardError) -> Iterator[type[OutboardError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def public_tree() -> set[type[OutboardError]]:
    return {kind for kind in tree() if kind.__module__ == "outboard.errors" and not kind.__name__.startswith("_")}


def test_every_error_of_the_tree_has_an_exit_code_of_its_own_line() -> None:
    assert set(EXITS) == public_tree()


def test_no_error_ends_the_process_as_if_it_had_succeeded() -> None:
    assert Exit.SUCCESS not in EXITS.values()


def test_remedies_are_for_errors_of_the_tree_only() -> None:
    assert set(REMEDIES) <= public_tree()


def test_an_error_class_that_somebody_adds_has_the_code_of_its_parent() -> None:
    class Odd(InvalidTask):
        pass

    assert exit_code(Odd("odd: make it even")) is Exit.USAGE


@pytest.mark.parametrize(
    ("code", "number"), [(Exit.INTERRUPTED, 130), (Exit.LEFT_RUNNING, 131), (Exit.TERMINATED, 143)]
)
def test_codes_of_signals_are_those_that_shells_expect(code: Exit, number: int) -> None:
    assert code == number


def test_the_document_names_every_exit_code_and_every_variable() -> None:
    document = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)} == {int(code) for code in Exit}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/outboard/cli").glob("*.py"))
    assert set(re.findall(r'"(OUTBOARD_[A-Z_]+)"', sources)) <= set(re.findall(r"OUTBOARD_[A-Z_]+", document))

"""Sections of a report: what was tried against a real engine, SDK or platform, and what came of it.

A `make` target with tables (`interop`, `warehouses`, `attack`) prints them and writes them to `build/reports/`; the tests beside
its parts assert on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table.

    Attributes:
        title: What was tried, and against what.
        columns: The rows' keys, in the order to print.
        rows: One per scenario; values are what JSON has.
        failures: What is not as promised, a sentence each; empty is success.
        notes: What a reader must know to read the table.
        skipped: Why nothing was tried, where a part is not to be had on this machine.
        seconds: How long it took.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[str] = ()
    notes: Sequence[str] = ()
    skipped: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)


MakeSection = Callable[[], Section]
"""Makes one table; a test that may take the time for it asserts that it is kept."""


def assert_kept(section: Section) -> None:
    """Fail where a table has no rows, or where something in it is not as promised."""
    assert section.rows, f"{section.title}: no rows"
    assert not section.failures, section.failures

"""Rows, their targets, and how they are shown: a table for people, JSON for machines.

What a row is called, what it compares and what it must reach stands in `catalogue.py`; the measuring modules only fill in what
they saw. A row compares what was measured side by side. Its ratio is the median of the ratios of single rounds, in which the
compared servers ran one right after the other; so a machine that slows down half-way slows both sides of every ratio.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from catalogue import COLUMNS, LINES


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report.

    Attributes:
        key: Its line in the catalogue.
        medians: By column, in the line's unit, as far as they were measured.
        measured: What the target judges: a ratio or, in lines without a comparison, our own value.
        low, high: The ratio's, or our own value's, extremes over the rounds.
    """

    key: str
    medians: Mapping[str, float] = field(default_factory=dict)
    measured: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured."""
        target = LINES[self.key].target
        return None if target is None or self.measured is None else target.is_met(self.measured)


def row(key: str, rounds: Mapping[str, Sequence[float] | float]) -> Row:
    """Return the line filled with what was seen, by column: one value, or one per round."""
    seen = {name: [float(one) for one in _several(values)] for name, values in rounds.items()}
    medians = {name: statistics.median(values) for name, values in seen.items() if values}
    line = LINES[key]
    first, second = line.compared or (COLUMNS[0], None)
    if first not in medians or (second is not None and second not in medians):
        return Row(key=key, medians=medians)
    judged = seen[first]
    if second is not None:
        judged = [one / other for one, other in zip(judged, seen[second], strict=True)]
    low, high = (min(judged), max(judged)) if len(judged) > 1 else (None, None)
    return Row(key=key, medians=medians, measured=statistics.median(judged), low=low, high=high)


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a text table."""
    heads = ("", "what", "unit", *COLUMNS, "compared", "ratio", "(rounds)", "target", "")
    lines = [heads, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    left = {0, 1, 2, 6, 8, 10}
    rendered = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([rendered[0], "-" * max(map(len, rendered)), *rendered[1:]])


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's texts: section, what, unit, the columns, compared, ratio, its spread, target, verdict."""
    line = LINES[row.key]
    verdict = {True: "met", False: "NOT MET", None: ""}[row.is_met]
    spread = f"{number(row.low)}..{number(row.high)}" if row.low is not None and row.high is not None else ""
    compared = " / ".join(line.compared) if line.compared else ""
    ratio = number(row.measured) if line.compared else ""
    values = tuple(number(row.medians.get(column)) for column in COLUMNS)
    target = str(line.target) if line.target else ""
    return (line.section, line.title, line.unit, *values, compared, ratio, spread, target, verdict)


def number(value: float | None) -> str:
    """Return a value with as many digits as it deserves."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run saw: rows in the catalogue's order, facts about the machine, and every round as details."""

    rows: Sequence[Row]
    facts: Mapping[str, Any]
    details: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write everything as JSON, each row with its line of the catalogue."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "facts": self.facts,
            "rows": [{**asdict(LINES[row.key]), **asdict(row), "is_met": row.is_met} for row in self.rows],
            "details": self.details,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Return a report that was saved."""
        document = json.loads(path.read_text())
        names = Row.__dataclass_fields__
        rows = [Row(**{name: each[name] for name in names}) for each in document["rows"] if each.get("key") in LINES]
        return cls(rows=rows, facts=document["facts"], details=document["details"])

    def merged(self, other: Report) -> Report:
        """Return this report with the rows and details of sections that only another has."""
        kept = (row for row in other.rows if LINES[row.key].section not in self.details)
        found = {row.key: row for row in (*kept, *self.rows)}
        rows = [found[key] for key in LINES if key in found]
        return Report(rows=rows, facts=self.facts, details={**other.details, **self.details})


def _several(values: Sequence[float] | float) -> Sequence[float]:
    return (values,) if isinstance(values, (int, float)) else values

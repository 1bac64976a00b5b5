"""Rows, their targets, and how they are shown: a table for people, JSON for machines.

A row compares what was measured side by side. Its ratio is the median of the ratios of single rounds, in which the compared
servers ran one right after the other; so a machine that slows down half-way slows both sides of every ratio.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

OURS, FLYTEKIT, ECHO = SERVERS = ("ours", "flytekit", "echo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a ratio or a count must be: `at least`, `at most` or `exactly` a value."""

    kind: str
    value: float

    def is_met(self, measured: float) -> bool:
        if self.kind == "at least":
            return measured >= self.value
        return measured <= self.value if self.kind == "at most" else measured == self.value

    def __str__(self) -> str:
        sign = {"at least": ">=", "at most": "<=", "exactly": "="}[self.kind]
        return f"{sign} {_number(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report.

    Attributes:
        medians: By server, in `unit`: ours, flytekit, echo, as far as they were measured.
        measured: What the target judges: a ratio or, in rows without a comparison, our own value.
        compared: What the ratio is, in words; empty without one.
        low, high: The ratio's extremes over the rounds.
    """

    section: str
    name: str
    unit: str
    medians: Mapping[str, float] = field(default_factory=dict)
    compared: str = ""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    target: Target | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured."""
        if self.target is None or self.measured is None:
            return None
        return self.target.is_met(self.measured)


def compare(
    row: Row, numerator: Sequence[float], denominator: Sequence[float], *, compared: str, target: Target | None = None
) -> Row:
    """Return the row with the median ratio of the rounds."""
    ratios = [ours / theirs for ours, theirs in zip(numerator, denominator, strict=True)]
    return replace(
        row,
        compared=compared,
        measured=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        target=target,
    )


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a text table."""
    heads = ("", "what", "unit", *SERVERS, "compared", "ratio", "(rounds)", "target", "")
    lines = [heads, *map(_cells, rows)]
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


def save(path: Path, rows: Sequence[Row], facts: dict[str, Any], details: dict[str, Any]) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "facts": facts,
        "rows": [{**asdict(row), "is_met": row.is_met} for row in rows],
        "details": details,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "met", False: "NOT MET", None: ""}[row.is_met]
    spread = f"{_number(row.low)}..{_number(row.high)}" if row.low is not None and row.high is not None else ""
    ratio = _number(row.measured) if row.compared else ""
    values = tuple(_number(row.medians.get(server)) for server in SERVERS)
    target = str(row.target) if row.target else ""
    return (row.section, row.name, row.unit, *values, row.compared, ratio, spread, target, verdict)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"

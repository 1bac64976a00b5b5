"""Rows as a table for people, systems side by side, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from proof.scenarios import OUTBOARD, Result

_COUNTS: Final = ("jobs", "2nd", "live", "handles", "kept")
_NOTE_CHARACTERS: Final = 220
_NOBODY: Final = ("", "", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A result, whose it is, and how to get it again.

    Attributes:
        system: One of `scenarios.EVERYBODY`.
        seconds: What the whole scenario took, which may have several rows.
        command: Repeats the scenario for this system.
    """

    result: Result
    system: str
    seconds: float
    command: str

    @property
    def is_broken(self) -> bool:
        """Whether Outboard broke a promise here."""
        return self.system == OUTBOARD and self.result.is_kept is False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A scenario that gave no rows for a system.

    Attributes:
        name: The scenario's.
        reason: The last words of its process.
    """

    name: str
    system: str
    reason: str
    command: str


def table(rows: Sequence[Row]) -> str:
    """Return a line per scenario and variant, with a group of columns for each system that has rows."""
    systems = list(dict.fromkeys(row.system for row in rows))
    lines: dict[tuple[str, str], dict[str, Result]] = {}
    for row in rows:
        lines.setdefault((row.result.scenario, row.result.variant), {})[row.system] = row.result
    body = [_cells(results, systems) for results in lines.values()]
    head = ["scenario", "variant", "tasks", "seed", *(word for _ in systems for word in _COUNTS)]
    widths = [max(len(line[n]) for line in [head, *body]) for n in range(len(head))]
    over = " " * (sum(widths[:4]) + 8)
    for n, system in enumerate(systems):
        columns = widths[4 + 5 * n : 9 + 5 * n]
        over += f"| {system}".ljust(sum(columns) + 2 * len(columns) + 2)
    ruled = [_line(line, widths) for line in [head, ["-" * width for width in widths], *body]]
    return "\n".join([over.rstrip(), *ruled])


def notes(rows: Sequence[Row]) -> str:
    """Return a line per row that has notes; zeros and empty ones are left out, long lines are cut (`save` has them whole)."""
    lines = [
        f"  {row.result.scenario} / {row.result.variant} [{row.system}]: {_told(row.result.notes)}"
        for row in rows
        if any(row.result.notes.values())
    ]
    return "\n".join(line if len(line) <= _NOTE_CHARACTERS else f"{line[:_NOTE_CHARACTERS]}..." for line in lines)


def save(path: Path, rows: Sequence[Row], unmeasured: Sequence[Unmeasured], facts: Mapping[str, Any]) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "facts": dict(facts),
        "rows": [_flat(row) for row in rows],
        "unmeasured": [asdict(each) for each in unmeasured],
    }
    path.write_text(json.dumps(told, indent=1, sort_keys=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[float, list[Result]]:
    """Return what a trial wrote: its seconds and its results."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return float(told["seconds"]), [Result(**each) for each in told["results"]]


def _flat(row: Row) -> dict[str, Any]:
    result = asdict(row.result)
    return {**result, "system": row.system, "seconds": row.seconds, "command": row.command}


def _cells(results: Mapping[str, Result], systems: Sequence[str]) -> list[str]:
    first = next(iter(results.values()))
    cells = [first.scenario, first.variant, str(first.tasks), str(first.seed)]
    for system in systems:
        cells += _counts(results[system]) if system in results else _NOBODY
    return cells


def _counts(result: Result) -> Sequence[str]:
    kept = {True: "yes", False: "NO", None: "-"}[result.is_kept]
    return (str(result.jobs), str(result.second_jobs), str(result.live_left), str(result.handles), kept)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell.ljust(width) if n < 2 else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    groups = ["  ".join(parts[:4]), *("  ".join(parts[n : n + 5]) for n in range(4, len(parts), 5))]
    return "  | ".join(groups).rstrip()


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)

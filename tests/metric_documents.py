"""The table of docs/metrics.md, as data: what tests compare the code, the dashboards and the alert rules with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
DOCUMENT: Final = _ROOT / "docs" / "metrics.md"
_ROW: Final = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\|(?P<meaning>[^|]*)\|", re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One row of the table."""

    name: str
    kind: str
    labels: frozenset[str]
    meaning: str

    @property
    def samples(self) -> Sequence[str]:
        """The names that Prometheus stores."""
        endings = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}.get(self.kind)
        return [self.name] if endings is None else [self.name + ending for ending in endings]


def metric_rows() -> Mapping[str, MetricRow]:
    """Return the rows by name."""
    found: dict[str, MetricRow] = {}
    for row in _ROW.finditer(DOCUMENT.read_text(encoding="utf-8")):
        assert row["name"] not in found, f"{row['name']} has two rows"
        labels = frozenset(re.findall(r"`(\w+)`", row["labels"]))
        found[row["name"]] = MetricRow(
            name=row["name"], kind=row["kind"], labels=labels, meaning=row["meaning"].strip()
        )
    return found


def client_names() -> frozenset[str]:
    """Return the names that the document gives to Prometheus' client itself."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return frozenset(re.findall(r"`((?:process|python)_\w+)`", text))

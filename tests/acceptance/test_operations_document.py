"""docs/operations.md: a row for every alert, and sizes that are those of the last benchmark."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROUNDED = 1.25
"""By how much a number of that page may differ from what was measured last."""


def number(text: str) -> float:
    found = re.match(r"[\d,.]+", text)
    assert found, text
    return float(found[0].replace(",", ""))


def test_every_alert_has_a_row_with_its_severity_and_three_steps() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "alerts" / "outboard.yaml").read_text(encoding="utf-8"))
    alerts = {
        rule["alert"]: rule["labels"]["severity"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    rows = re.findall(r"^\| `(Outboard\w+)` \| (\w+) \| (.+) \| (1\. .+ 2\. .+ 3\. .+) \|$", PAGE, re.MULTILINE)
    assert {name: severity for name, severity, _, _ in rows} == alerts
    assert len(rows) > 20


def test_the_sizes_are_those_of_the_last_benchmark() -> None:
    measured = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = PAGE.partition("| measured |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([^|]+) \| (\d[\d,.]*) [^|]*\|", table, re.MULTILINE)
    assert len(rows) == 6
    for name, told in rows:
        found = re.search(rf"^\| (?:\[)?{re.escape(name)}(?:\][^|]*)? \| [^|]* \| ([\d,.]+) ", measured, re.MULTILINE)
        assert found, name
        assert 1 / ROUNDED < number(told) / number(found[1]) < ROUNDED, name

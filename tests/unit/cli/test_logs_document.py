"""docs/logs.md names every event that the source logs, with its levels and fields, and none besides."""

import re
from pathlib import Path
from typing import Final

from log_sources import log_sources

TEXT: Final = (Path(__file__).resolve().parents[3] / "docs" / "logs.md").read_text(encoding="utf-8")
ROWS: Final = {
    row[1]: [cell.strip() for cell in row[2].split("|")[1:-1]]
    for row in re.finditer(r"^\| `([^`]+)` (\|.*)$", TEXT, re.MULTILINE)
    if row[2].count("|") == 6
}


def test_every_event_of_the_source_has_a_row_and_every_row_an_event() -> None:
    sources = log_sources()
    assert {event: source.where for event, source in sources.items() if event not in ROWS} == {}
    assert set(ROWS) - set(sources) == set()
    assert len(ROWS) > 80


def test_levels_and_fields_are_those_of_the_source() -> None:
    told = {event: (set(row[0].split(", ")), set(re.findall(r"`(\w+)`", row[2]))) for event, row in ROWS.items()}
    assert told == {event: (source.levels, source.fields) for event, source in log_sources().items()}


def test_what_needs_somebody_says_what_to_do() -> None:
    assert [event for event, row in ROWS.items() if row[0] == "error" and not row[4]] == []

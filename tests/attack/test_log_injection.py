"""Nothing that a caller or a platform writes ends, forges or colours a log line."""

import pytest

from attack.log_injection import PAYLOADS, PLACES, sections
from tables.sections import Section, assert_kept


@pytest.fixture(scope="module")
def tables() -> list[Section]:
    return sections()


def test_no_attack_forges_a_line_and_the_service_is_healthy_after_each(tables: list[Section]) -> None:
    for table in tables[:2]:
        assert_kept(table)
        assert len(table.rows) == len(PLACES) * len(PAYLOADS)
        assert all(row["healthy"] and not row["forged"] for row in table.rows)


def test_the_lines_show_what_was_written_spelled_out(tables: list[Section]) -> None:
    for table in tables[:2]:
        shown = {(row["place"], row["payload"]): row["line"] for row in table.rows}
        for place in ("task type", "project", "node id", "job id", "platform's words"):
            assert "\\x1b" in shown[place, "ANSI escapes"], (table.title, place)
            assert "\\u202e" in shown[place, "bidi"], (table.title, place)


def test_a_storm_of_bad_calls_fills_no_disk(tables: list[Section]) -> None:
    (storm,) = tables[2:]
    assert_kept(storm)
    assert storm.rows[0]["left out"] > storm.rows[0]["lines"]

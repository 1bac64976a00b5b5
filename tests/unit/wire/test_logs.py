"""Log lines as they travel: one odd line never costs the others."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from outboard.domain.statuses import LogLine
from outboard.wire.logs import decode_lines, encode_lines

NOON = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)
FOREIGN: Any = "a word of the platform"
BEFORE_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))


def sent(*lines: LogLine) -> list[LogLine]:
    return [line for message in encode_lines(lines) for line in decode_lines(message).lines]


def test_a_line_of_an_unknown_writer_travels_as_unknown() -> None:
    assert sent(LogLine(message="a", originator=FOREIGN)) == [LogLine(message="a", originator="unknown")]


@pytest.mark.parametrize("at", [BEFORE_YEAR_1, FOREIGN])
def test_a_line_with_a_time_that_cannot_be_said_travels_without_it(at: datetime) -> None:
    assert sent(LogLine(message="a", at=at), LogLine(message="b", at=NOON)) == [
        LogLine(message="a"),
        LogLine(message="b", at=NOON),
    ]


def test_text_that_is_not_unicode_travels_with_question_marks() -> None:
    assert sent(LogLine(message="a\x00\ud800ü"))[0].message == "a\x00?ü"

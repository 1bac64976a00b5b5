"""Pages of a connector's log: every line once, wherever tokens stand."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl2.connector import connector_pb2
from flyteidl2.logs.dataplane import payload_pb2

from outboard.errors import AgentFault
from outboard.flytekit.hosting.pages import make_page, read_cursor


def body(*lines: str) -> Any:
    made = [payload_pb2.LogLine(message=line) for line in lines]
    return connector_pb2.GetTaskLogsResponse(body=connector_pb2.GetTaskLogsResponseBody(lines=made))


def token(text: str) -> Any:
    return connector_pb2.GetTaskLogsResponse(header=connector_pb2.GetTaskLogsResponseHeader(token=text))


LOG = {"": [body("a", "b"), token("t1"), body("c"), token("t2")], "t2": [body("d")]}


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 10])
def test_every_line_is_read_once(limit: int) -> None:
    cursor: str | None = None
    lines: list[str] = []
    for _ in range(10):
        skipped, after = read_cursor(cursor)
        page = make_page(LOG[after], skipped, after, limit)
        lines += [line.message for line in page.lines]
        assert limit == 0 or len(page.lines) <= limit
        cursor = page.next_cursor
    assert lines == ["a", "b", "c", "d"]


def test_a_token_of_the_connectors_own_is_passed_on() -> None:
    assert read_cursor("t2") == (0, "t2")
    assert read_cursor("12:t:3") == (12, "t:3")
    assert read_cursor(None) == (0, "")


def test_plain_results_are_lines_too() -> None:
    answer = agent_pb2.GetTaskLogsResponse(body=agent_pb2.GetTaskLogsResponseBody(results=["x"]))
    assert [line.message for line in make_page([answer], 0, "", 0).lines] == ["x"]


def test_what_is_no_message_is_the_connectors_fault() -> None:
    with pytest.raises(AgentFault, match="str instead of a GetTaskLogsResponse"):
        make_page(["text"], 0, "", 0)

"""Pages of a connector's log.

flytekit's connectors return one `GetTaskLogsResponse` (which flytekit's own service never sends: the method is a stream, and it
returns a message); Flyte 2's may also yield many, bodies with lines and headers with the token to go on from. Both are read as
Flyte 1's message, which has the same bytes. Where a page must end between two tokens, the cursor says how many lines after
the last token were read: `<lines>:<token>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.admin import agent_pb2

from outboard.domain.statuses import LogLine, LogPage
from outboard.errors import AgentFault
from outboard.wire.logs import decode_lines


def read_cursor(cursor: str | None) -> tuple[int, str]:
    """Return how many lines after which token were read; None is the log's beginning."""
    skipped, colon, token = (cursor or "").partition(":")
    if not colon or not skipped.isdecimal():
        return 0, cursor or ""  # a token of the connector's own, from before
    return int(skipped), token


def make_page(messages: Sequence[Any], skipped: int, token: str, limit: int) -> LogPage:
    """Return up to `limit` lines (0: all) of a connector's messages.

    Args:
        messages: What it answered about the log after `token`.
        skipped: How many lines of it were read before.
        token: Where these messages begin.
        limit: How many lines at most.
    """
    lines, following = _lines(messages)
    left = lines[skipped:]
    page = left[:limit] if limit > 0 else left
    if len(page) == len(left) and following and following != token:
        return LogPage(lines=page, next_cursor=f"0:{following}")
    return LogPage(lines=page, next_cursor=f"{skipped + len(page)}:{token}")


def _lines(messages: Sequence[Any]) -> tuple[list[LogLine], str]:
    """Return the lines, and the last token among them."""
    lines: list[LogLine] = []
    token = ""
    for message in messages:
        if not hasattr(message, "SerializeToString"):
            raise AgentFault(f"get_logs answered {type(message).__name__} instead of a GetTaskLogsResponse")
        read = agent_pb2.GetTaskLogsResponse.FromString(message.SerializeToString())
        if read.HasField("header"):
            token = read.header.token
        else:
            lines.extend(decode_lines(read).lines)
    return lines, token

"""Log pages to Flyte 1's stream of `GetTaskLogsResponse` and back.

The stream is a body per part of a page and, at the end, one header with the token to go on from. An empty token says that
nothing will follow. Bodies hold structured lines (time, text, who wrote it); the older plain `results` are only read. A body
stays below one mebibyte, far from the 4 MiB that clients take; a line that alone is longer is cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Final, Literal

from flyteidl.admin import agent_pb2

from outboard.domain.statuses import LogLine, LogPage

_BODY_BYTES: Final = 1024 * 1024
_LINE_OVERHEAD: Final = 32
_CUT: Final = " ... [cut]"
_UNKNOWN: Final = agent_pb2.LogLineOriginator.UNKNOWN
_ORIGINATORS: Final = {
    "user": agent_pb2.LogLineOriginator.USER,
    "system": agent_pb2.LogLineOriginator.SYSTEM,
    "unknown": _UNKNOWN,
}
_FROM_ORIGINATOR: Final[dict[int, Literal["user", "system", "unknown"]]] = {
    agent_pb2.LogLineOriginator.USER: "user",
    agent_pb2.LogLineOriginator.SYSTEM: "system",
    _UNKNOWN: "unknown",
}


def encode_lines(lines: Sequence[LogLine]) -> Iterator[agent_pb2.GetTaskLogsResponse]:
    """Return lines as bodies of at most one mebibyte each."""
    body = agent_pb2.GetTaskLogsResponseBody()
    size = 0
    for line in lines:
        encoded = _encode_line(line)
        length = encoded.ByteSize() + _LINE_OVERHEAD
        if body.structured_lines and size + length > _BODY_BYTES:
            yield agent_pb2.GetTaskLogsResponse(body=body)
            body, size = agent_pb2.GetTaskLogsResponseBody(), 0
        body.structured_lines.append(encoded)
        size += length
    if body.structured_lines:
        yield agent_pb2.GetTaskLogsResponse(body=body)


def encode_token(cursor: str | None) -> agent_pb2.GetTaskLogsResponse:
    """Return the header that ends a stream; no cursor means that nothing will follow."""
    return agent_pb2.GetTaskLogsResponse(header=agent_pb2.GetTaskLogsResponseHeader(token=cursor or ""))


def decode_lines(message: agent_pb2.GetTaskLogsResponse) -> LogPage:
    """Return the lines of one body; where to go on stands in the header."""
    lines = [_decode_line(line) for line in message.body.structured_lines]
    return LogPage(lines=lines or [LogLine(message=text) for text in message.body.results])


def _encode_line(line: LogLine) -> agent_pb2.LogLine:
    text = line.message.encode(errors="replace")
    if len(text) > _BODY_BYTES - _LINE_OVERHEAD:
        text = text[: _BODY_BYTES - _LINE_OVERHEAD - len(_CUT)] + _CUT.encode()
    message = agent_pb2.LogLine(
        message=text.decode(errors="ignore"), originator=_ORIGINATORS.get(line.originator, _UNKNOWN)
    )
    if isinstance(line.at, datetime):
        # A time that protobuf cannot say (a zone may move it before the year 1) must not cost the line.
        with contextlib.suppress(ValueError, OverflowError):
            message.timestamp.FromDatetime(line.at)
    return message


def _decode_line(message: agent_pb2.LogLine) -> LogLine:
    return LogLine(
        message=message.message,
        at=_time(message) if message.HasField("timestamp") else None,
        originator=_FROM_ORIGINATOR.get(message.originator, "unknown"),
    )


def _time(message: agent_pb2.LogLine) -> datetime | None:
    try:
        at: datetime = message.timestamp.ToDatetime(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        return None
    return at

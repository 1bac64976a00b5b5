"""What a child writes to its standard error, as log lines of the parent that name the child.

The child's own log lines are JSON and come with their level and fields; secrets were removed where they were resolved. All
else (prints of agents, the frames that `faulthandler` writes on a segmentation fault) is logged line by line. A line is cut,
so that a child that writes without end of line costs no memory.

The stream is read to its end whatever a line holds: a child whose output nobody reads stands still once the pipe is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from outboard.host.logs import TaskLog

_LONGEST_BYTES: Final = 16 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_SET_ANEW: Final = ("timestamp", "level")
_LOGGERS_OWN: Final = frozenset({"self", "method_name", "exc_info", "exception", "stack", "stack_info"})
"""Fields that loggers and their renderers take for themselves. Our own lines have none of them."""


async def pass_through(stream: asyncio.StreamReader, **whose: str) -> None:
    """Log every line of a stream until it ends.

    Args:
        stream: What the child writes.
        whose: The fields that name the child; they win over what its lines say.
    """
    log = TaskLog(**whose)
    async for line in _lines(stream):
        with contextlib.suppress(Exception):  # our own output broke, or the line breaks a renderer
            _log(log, line, whose)


def _log(log: TaskLog, line: bytes, whose: Mapping[str, str]) -> None:
    fields = _fields(line)
    if fields is None:
        log.warning("output", line=line.decode(errors="replace"))
        return
    level = fields.get("level")
    event = str(fields.pop("event"))
    kept = {name: value for name, value in fields.items() if name not in _SET_ANEW and name not in whose}
    record = {"debug": log.debug, "info": log.info, "warning": log.warning}.get(str(level), log.error)
    record(event, **kept)


def _fields(line: bytes) -> dict[str, Any] | None:
    """Return the fields of a log line of ours; None for anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(fields, dict) and "event" in fields and _LOGGERS_OWN.isdisjoint(fields)
    return fields if is_ours else None


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Give the lines of a stream without their ends, each cut to a bounded length, empty ones left out."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        rest = rest[:_LONGEST_BYTES]
        for line in whole:
            if line.strip():
                yield line[:_LONGEST_BYTES]
    if rest.strip():
        yield rest

"""Log lines of a service about one task: JSON lines that carry its key, its error id, or its identity."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from outboard.domain.identity import ExecutionIdentity
from outboard.errors import InvalidSettings

ERROR_ID: Final = re.compile(r"[0-9a-f]{12}")
_MOST: Final = 100
_LONGEST: Final = 64 * 1024
_SHOWN: Final = ("level", "agent", "error", "error_id", "reason", "seconds", "method", "calls", "attempt", "job")


def read_lines(
    path: Path, *, key: str = "", error_id: str = "", identity: ExecutionIdentity | None = None
) -> list[Mapping[str, Any]]:
    """Return the last lines of a log file that are about one task or error, oldest first.

    Raises:
        InvalidSettings: The file cannot be read.
    """
    found: deque[Mapping[str, Any]] = deque(maxlen=_MOST)
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in _documents(file):
                if _is_about(line, key, error_id, identity):
                    found.append(line)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise InvalidSettings(f"the log {path} cannot be read ({reason}): check the path", field="log") from None
    return list(found)


def moment(line: Mapping[str, Any]) -> datetime | None:
    """Return when a line was written; None where it does not say."""
    try:
        at = datetime.fromisoformat(str(line.get("timestamp", "")).replace("Z", "+00:00"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)


def words(line: Mapping[str, Any]) -> str:
    """Return a line in words: the event, and those fields that tell what became of it."""
    fields = " ".join(f"{name}={line[name]}" for name in _SHOWN if line.get(name) not in (None, ""))
    return f"{line.get('event', '')} ({fields})" if fields else str(line.get("event", ""))


def _documents(lines: Iterable[str]) -> Iterable[Mapping[str, Any]]:
    for line in lines:
        if len(line) > _LONGEST or not line.lstrip().startswith("{"):
            continue
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _is_about(line: Mapping[str, Any], key: str, error_id: str, identity: ExecutionIdentity | None) -> bool:
    if (key and line.get("key") == key) or (error_id and line.get("error_id") == error_id):
        return True
    if identity is None or not identity.execution:
        return False
    told = (line.get("project"), line.get("domain"), line.get("execution"), line.get("node"), line.get("attempt"))
    return told == (identity.project, identity.domain, identity.execution, identity.node, identity.attempt)

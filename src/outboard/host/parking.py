"""Parked handles: ours, but not for this replica to read (a newer release, another key, an agent that is not loaded).

They are answered as RUNNING on every poll, for as long as it takes. The log names each once: a mixed fleet polls
thousands of them every few seconds, and an operator wants to know which and why, not how often.
"""

from __future__ import annotations

import hashlib
from typing import Final

from outboard.errors import UnreadableHandle
from outboard.host.logs import TaskLog

_REMEMBERED: Final = 10_000
_DIGEST_BYTES: Final = 8


class ParkedHandles:
    """Names parked handles in the log, each once."""

    __slots__ = ("_log", "_told")

    def __init__(self, log: TaskLog | None = None) -> None:
        self._log = log if log is not None else TaskLog()
        self._told: set[bytes] = set()

    def tell(self, encoded: bytes, error: UnreadableHandle) -> None:
        """Log why a handle is parked, unless that was done; by a digest, since a handle is nobody's business."""
        digest = hashlib.sha256(encoded).digest()[:_DIGEST_BYTES]
        if digest in self._told:
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told.add(digest)
        self._log.warning(
            "handle parked", handle=digest.hex(), bytes=len(encoded), error_id=error.error_id, reason=error.message
        )

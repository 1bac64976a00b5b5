"""What a parent remembers per handle: which agent it belongs to, and what its child answered last.

The agent spares decoding a handle at every poll; the answer is given while the child cannot be asked. Both are kept in two
generations: what is asked for moves into the young one, and when that is full the old one is forgotten, with the jobs that
nobody polls any more. Memory is bounded by the bytes of handles and answers.
"""

from __future__ import annotations

from typing import Final

_OVERHEAD_BYTES: Final = 300
"""About what Python's objects for one entry take."""


class Known:
    """One handle's agent and last answer, a `GetTaskResponse`; None where nothing was answered yet."""

    __slots__ = ("agent", "answer")

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.answer: bytes | None = None


class Memory:
    """Handles that were asked for lately.

    Args:
        limit_bytes: Of both generations.
    """

    __slots__ = ("_half_bytes", "_old", "_young", "_young_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._half_bytes = limit_bytes // 2
        self._young: dict[bytes, Known] = {}
        self._old: dict[bytes, Known] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, handle: bytes) -> Known | None:
        """Return what is known of a handle."""
        known = self._young.get(handle)
        if known is None and (known := self._old.pop(handle, None)) is not None:
            self._grow(handle, known)
        return known

    def add(self, handle: bytes, agent: str) -> Known:
        """Remember whose handle it is."""
        known = Known(agent)
        self._grow(handle, known)
        return known

    def keep(self, known: Known, answer: bytes) -> None:
        """Remember what was answered last."""
        grown = len(answer) - len(known.answer or b"")
        known.answer = answer
        self._young_bytes += grown
        self._turn()

    def _grow(self, handle: bytes, known: Known) -> None:
        self._young[handle] = known
        self._young_bytes += len(handle) + len(known.answer or b"") + _OVERHEAD_BYTES
        self._turn()

    def _turn(self) -> None:
        if self._young_bytes > self._half_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0

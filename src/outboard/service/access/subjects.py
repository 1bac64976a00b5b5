"""What handles bind, remembered: decoding one takes ten times as long as judging it.

Only handles that a service key has sealed get in, so nobody fills the memory with what he made up. Two generations, as in
`service.polls`; equal subjects are one object.
"""

from __future__ import annotations

from typing import Final

from outboard.service.access.rules import Subject

_LIMIT_BYTES: Final = 32 * 1024 * 1024
_OVERHEAD_BYTES: Final = 150
_DIFFERENT: Final = 10_000


class Subjects:
    """Subjects by handle.

    Args:
        limit_bytes: Of both generations.
    """

    __slots__ = ("_half_bytes", "_old", "_same", "_young", "_young_bytes")

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._half_bytes = limit_bytes // 2
        self._young: dict[bytes, Subject] = {}
        self._old: dict[bytes, Subject] = {}
        self._same: dict[Subject, Subject] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, handle: bytes) -> Subject | None:
        """Return what a handle binds; None where that is not remembered."""
        subject = self._young.get(handle)
        if subject is None and (subject := self._old.pop(handle, None)) is not None:
            self.keep(handle, subject)
        return subject

    def keep(self, handle: bytes, subject: Subject) -> Subject:
        """Remember what a sealed handle binds, and return it."""
        if len(self._same) >= _DIFFERENT:
            self._same.clear()
        subject = self._same.setdefault(subject, subject)
        if handle not in self._young:
            self._young_bytes += len(handle) + _OVERHEAD_BYTES
        self._young[handle] = subject
        if self._young_bytes > self._half_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        return subject

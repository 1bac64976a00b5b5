"""Files that are read anew when they change: tokens and keys are rotated without a restart.

A file is looked at when it is needed, at most once a second. It counts as changed when its inode, size or time of change is
another one, which is what Kubernetes' swap of a mounted secret does too. A file that cannot be read, or makes no sense, keeps
what was read before, and says so in the log once: whoever rotates a file may write it in two steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from outboard.errors import InvalidSettings
from outboard.host.logs import TaskLog

ValueT = TypeVar("ValueT")
_LOOKED_S: Final = 1.0
_MOST_BYTES: Final = 1024 * 1024


class WatchedFile(Generic[ValueT]):
    """What a file holds.

    Args:
        path: The file.
        field: The setting that names it, for words.
        read: Makes a value of the bytes; raises `ValueError` with words that do not quote them.

    Attributes:
        value: What was read last.

    Raises:
        InvalidSettings: It cannot be read, or makes no sense, at the start.
    """

    def __init__(self, path: Path, field: str, read: Callable[[bytes], ValueT]) -> None:
        self._path = path
        self._field = field
        self._read = read
        self._looked_at = time.monotonic()
        self._has_failed = False
        try:
            self._seen = self._stamp()
            self.value: ValueT = self._load()
        except (OSError, ValueError) as error:
            raise InvalidSettings(f"{field}: {path}: {_words(error)}; correct the file", field=field) from None

    def is_changed(self) -> bool:
        """Look whether there is something new, unless that was done this second; then `value` is it."""
        now = time.monotonic()
        if now - self._looked_at < _LOOKED_S:
            return False
        self._looked_at = now
        try:
            stamp = self._stamp()
            if stamp == self._seen and not self._has_failed:
                return False
            value = self._load()
        except (OSError, ValueError) as error:
            if not self._has_failed:
                self._has_failed = True
                TaskLog().warning("file not read; the last good one counts", field=self._field, reason=_words(error))
            return False
        self._seen, self._has_failed = stamp, False
        if value == self.value:
            return False
        self.value = value
        return True

    def _stamp(self) -> tuple[int, int, int]:
        facts = self._path.stat()
        return facts.st_ino, facts.st_size, facts.st_mtime_ns

    def _load(self) -> ValueT:
        with self._path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        return self._read(data)


def _words(error: Exception) -> str:
    return (error.strerror or "it cannot be read").lower() if isinstance(error, OSError) else str(error)

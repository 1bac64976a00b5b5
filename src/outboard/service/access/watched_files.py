"""Files that are read anew when they change: tokens and keys are rotated without a restart.

A file is looked at when it is needed, at most once a second (`outboard.files`). One that cannot be read, or makes no sense, keeps
what was read before, and says so in the log once: whoever rotates a file may write it in two steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from outboard.errors import InvalidSettings
from outboard.files import Watched, read_small
from outboard.host.logs import TaskLog

ValueT = TypeVar("ValueT")
_LOOKED_S: Final = 1.0


class WatchedFile(Generic[ValueT]):
    """What a file holds.

    Args:
        path: The file.
        field: The setting that names it, for words.
        read: Makes a value of the bytes; raises `ValueError` with words that do not quote them.

    Raises:
        InvalidSettings: It cannot be read, or makes no sense, at the start.
    """

    def __init__(self, path: Path, field: str, read: Callable[[bytes], ValueT]) -> None:
        def load() -> ValueT:
            try:
                return read(read_small(path))
            except (OSError, ValueError) as error:
                raise InvalidSettings(f"{field}: {path}: {_words(error)}; correct the file", field=field) from None

        self._field = field
        self._looked_at = time.monotonic()
        self._watched = Watched([path], load, again_s=0.0)

    @property
    def value(self) -> ValueT:
        """What was read last."""
        return self._watched.value

    def is_changed(self) -> bool:
        """Look whether there is something new, unless that was done this second; then `value` is it."""
        now = time.monotonic()
        if now - self._looked_at < _LOOKED_S:
            return False
        self._looked_at = now
        was_refused, is_new = bool(self._watched.problem), self._watched.look()
        if self._watched.problem and not was_refused:
            reason = self._watched.problem
            TaskLog().warning("file not read; the last good one counts", field=self._field, reason=reason)
        return is_new


def _words(error: Exception) -> str:
    return (error.strerror or "it cannot be read").lower() if isinstance(error, OSError) else str(error)

"""Small files that somebody replaces while we run: tokens, keys, certificates.

Nobody tells us. Kubernetes swaps a symbolic link, others write in place, in steps, or one file after the other. So files are
looked at again and again, read when their stamp is another one, and what they hold is believed only when its reader finds it in
order and nobody wrote meanwhile. Until then, what was read before stays in force. `Watched` does that for everybody who keeps
such a value; when to look is theirs to say: clients at every call, rules of access once a second, a service's certificates when
the files have been at rest.

What must not outlive its file is not kept at all: the token of the admin port and the credentials of stores of secrets are read
at each use, by `read_small`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from outboard.errors import InvalidSettings

ValueT = TypeVar("ValueT")
MOST_BYTES: Final = 1024 * 1024
"""Of one file: a bundle of all public authorities has a quarter of that."""

Stamp = tuple[tuple[int, int, int, int] | None, ...]


class Watched(Generic[ValueT]):
    """What files hold, as far as it is in order.

    Args:
        paths: The files.
        read: Reads and checks all of them; raises `InvalidSettings`.
        again_s: How soon files that were refused are read again although they have not changed since: their rights may have, or
            what time it is.

    Attributes:
        value: What was read last and was in order; the same object until it is another value.
        problem: Why the files as they are now are not in force; empty where they are.

    Raises:
        InvalidSettings: They are not in order from the beginning.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], ValueT], *, again_s: float = 1.0) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._again_s = again_s
        self._seen = stamp(self._paths)
        self._refused: tuple[Stamp, float] | None = None
        self.problem = ""
        self.value: ValueT = read()

    def look(self) -> bool:
        """Look whether there is something new, which costs some microseconds where there is not; then `value` is it."""
        now = stamp(self._paths)
        if now == self._seen:
            self._refused, self.problem = None, ""
            return False
        if self._refused is not None and self._refused[0] == now and not self._is_due(self._refused[1]):
            return False
        try:
            value = self._read()
        except InvalidSettings as error:
            self._refused, self.problem = (now, time.monotonic()), error.message
            return False
        if stamp(self._paths) != now:
            return False  # changed while it was read
        self._seen, self._refused, self.problem = now, None, ""
        if value == self.value:
            return False
        self.value = value
        return True

    def _is_due(self, refused_at: float) -> bool:
        return time.monotonic() - refused_at >= self._again_s


def stamp(paths: Sequence[Path]) -> Stamp:
    """Return what changes whenever one of these files is written or replaced; symbolic links are followed to their ends."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of `Path.stat`, and clients ask at every call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_small(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return what a file holds now.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than anything that belongs there.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return data


def read_file(path: Path, field: str) -> bytes:
    """Return what a file of the settings holds now.

    Args:
        path: Where it is.
        field: The setting that names it.

    Raises:
        InvalidSettings: It cannot be read, or is larger than anything that belongs there.
    """
    try:
        return read_small(path)
    except OSError as error:
        reason = (error.strerror or "not possible").lower()
        raise InvalidSettings(
            f"{field}: {path} cannot be read ({reason}); correct the path or its rights", field=field
        ) from None
    except ValueError:
        raise InvalidSettings(
            f"{field}: {path} is larger than 1 MiB; give the file that is meant", field=field
        ) from None

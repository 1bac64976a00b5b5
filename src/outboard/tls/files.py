"""Files that are replaced while we read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from outboard.errors import InvalidSettings

MOST_BYTES = 1024 * 1024
"""Of one file: a bundle of all public authorities has a quarter of that."""

Stamp = tuple[tuple[int, int, int, int] | None, ...]


def stamp(paths: Sequence[Path]) -> Stamp:
    """Return what changes whenever one of these files is written or replaced; symbolic links are followed to their ends."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of `Path.stat`, and clients ask at every call
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_file(path: Path, field: str) -> bytes:
    """Return what a file holds.

    Args:
        path: Where it is.
        field: The setting that names it.

    Raises:
        InvalidSettings: It cannot be read, or is larger than anything that belongs there.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "not possible").lower()
        raise InvalidSettings(
            f"{field}: {path} cannot be read ({reason}); correct the path or its rights", field=field
        ) from None
    if len(data) > MOST_BYTES:
        raise InvalidSettings(f"{field}: {path} is larger than 1 MiB; give the file that is meant", field=field)
    return data

"""The private folder in which a parent and its children have their sockets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from outboard.errors import InvalidSettings

_DIRECTORY_BYTES: Final = 80
"""A socket's path may take 107 bytes on Linux and 103 on macOS (`sun_path` in sys/un.h), its own name up to 22."""


def private_directory(field: str) -> Path:
    """Return a new folder that nobody else may enter (mode 0700).

    Args:
        field: The setting that asked for it, for the error.

    Raises:
        InvalidSettings: It is too deep for the path of a socket.
    """
    directory = Path(tempfile.mkdtemp(prefix="outboard-"))
    if len(bytes(directory)) > _DIRECTORY_BYTES:
        directory.rmdir()
        raise InvalidSettings(
            f"{directory.parent} is too long for the path of a Unix socket; point TMPDIR at a shorter one", field=field
        )
    return directory

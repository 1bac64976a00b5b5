"""Handles as people have them: a file with the raw bytes or their base64, standard input, or base64 on the command line.

A handle that does not say what it is of needs its task type beside it, as `name` or `name:1`.
"""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import Final

from outboard.domain.tasks import TaskType
from outboard.errors import InvalidSettings

STDIN: Final = "-"
_LONGEST: Final = 1024 * 1024


def read_handle(source: str) -> bytes:
    """Return the handle in a file, or on standard input (`-`): raw bytes, or base64 with whatever white space.

    Raises:
        InvalidSettings: There is no such file, or nothing in it.
    """
    try:
        data = sys.stdin.buffer.read(_LONGEST) if source == STDIN else _read(Path(source))
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise InvalidSettings(
            f"the handle in {source} cannot be read ({reason}): check the path", field="handle"
        ) from None
    if not data.strip():
        raise InvalidSettings(
            f"{'standard input' if source == STDIN else source} is empty: give a handle", field="handle"
        )
    return decoded(data.decode("ascii", "replace")) or data


def decoded(text: str) -> bytes | None:
    r"""Return what base64 spells, standard or for URLs, with or without padding; None where it is none.

    >>> decoded("/09C AQ"), decoded("_09CAQ=="), decoded("no base64!")
    (b'\xffOB\x01', b'\xffOB\x01', None)
    """
    joined = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(joined + "=" * (-len(joined) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def read_task_type(text: str) -> TaskType:
    """Return the task type that a text spells.

    Raises:
        InvalidSettings: It spells none.
    """
    name, _, version = text.partition(":")
    if not name or (version and not (version.isascii() and version.isdecimal())):
        raise InvalidSettings(f"--type '{text}' is no task type: write name or name:1", field="type")
    return TaskType(name, int(version or 0))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST)

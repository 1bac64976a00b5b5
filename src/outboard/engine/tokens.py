"""A bearer token in a file, read anew whenever the file changes."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

from outboard.errors import InvalidSettings
from outboard.files import Watched, read_file

_FIELD: Final = "client.token_file"
_MOST_BYTES: Final = 16 * 1024
_FORM: Final = re.compile(r"[\x21-\x7e]+")
"""What may stand in a header; tokens of RFC 6750 are narrower."""


def token_in(path: Path) -> Watched[str]:
    """Return the token that a file holds.

    Where it cannot be read any more, or holds no token (somebody is writing it), the last good one is given.

    Raises:
        InvalidSettings: It holds none from the beginning.
    """
    return Watched([path], partial(_read, path))


def _read(path: Path) -> str:
    data = read_file(path, _FIELD)
    text = data.decode("ascii", "replace").strip()
    if len(data) > _MOST_BYTES or not _FORM.fullmatch(text):
        words = "is empty" if not text else "holds more than a token, which is one word of ASCII"
        raise InvalidSettings(f"{_FIELD}: {path} {words}; write the token into it, and nothing else", field=_FIELD)
    return text

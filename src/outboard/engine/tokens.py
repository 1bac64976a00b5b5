"""A bearer token in a file, read anew whenever the file changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from outboard.errors import InvalidSettings
from outboard.tls.files import Stamp, read_file, stamp

_FIELD: Final = "client.token_file"
_MOST_BYTES: Final = 16 * 1024
_FORM: Final = re.compile(r"[\x21-\x7e]+")
"""What may stand in a header; tokens of RFC 6750 are narrower."""


class TokenFile:
    """The token that a file holds.

    Where it cannot be read any more, or holds no token (somebody is writing it), the last good one is given.

    Raises:
        InvalidSettings: It holds none from the beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Stamp = stamp([path])
        self._token = _read(path)

    def read(self) -> str:
        """Return the token of the moment."""
        now = stamp([self._path])
        if now != self._seen:
            try:
                self._token = _read(self._path)
            except InvalidSettings:
                return self._token
            self._seen = now
        return self._token


def _read(path: Path) -> str:
    data = read_file(path, _FIELD)
    text = data.decode("ascii", "replace").strip()
    if len(data) > _MOST_BYTES or not _FORM.fullmatch(text):
        words = "is empty" if not text else "holds more than a token, which is one word of ASCII"
        raise InvalidSettings(f"{_FIELD}: {path} {words}; write the token into it, and nothing else", field=_FIELD)
    return text

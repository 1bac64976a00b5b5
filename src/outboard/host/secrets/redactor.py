"""The redactor, which keeps the values of secrets from leaving.

It knows every value that was resolved in this process, in the spellings in which values slip out: as they stand in JSON, in a
URL, in Python's own notation, in base64 (also within something longer, as in the header of a login), in hexadecimal digits.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_refs import redact_forms

_SHORTEST: Final = 4
_SHORTEST_LINE: Final = 12
_ESCAPE: Final = re.compile("%[0-9A-F]{2}")
_CERTAIN: Final = 16
_FEW: Final = 200
"""So many spellings are looked for one by one; of more, those that begin as some place of the text does."""


class Redactor:
    """Replaces every secret that this process ever resolved, and everything that has the form of a credential.

    Engines may provide thousands of secrets with one request and others an hour later, so neither learning one nor
    reading a text takes longer the more are known: they are found by their first characters. Any thread may do either.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._spellings: list[str] = []
        self._lent: set[str] = set()
        self._by_start: dict[str, list[str]] = {}

    def learn(self, value: str, *, is_lent: bool = False) -> None:
        """Redact this value from now on; values of under 4 characters would hide ordinary text and are not learned.

        Its other spellings are learned too: each line of a key file, and as it stands in JSON, in a URL and in base64.

        Args:
            value: The secret.
            is_lent: An engine provided it: it is a secret of its task, and may be ordinary text in others.
        """
        if value in self._lent and not is_lent:
            self._lent -= _spellings(value)
        if value in self._known or len(value) < _SHORTEST:
            return
        self._known.add(value)
        spellings = _spellings(value)
        if is_lent:
            self._lent.update(spellings)
        for spelling in spellings:
            self._spellings.append(spelling)
            self._by_start.setdefault(spelling[:_SHORTEST], []).append(spelling)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        # The longest first: a secret that is part of another one must not leave the other's rest behind.
        for value in sorted(self._found(text), key=len, reverse=True):
            text = text.replace(value, "[redacted]")
        return redact_forms(text)

    def holds(self, text: str, provided: Provided = NOTHING) -> bool:
        """Tell whether a text holds a resolved secret; only of secrets that no ordinary text holds by chance.

        Args:
            text: What is to leave.
            provided: Of what engines provided, only this counts: what is secret to one tenant may be another's job's name.
        """
        found = {value for value in self._found(text) if len(value) >= _CERTAIN}
        if found <= self._lent:
            found = {value for own in provided.secrets.values() for value in _spellings(own.strip()) & found}
        return bool(found)

    def _found(self, text: str) -> list[str]:
        if len(self._spellings) <= _FEW:
            return [value for value in self._spellings if value in text]
        starts = {text[i : i + _SHORTEST] for i in range(len(text) - _SHORTEST + 1)}
        return [value for start in starts for value in self._by_start.get(start, ()) if value in text]


def _spellings(value: str) -> set[str]:
    lines = [line.strip() for line in value.splitlines()]
    data = value.encode(errors="surrogatepass")
    quoted = [quote(value), quote(value, safe=""), quote_plus(value)]
    return {
        value,
        *(line for line in lines if len(lines) > 1 and len(line) >= _SHORTEST_LINE),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        *quoted,
        *(_ESCAPE.sub(lambda found: found[0].lower(), text) for text in quoted),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        *(_within_base64(data) if len(data) >= _SHORTEST_LINE else ()),
        *((data.hex(), data.hex().upper()) if len(data) >= _SHORTEST_LINE else ()),
    }


def _within_base64(data: bytes) -> Iterator[str]:
    """Give what stands in base64 of anything that holds the data, wherever in it: `user:password`, say."""
    for before in range(3):
        begin, end = (
            -(-8 * before // 6),
            8 * (before + len(data)) // 6,
        )  # digits have 6 bits, and these none of a neighbour's
        padded = bytes(before) + data
        for encoded in (base64.b64encode(padded), base64.urlsafe_b64encode(padded)):
            yield encoded[begin:end].decode()

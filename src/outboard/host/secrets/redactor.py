"""The redactor, which keeps the values of secrets from leaving.

It knows the values that were resolved in this process, in the spellings in which values slip out: as they stand in JSON, in a
URL, in Python's own notation, in base64 (also within something longer, as in the header of a login), in hexadecimal digits.

A token of an hour is followed by the next one, for as long as the process lives, so what has not been resolved for longest is
forgotten once all of them together have taken their room. What is in use is resolved again and again, and stays. Ours and what
engines provide have a room each: no tenant brings so many that our own are forgotten.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
_ROOM: Final = 32 * 1024 * 1024
"""Bytes, about, that the spellings of ours may take, and as many those of what engines provide: some thousand tokens each."""
_BESIDE: Final = 64
"""Bytes, about, that a spelling takes beside its characters."""
_LEFT: Final = 0.75
"""What forgetting leaves of it, so that it is rare."""
_FRESH_S: Final = 60.0
"""What was resolved since is not forgotten, however much it is: its request is still under way."""


@dataclass(slots=True)
class _Known:
    """A secret that was resolved."""

    spellings: frozenset[str]
    is_lent: bool
    resolved_at: float

    @property
    def size(self) -> int:
        """The bytes, about, that its spellings take."""
        return sum(map(len, self.spellings)) + _BESIDE * len(self.spellings)


class Redactor:
    """Replaces the secrets that this process resolved, and everything that has the form of a credential.

    Engines may provide thousands of secrets with one request and others an hour later, so neither learning one nor
    reading a text takes longer the more are known: they are found by their first characters. Any thread may do either.

    Args:
        room: How many bytes, about, the spellings of ours may take, and as many those of what engines provide.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._known: dict[str, _Known] = {}
        self._taken = {False: 0, True: 0}
        self._forgot_at = float("-inf")
        self._learning = threading.Lock()
        self._spellings: list[str] = []
        self._lent: set[str] = set()
        self._by_start: dict[str, list[str]] = {}

    def learn(self, value: str, *, is_lent: bool = False, is_for_good: bool = False) -> None:
        """Redact this value from now on; values of under 4 characters would hide ordinary text and are not learned.

        Its other spellings are learned too: each line of a key file, and as it stands in JSON, in a URL and in base64.

        Args:
            value: The secret.
            is_lent: An engine provided it: it is a secret of its task, and may be ordinary text in others.
            is_for_good: It is never forgotten, since nobody resolves it again: the installation's own keys.
        """
        known, now = self._known.get(value), time.monotonic()
        resolved_at = float("inf") if is_for_good else now
        if known is not None and (is_lent or not known.is_lent):
            known.resolved_at = max(known.resolved_at, resolved_at)
        elif len(value) >= _SHORTEST:
            with self._learning:
                self._add(value, _Known(frozenset(_spellings(value)), is_lent, resolved_at))
                if self._taken[is_lent] > self._room and now - self._forgot_at > _FRESH_S / 4:
                    self._forget(now, is_lent=is_lent)

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

    def _add(self, value: str, known: _Known) -> None:
        before = self._known.get(value)
        if before is not None and not before.is_lent:
            return  # another thread was first
        self._known[value] = known
        self._taken[known.is_lent] += known.size
        if before is not None:
            self._taken[before.is_lent] -= before.size
        else:
            for spelling in known.spellings:
                self._spellings.append(spelling)
                self._by_start.setdefault(spelling[:_SHORTEST], []).append(spelling)
        if known.is_lent:
            self._lent.update(known.spellings)
        else:
            self._lent -= known.spellings

    def _forget(self, now: float, *, is_lent: bool) -> None:
        """Let go of what was not resolved for longest. Others may be reading: what they read is not changed, but exchanged."""
        self._forgot_at = now
        oldest = sorted(
            (each for each in self._known.items() if each[1].is_lent is is_lent), key=lambda each: each[1].resolved_at
        )
        for value, known in oldest:
            if self._taken[is_lent] <= self._room * _LEFT or now - known.resolved_at < _FRESH_S:
                break
            del self._known[value]
            self._taken[is_lent] -= known.size
        left = tuple(self._known.values())
        own = {spelling for known in left if not known.is_lent for spelling in known.spellings}
        lent = {spelling for known in left if known.is_lent for spelling in known.spellings}
        spellings, by_start = list(own | lent), dict[str, list[str]]()
        for spelling in spellings:
            by_start.setdefault(spelling[:_SHORTEST], []).append(spelling)
        self._spellings, self._by_start, self._lent = spellings, by_start, lent - own

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
        # Digits have 6 bits, and these none of a neighbour's.
        begin, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        padded = bytes(before) + data
        for encoded in (base64.b64encode(padded), base64.urlsafe_b64encode(padded)):
            yield encoded[begin:end].decode()

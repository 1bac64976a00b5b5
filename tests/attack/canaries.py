"""Canaries: values that stand nowhere else, one for each source of secrets, and what is found of them where something left.

Each is looked for in every spelling in which a value slips out: plain text, JSON, URLs, base64 at every offset, Python's
notation, hexadecimal digits. The spellings are worked out apart from the redactor's own.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, quote_plus

REDACTED: Final = "[redacted]"


def canary(name: str) -> str:
    """Return a value that stands nowhere else, with letters that every encoding writes in another way."""
    return f'Canary/{name}+of {os.getpid()}\'s "mine"&=%é'


CANARIES: Final = {
    name: canary(name) for name in ("env", "file", "override", "vault", "cluster", "provided", "connection")
}
CREDENTIALS: Final = {
    "service key": base64.b64encode(b"canary-of-a-service-key-in-a-min").decode(),
    "bearer token": "canary-of-a-bearer-token-in-a-header",
    "cluster token": "canary-of-a-service-accounts-token",
    "collector's login": "canary-of-a-login-at-the-collector",
}


def spellings(value: str) -> set[str]:
    """Return how a value may stand in something."""
    data = value.encode()
    spelled = {
        value,
        value[:20],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    }
    spelled |= {quote(value), quote(value, safe=""), quote_plus(value), quote(value, safe="").lower(), data.hex()}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        spelled.add(encoded[4 if before else 0 : -4])
        spelled.add(encoded[4 if before else 0 : -4].translate(str.maketrans("+/", "-_")))
    return {each for each in spelled if len(each) >= 8}


@dataclass
class Haul:
    """What left, by where it left.

    Attributes:
        told: The texts and bytes of each place.
        canaries: What is looked for, by name.
    """

    told: dict[str, list[bytes]] = field(default_factory=dict)
    canaries: dict[str, str] = field(default_factory=lambda: {**CANARIES, **CREDENTIALS})

    def take(self, place: str, what: object) -> None:
        """Keep something that left."""
        data = what if isinstance(what, bytes) else str(what).encode(errors="surrogateescape")
        self.told.setdefault(place, []).append(data)

    def hits(self, place: str) -> list[str]:
        """Return the names of the canaries that are somewhere in a place, with the spelling's beginning."""
        whole = b"\n".join(self.told.get(place, ()))
        found = []
        for name, value in self.canaries.items():
            found += [f"{name} as {each[:12]}..." for each in sorted(spellings(value)) if each.encode() in whole]
        return found

    def rows(self, shape: str) -> Iterator[dict[str, Any]]:
        """Give what came of each place."""
        for place, parts in self.told.items():
            whole = b"".join(parts)
            yield {
                "how": shape,
                "searched": place,
                "bytes": len(whole),
                "canaries": len(self.canaries),
                "redactions": whole.count(REDACTED.encode()),
                "hits": len(self.hits(place)),
            }

    def faults(self, shape: str, expected: Sequence[str]) -> Iterator[str]:
        """Give what is wrong: a canary that left, a place without anything to search, a redactor that had nothing to do."""
        for place in self.told:
            for hit in self.hits(place):
                yield f"{shape}: {place} holds the canary of {hit}"
        for place in expected:
            if not any(self.told.get(place, ())) and place != "standard output":
                yield f"{shape}: nothing to search in {place}"
        if not any(REDACTED.encode() in part for parts in self.told.values() for part in parts):
            yield f"{shape}: nothing was redacted, so nothing was tried"

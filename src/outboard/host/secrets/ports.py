"""What a store of secrets is, and what it answers.

A store keeps *documents*, each asked for by one request: a path of Vault, a Secret of Kubernetes. A document has fields, and a
reference leads to one of them: its *place*. Local stores are read at once and anew each time; remote ones are asked before an
agent's call, and what they said is remembered (see `remembering`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads a secret.

    Attributes:
        scope: Whose task it is.
        task_type: Its type.
        is_task: False for the installation itself, which rules do not bind.
    """

    scope: Scope
    task_type: str = ""
    is_task: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store keeps a secret.

    Attributes:
        document: What one request asks for.
        field: A field of it; empty is the whole.
    """

    document: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.document}#{self.field}" if self.field else self.document


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a store answered.

    Attributes:
        whole: The text, of stores that keep texts.
        fields: Its fields, of stores that keep fields; those of a JSON text are found by themselves.
        version: The store's own word for which one it is.
        lifetime_s: How long it is good for; None where nobody says.
    """

    whole: str | None = field(default=None, repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str = ""
    lifetime_s: float | None = None

    def value(self, name: str) -> str | None:
        """Return a field, or the whole; None where there is no such field."""
        if not name:
            return self.whole
        if self.whole is None:
            return self.fields.get(name)
        try:
            parsed = json.loads(self.whole)
        except ValueError:
            return None
        return as_text(parsed.get(name)) if isinstance(parsed, dict) else None


def as_text(value: object) -> str | None:
    """Return a field's value as text: JSON has numbers and objects too."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


class Store(Protocol):
    """What every store says without being asked anything."""

    @property
    def is_scoped(self) -> bool:
        """Whether one reference leads to other places for other projects."""
        ...

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference may be, first hit wins; `UnfitName` where it has no place here."""
        ...


class LocalStore(Store, Protocol):
    """A store that is read at once."""

    def read(self, place: Place) -> str | None:
        """Return what is there now; None where nothing is."""
        ...

    def spell(self, place: Place) -> str:
        """Return a place as messages name it."""
        ...


class SecretStore(Store, Protocol):
    """A store that is asked over the network."""

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:
        """Return a document; None where there is none.

        Args:
            document: Which.
            is_refused: A platform refused what it said last: what was lent is not to be lent on.

        Raises:
            Forbidden: The login is good but may not read this.
            AgentError: Anything else: the store is down, slow, throttling, or refuses our login.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds open."""
        ...

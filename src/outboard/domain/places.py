"""Where in a nested value we are, so that a refusal names the spot: `outputs.rows[3].x`.

A place knows its parent and its label; the path is put together only when something is refused, which keeps the walk
over a large list cheap. Its depth bounds every recursion over values, so that a hostile or circular value is refused
and never exhausts the stack. Its error class is what a refusal raises: `InvalidInputs` on the way in, `InvalidOutputs`
on the way out, `InvalidTask` for types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from outboard.errors import InvalidInputs, InvalidOutputs, InvalidTask

Refusal: TypeAlias = type[InvalidInputs] | type[InvalidOutputs] | type[InvalidTask]

MAX_DEPTH = 24
"""Lists, maps and unions in one another. Python's protobuf refuses to write or read more than 100 nested messages;
a map or union takes three of them, which leaves room for the request around the value."""

MAX_PLAIN_DEPTH = 64
"""Dictionaries and lists within a struct; msgpack itself stops later (ormsgpack: 1,024)."""


@dataclass(slots=True)
class Place:
    """A spot in a value; start with the root's path and the error to raise, then ask for the places inside."""

    label: str
    error: Refusal
    parent: Place | None = None
    depth: int = 0

    @property
    def path(self) -> str:
        """The way here from the root, as a reader would write it."""
        labels: list[str] = []
        place: Place | None = self
        while place is not None:
            labels.append(place.label)
            place = place.parent
        return "".join(reversed(labels))

    def item(self, index: int) -> Place:
        """The place of a list's element."""
        return Place(f"[{index}]", self.error, self, self.depth + 1)

    def key(self, name: object) -> Place:
        """The place of a dictionary's entry or of a record's field."""
        label = f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{str(name)[:40]!a}]"
        return Place(label, self.error, self, self.depth + 1)

    def inside(self) -> Place:
        """The same spot one level deeper, for what a union wraps."""
        return Place("", self.error, self, self.depth + 1)

    def refusal(self, text: str) -> InvalidInputs | InvalidOutputs | InvalidTask:
        """The error to raise here: the path, then what is wrong and the remedy."""
        path = self.path
        return self.error(f"{path} {text}", field=path)

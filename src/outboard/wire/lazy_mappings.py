"""Mappings whose values are made when they are read, once.

A task's inputs and their types come as protobuf. Most agents read two of ten inputs, and one that nobody reads must
not fail a task because this version cannot decode it. Names are known without decoding anything; a failure is raised
at the read that meets it, each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class LazyMapping(Mapping[str, ValueT], Generic[ValueT]):
    """A read-only mapping over functions that make its values; remembers what was made."""

    __slots__ = ("_made", "_makers")

    def __init__(self, makers: Mapping[str, Callable[[], ValueT]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, ValueT] = {}

    def __getitem__(self, name: str) -> ValueT:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self)}>"

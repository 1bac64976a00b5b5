"""A task's inputs, each decoded when it is read.

`LazyValues` keeps the literals it came from, so that they can be passed on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flyteidl.core import literals_pb2
from google.protobuf.message import DecodeError

from outboard.domain.places import Refusal
from outboard.domain.types import ValueType
from outboard.domain.values import Offloaded
from outboard.errors import InvalidInputs
from outboard.wire.lazy_mappings import LazyMapping
from outboard.wire.literal_decoding import decode_value


class LazyValues(LazyMapping[Any]):
    """Native values by name over literals, in the interface's order, then in the literals' own.

    Reading a value that cannot be decoded raises `error` (`InvalidInputs`) with the input's path; one that nobody
    reads does no harm. A name without a declared type is decoded by what its literal holds.

    Args:
        literals: A `LiteralMap.literals`, or any mapping of names to literals (Flyte 2 has ordered ones).
        types: The declared types, possibly lazy themselves.
        where: The root of the paths in error messages.
        error: What an undecodable value raises.
    """

    __slots__ = ("_types", "_where", "literals")

    def __init__(
        self,
        literals: Mapping[str, literals_pb2.Literal],
        types: Mapping[str, ValueType] | None = None,
        where: str = "inputs",
        *,
        error: Refusal = InvalidInputs,
    ) -> None:
        declared: Mapping[str, ValueType] = {} if types is None else types
        self.literals = literals
        self._types = declared
        self._where = where

        def read(name: str) -> object:
            value_type = declared.get(name)
            return decode_value(literals[name], value_type, f"{where}.{name}", error=error)

        order = [name for name in declared if name in literals]
        order += [name for name in literals if name not in declared]
        super().__init__({name: partial(read, name) for name in order})

    def serialized(self) -> dict[str, bytes]:
        """Return the values as their literals' bytes, equal for equal literals; nothing is decoded."""
        return {name: self.literals[name].SerializeToString(deterministic=True) for name in self}

    def offloaded(self) -> dict[str, Offloaded]:
        """Return the values that lie in a store instead of here; nothing else is decoded."""
        return {name: self[name] for name, literal in self.literals.items() if literal.HasField("offloaded_metadata")}

    def with_fetched(self, files: Mapping[str, bytes]) -> LazyValues:
        """Return the same values with some offloaded ones in place, each from the bytes of its serialized literal.

        Raises:
            InvalidInputs: The bytes are no literal.
        """
        literals = dict(self.literals)
        for name, data in files.items():
            try:
                literals[name] = literals_pb2.Literal.FromString(data)
            except DecodeError:
                raise InvalidInputs(
                    f"{self._where}.{name}: the offloaded value is not a literal; run the task that wrote it again",
                    field=f"{self._where}.{name}",
                ) from None
        return LazyValues(literals, self._types, self._where)

"""The types of a task's inputs and outputs, as plain values.

A type says which values a name of the interface may hold. The types mirror Flyte's `LiteralType` kind by kind
(flyteidl/core/types.proto) without knowing protobuf: `wire.literals` translates, `domain.conformity` decides whether
a value fits. `str()` of a type is what messages show: `list[int]`, `structured dataset (parquet)`.

Invariants: every type is immutable, hashable and compares by content, so types may be dictionary keys and shared
freely. What Flyte attaches to a type without changing its values (metadata, annotations, the JSON schema of a
dataclass) is not kept; a union's variant tags are, because flytekit picks the reader of a union's value by them.

Types take their parts by position as well as by name, unlike our other records: `ListType(SimpleType.INTEGER)` is
read and written by people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

_SHOWN = 200


class SimpleType(Enum):
    """A type without parts; its value is how messages show it."""

    NONE = "None"
    INTEGER = "int"
    FLOAT = "float"
    STRING = "str"
    BOOLEAN = "bool"
    DATETIME = "datetime"
    DURATION = "timedelta"
    BINARY = "bytes"
    ERROR = "error"
    STRUCT = "dict"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class EnumType:
    """One of a few strings, in their declared order."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.values)) if self.values else "an enum without values"


@dataclass(frozen=True, slots=True)
class ListType:
    """A list whose elements all have one type."""

    element: ValueType

    def __str__(self) -> str:
        return f"list[{self.element}]"


@dataclass(frozen=True, slots=True)
class MapType:
    """A dictionary from strings to values of one type."""

    value: ValueType

    def __str__(self) -> str:
        return f"dict[str, {self.value}]"


@dataclass(frozen=True, slots=True)
class BlobType:
    """A file, or with `multipart` a directory, in an object store; an empty format means any."""

    format: str = ""
    multipart: bool = False

    def __str__(self) -> str:
        kind = "multi-part blob" if self.multipart else "blob"
        return f"{kind} ({self.format})" if self.format else kind


@dataclass(frozen=True, slots=True)
class Column:
    """A named column of a schema or of a structured dataset."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class SchemaType:
    """A table in Flyte's older form; its columns are simple (int, float, str, bool, datetime, timedelta)."""

    columns: tuple[Column, ...] = ()

    def __str__(self) -> str:
        return "schema"


@dataclass(frozen=True, slots=True)
class StructuredDatasetType:
    """A table in a store or a warehouse; no columns and an empty format mean any.

    The external schema is opaque to Flyte: its kind (`arrow`) and its serialized bytes.
    """

    columns: tuple[Column, ...] = ()
    format: str = ""
    external_schema_type: str = ""
    external_schema_bytes: bytes = b""

    def __str__(self) -> str:
        return f"structured dataset ({self.format})" if self.format else "structured dataset"


@dataclass(frozen=True, slots=True)
class Variant:
    """One of a union's types; the tag is the name of flytekit's reader for it (`int`, `DefaultEnumTransformer`)."""

    type: ValueType
    tag: str = ""


@dataclass(frozen=True, slots=True)
class UnionType:
    """One of several types; values carry which."""

    variants: tuple[Variant, ...]

    @classmethod
    def of(cls, *types: ValueType) -> UnionType:
        """A union of untagged variants: `UnionType.of(SimpleType.INTEGER, SimpleType.NONE)`."""
        return cls(tuple(Variant(each) for each in types))

    def __str__(self) -> str:
        return " | ".join(str(each.type) for each in self.variants) or "a union without variants"


ValueType: TypeAlias = (
    SimpleType | EnumType | UnionType | ListType | MapType | BlobType | SchemaType | StructuredDatasetType
)


@dataclass(frozen=True, slots=True)
class Interface:
    """What a task takes and gives: types by name, in declared order where the engine keeps one.

    The mappings may be lazy: an input whose type this version does not know raises `InvalidTask` when it is read.
    """

    inputs: Mapping[str, ValueType] = field(default_factory=dict)
    outputs: Mapping[str, ValueType] = field(default_factory=dict)


def describe(value_type: ValueType) -> str:
    """A type as a message shows it, cut to 200 characters."""
    text = str(value_type)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."

"""Types in a compact form, for handles.

GetTask brings no interface, so the handle carries the declared types of the outputs: a letter for a simple type, a
small list for the others. Columns and external schemas are left out: the check of outputs does not need them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outboard.domain.types import (
    BlobType,
    EnumType,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    Variant,
)
from outboard.errors import ForeignHandle

_LETTERS: Final = {
    SimpleType.NONE: "n",
    SimpleType.INTEGER: "i",
    SimpleType.FLOAT: "f",
    SimpleType.STRING: "s",
    SimpleType.BOOLEAN: "b",
    SimpleType.DATETIME: "t",
    SimpleType.DURATION: "d",
    SimpleType.BINARY: "y",
    SimpleType.ERROR: "e",
    SimpleType.STRUCT: "g",
}
_SIMPLE: Final = {letter: simple for simple, letter in _LETTERS.items()}


def encode_type_codes(types: Mapping[str, ValueType]) -> dict[str, Any]:
    """Return the compact form of some named types.

    >>> encode_type_codes({"rows": ListType(SimpleType.INTEGER)})
    {'rows': ['L', 'i']}
    """
    return {name: _encode(value_type) for name, value_type in types.items()}


def decode_type_codes(codes: Mapping[str, Any]) -> dict[str, ValueType]:
    """Return the types that `encode_type_codes` wrote; `ForeignHandle` for anything else."""
    try:
        return {str(name): _decode(code) for name, code in codes.items()}
    except (KeyError, ValueError, TypeError, IndexError, RecursionError):
        raise ForeignHandle(
            "the handle's output types are not ours; pass the resource_meta of CreateTask unchanged"
        ) from None


def _encode(value_type: ValueType) -> Any:  # noqa: PLR0911 - one line a kind
    if isinstance(value_type, SimpleType):
        return _LETTERS[value_type]
    if isinstance(value_type, ListType):
        return ["L", _encode(value_type.element)]
    if isinstance(value_type, MapType):
        return ["M", _encode(value_type.value)]
    if isinstance(value_type, UnionType):
        return ["U", *([_encode(variant.type), variant.tag] for variant in value_type.variants)]
    if isinstance(value_type, EnumType):
        return ["E", *value_type.values]
    if isinstance(value_type, BlobType):
        return ["B", value_type.format, int(value_type.multipart)]
    if isinstance(value_type, SchemaType):
        return ["C"]
    return ["D", value_type.format]


def _decode(code: Any) -> ValueType:  # noqa: PLR0911 - one line a kind
    if isinstance(code, str):
        return _SIMPLE[code]
    kind, *parts = code
    if kind == "L":
        return ListType(_decode(parts[0]))
    if kind == "M":
        return MapType(_decode(parts[0]))
    if kind == "U":
        return UnionType(tuple(Variant(_decode(inner), str(tag)) for inner, tag in parts))
    if kind == "E":
        return EnumType(tuple(map(str, parts)))
    if kind == "B":
        return BlobType(str(parts[0]), bool(parts[1]))
    if kind == "C":
        return SchemaType()
    if kind == "D":
        return StructuredDatasetType(format=str(parts[0]))
    raise ValueError(kind)

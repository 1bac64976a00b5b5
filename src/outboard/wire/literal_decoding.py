"""Flyte literals to native values, by the declared type or, without one, by what the literal holds.

A sender need not have written what the type says, word for word, and engines rely on that. So: a union is unwrapped
where none is declared, and a bare value is taken where a union is; an integer is a float where a float is declared,
and a whole float an integer (FlytePropeller sends a number out of a generic struct as a float); schemas and
structured datasets stand for each other; a msgpack binary or a generic struct in place of any other type is a part
that a workflow took out of a dictionary (see `domain.plain_values`). Formats and columns are as the literal says.

Structs: a msgpack binary gives exactly what was packed. A generic `Struct` knows only doubles; whole numbers below
2**53 in it become integers, which is what its authors meant far more often than `2.0`. Times below a microsecond are
cut off. An offloaded literal gives `Offloaded`; whoever may read the object store fetches it. Hashes and metadata of
literals say nothing about the value and are ignored.

Whatever the bytes, nothing but `error` is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import ormsgpack
from flyteidl.core import literals_pb2, types_pb2
from google.protobuf import struct_pb2

from outboard.domain.conformity import MAX_DURATION, choose_variant, find_misfit
from outboard.domain.places import MAX_DEPTH, MAX_PLAIN_DEPTH, Place, Refusal
from outboard.domain.plain_values import read_plain
from outboard.domain.types import (
    BlobType,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    describe,
)
from outboard.domain.values import (
    MSGPACK,
    Binary,
    Blob,
    ErrorValue,
    Offloaded,
    Schema,
    StructuredDataset,
    restore_integers,
)
from outboard.errors import InvalidInputs
from outboard.wire.literal_types import decode_type, read_columns, read_schema_columns

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NANOS = 10**9
_REFERENCE_TYPES: dict[type, type] = {Blob: BlobType, Schema: SchemaType, StructuredDataset: StructuredDatasetType}


def decode_value(
    literal: literals_pb2.Literal,
    value_type: ValueType | None = None,
    where: str = "value",
    *,
    error: Refusal = InvalidInputs,
) -> object:
    """The native value of a literal; raises `error` naming the spot that cannot be decoded or does not fit the type."""
    place = Place(where, error)
    return _read(literal, place) if value_type is None else _read_as(literal, value_type, place)


def _read(literal: literals_pb2.Literal, place: Place) -> object:
    """The value by what the literal holds."""
    _check_depth(place)
    match literal.WhichOneof("value"):
        case "collection":
            return [_read(each, place.item(i)) for i, each in enumerate(literal.collection.literals)]
        case "map":
            return {key: _read(each, place.key(key)) for key, each in literal.map.literals.items()}
        case "offloaded_metadata":
            return _read_offloaded(literal.offloaded_metadata, place)
        case "scalar":
            return _read_scalar(literal.scalar, place)
    raise place.refusal("holds no value; send one, or none_type for None")


def _read_as(  # noqa: PLR0911 - one case per way of sending a value
    literal: literals_pb2.Literal, value_type: ValueType, place: Place
) -> object:
    """The value by its declared type."""
    _check_depth(place)
    held = literal.WhichOneof("value")
    if held == "offloaded_metadata":
        return _read_offloaded(literal.offloaded_metadata, place)
    if isinstance(value_type, UnionType):
        return _read_union(literal, value_type, place)
    if held == "scalar" and literal.scalar.WhichOneof("value") == "union":
        return _read_as(literal.scalar.union.value, value_type, place.inside())
    match value_type:
        case ListType(element) if held == "collection":
            return [_read_as(each, element, place.item(i)) for i, each in enumerate(literal.collection.literals)]
        case MapType(entry) if held == "map":
            return {key: _read_as(each, entry, place.key(key)) for key, each in literal.map.literals.items()}
        case SimpleType.BINARY if held == "scalar" and literal.scalar.WhichOneof("value") == "binary":
            return _binary(literal.scalar.binary)
    if _is_plain(literal):
        return read_plain(_read(literal, place), value_type, place)
    return _agree(_read(literal, place), value_type, place)


def _is_plain(literal: literals_pb2.Literal) -> bool:
    """Whether the literal holds untyped data: a msgpack binary or a generic struct."""
    scalar = literal.scalar
    held = scalar.WhichOneof("value")
    return held == "generic" or (held == "binary" and bool(scalar.binary.tag == MSGPACK))


def _agree(value: object, value_type: ValueType, place: Place) -> object:
    """The value as its declared type has it, where the two agree."""
    match value_type, value:
        case SimpleType.INTEGER, float():
            value = restore_integers(value)
        case SimpleType.FLOAT, int() if not isinstance(value, bool):
            return float(value)
        case StructuredDatasetType(), Schema(uri, columns):
            return StructuredDataset(uri, "parquet", columns)
        case SchemaType(), StructuredDataset(uri, _, columns):
            return Schema(uri, columns)
    if type(value) in _REFERENCE_TYPES and not isinstance(value_type, SimpleType):
        if _stands_for(value, value_type):
            return value
        raise place.refusal(f"must be {describe(value_type)}, not {type(value).__name__}; pass one or change the type")
    misfit = find_misfit(value, value_type, place)
    if misfit:
        raise misfit.error()
    return value


def _read_union(literal: literals_pb2.Literal, union: UnionType, place: Place) -> object:
    inner, stored = literal, None
    if literal.scalar.WhichOneof("value") == "union":
        inner, stored = literal.scalar.union.value, _stored_type(literal.scalar.union.type, place)
    types = [each.type for each in union.variants]
    if stored is None or stored not in types:
        chosen = choose_variant(_read(inner, place.inside()), union, place)
        stored = chosen.type if chosen else None
    for each in types if stored is None else (stored,):
        try:
            return _read_as(inner, each, place.inside())
        except place.error:
            if stored is not None:
                raise
    raise place.refusal(f"must be {describe(union)}; pass one of these types")


def _stored_type(message: types_pb2.LiteralType, place: Place) -> ValueType | None:
    """The type a literal says of itself, None where it says nothing that we know."""
    try:
        return decode_type(message, place.path, error=place.error)
    except place.error:
        return None


def _read_scalar(scalar: literals_pb2.Scalar, place: Place) -> object:
    held = scalar.WhichOneof("value")
    if held is None:
        raise place.refusal(
            "holds no value, or one of a kind that this version of outboard does not know; upgrade outboard"
        )
    return _SCALAR_READERS[held](getattr(scalar, held), place)


def _read_primitive(primitive: literals_pb2.Primitive, place: Place) -> object:
    match primitive.WhichOneof("value"):
        case "datetime":
            return _read_datetime(primitive.datetime.seconds, primitive.datetime.nanos, place)
        case "duration":
            return _read_duration(primitive.duration.seconds, primitive.duration.nanos, place)
        case None:
            raise place.refusal("is a primitive without a value; send one, or none_type for None")
        case held:
            return getattr(primitive, held)


def _read_datetime(seconds: int, nanos: int, place: Place) -> datetime:
    if not 0 <= nanos < _NANOS:
        raise place.refusal("is a timestamp with nanoseconds outside 0 to 999,999,999; send a valid one")
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise place.refusal("is a timestamp outside the years 1 to 9999; send a valid one") from None


def _read_duration(seconds: int, nanos: int, place: Place) -> timedelta:
    has_two_signs = seconds * nanos < 0
    if abs(nanos) >= _NANOS or has_two_signs or abs(seconds) > MAX_DURATION // timedelta(seconds=1):
        raise place.refusal("is a duration that its protocol does not allow; send at most 10,000 years, with one sign")
    micros = abs(nanos) // 1000
    value = timedelta(seconds=seconds, microseconds=micros if nanos >= 0 else -micros)
    return max(-MAX_DURATION, min(MAX_DURATION, value))


def _read_binary(binary: literals_pb2.Binary, place: Place) -> object:
    return _unpack(binary.value, place) if binary.tag == MSGPACK else _binary(binary)


def _binary(binary: literals_pb2.Binary) -> Binary:
    return Binary(binary.value, binary.tag)


def _unpack(data: bytes, place: Place) -> object:
    try:
        value = ormsgpack.unpackb(data, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, RecursionError):
        raise place.refusal("is a msgpack binary that cannot be read; send valid msgpack") from None
    _check_plain_depth(value, place, place.depth)
    return value


def _check_plain_depth(value: object, place: Place, depth: int) -> None:
    if depth > MAX_PLAIN_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_PLAIN_DEPTH} levels; flatten it, or pass it as a file")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if isinstance(each, (dict, list)):
            _check_plain_depth(each, place, depth + 1)


def _read_generic(struct: struct_pb2.Struct, place: Place) -> object:
    return restore_integers(_read_struct(struct, place))


def _read_struct(struct: struct_pb2.Struct, place: Place) -> dict[str, object]:
    return {key: _read_json(each, place.key(key)) for key, each in struct.fields.items()}


def _read_json(value: struct_pb2.Value, place: Place) -> object:
    if place.depth > MAX_PLAIN_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_PLAIN_DEPTH} levels; flatten it, or pass it as a file")
    match value.WhichOneof("kind"):
        case None | "null_value":
            return None
        case "struct_value":
            return _read_struct(value.struct_value, place)
        case "list_value":
            return [_read_json(each, place.item(i)) for i, each in enumerate(value.list_value.values)]
        case held:
            return getattr(value, held)


def _read_blob(blob: literals_pb2.Blob, _place: Place) -> Blob:
    kind = blob.metadata.type
    return Blob(blob.uri, kind.format, kind.dimensionality == types_pb2.BlobType.MULTIPART)


def _read_schema(schema: literals_pb2.Schema, place: Place) -> Schema:
    return Schema(schema.uri, read_schema_columns(schema.type, place))


def _read_dataset(dataset: literals_pb2.StructuredDataset, place: Place) -> StructuredDataset:
    kind = dataset.metadata.structured_dataset_type
    return StructuredDataset(dataset.uri, kind.format, read_columns(kind, place))


def _read_stored_union(union: literals_pb2.Union, place: Place) -> object:
    stored = _stored_type(union.type, place)
    return _read(union.value, place.inside()) if stored is None else _read_as(union.value, stored, place.inside())


def _read_none(_void: literals_pb2.Void, _place: Place) -> None:
    return None


def _read_error(error: types_pb2.Error, _place: Place) -> ErrorValue:
    return ErrorValue(error.message, error.failed_node_id)


def _read_offloaded(message: literals_pb2.LiteralOffloadedMetadata, place: Place) -> Offloaded:
    inferred = _stored_type(message.inferred_type, place) if message.HasField("inferred_type") else None
    return Offloaded(message.uri, message.size_bytes, inferred)


def _check_depth(place: Place) -> None:
    if place.depth > MAX_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_DEPTH} levels; flatten it, or pass it as a file")


def _stands_for(value: object, value_type: ValueType) -> bool:
    return isinstance(value_type, _REFERENCE_TYPES[type(value)])


_SCALAR_READERS: dict[str, Callable[[Any, Place], object]] = {
    "primitive": _read_primitive,
    "blob": _read_blob,
    "binary": _read_binary,
    "schema": _read_schema,
    "none_type": _read_none,
    "error": _read_error,
    "generic": _read_generic,
    "structured_dataset": _read_dataset,
    "union": _read_stored_union,
}

"""Native values to Flyte literals (flyteidl/core/literals.proto).

`domain.conformity` decides first whether the value fits; then writing cannot fail, and a union's variant is the one
that decision chose. Gaps are filled from the declared type: a blob's or dataset's format, a table's columns.

A struct is written as a msgpack binary, as flytekit has done since 1.14 for dictionaries, dataclasses and pydantic
models: integers stay integers, NaN survives, and FlytePropeller types it as a struct. A generic `Struct`, the older
form, is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import ormsgpack
from flyteidl.core import literals_pb2

from outboard.domain.conformity import choose_variant, enum_text, find_misfit, guess_type, to_utc
from outboard.domain.places import Place, Refusal
from outboard.domain.tasks import Inputs
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
)
from outboard.domain.values import MSGPACK, Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset
from outboard.errors import InvalidOutputs
from outboard.wire.lazy_values import LazyValues
from outboard.wire.literal_types import (
    fill_blob_type,
    fill_dataset_type,
    fill_schema_type,
    fill_type,
    fill_variant,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)


def encode_value(
    value: object, value_type: ValueType, where: str = "value", *, error: Refusal = InvalidOutputs
) -> literals_pb2.Literal:
    """A value as the literal of its declared type; raises `error` naming the spot that does not fit."""
    place = Place(where, error)
    misfit = find_misfit(value, value_type, place)
    if misfit:
        raise misfit.error()
    literal = literals_pb2.Literal()
    _fill(literal, value, value_type, place)
    return literal


def encode_values(
    values: Mapping[str, object],
    types: Mapping[str, ValueType],
    where: str = "outputs",
    *,
    error: Refusal = InvalidOutputs,
) -> literals_pb2.LiteralMap:
    """Named values as a literal map; a name without a declared type is sent as what it looks like.

    Inputs that came off the wire go out as they came, decoded by nobody. Who wants exactly the declared names asks
    `check_outputs` first.
    """
    source = values.source if isinstance(values, Inputs) else values
    if isinstance(source, LazyValues):
        return literals_pb2.LiteralMap(literals=dict(source.literals))
    message = literals_pb2.LiteralMap()
    for name, value in source.items():
        at = f"{where}.{name}"
        value_type = types[name] if name in types else guess_type(value, at, error=error)
        message.literals[name].CopyFrom(encode_value(value, value_type, at, error=error))
    return message


def _fill(literal: literals_pb2.Literal, value: object, value_type: ValueType, place: Place) -> None:
    match value_type, value:
        case _, Offloaded():
            _fill_offloaded(literal.offloaded_metadata, value, place)
        case ListType(element), list() | tuple():
            literal.collection.SetInParent()
            for index, each in enumerate(value):
                _fill(literal.collection.literals.add(), each, element, place.item(index))
        case MapType(entry), Mapping():
            literal.map.SetInParent()
            for key, each in value.items():
                _fill(literal.map.literals[key], each, entry, place.key(key))
        case UnionType(), _:
            _fill_union(literal.scalar.union, value, value_type, place)
        case _:
            _fill_scalar(literal.scalar, value, value_type, place)


def _fill_offloaded(message: literals_pb2.LiteralOffloadedMetadata, value: Offloaded, place: Place) -> None:
    message.uri = value.uri
    message.size_bytes = value.size_bytes
    if value.type is not None:
        fill_type(message.inferred_type, value.type, place)


def _fill_union(message: literals_pb2.Union, value: object, union: UnionType, place: Place) -> None:
    variant = choose_variant(value, union, place)
    if variant is None:  # a value that changed under our hands, between the check and here
        raise place.refusal("fits none of the union's types; return one of them")
    fill_variant(message.type, variant, place.inside())
    _fill(message.value, value, variant.type, place.inside())


def _fill_scalar(scalar: literals_pb2.Scalar, value: Any, value_type: ValueType, place: Place) -> None:
    match value_type:
        case SimpleType():
            _SIMPLE_FILLERS[value_type](scalar, value)
        case EnumType():
            scalar.primitive.string_value = enum_text(value)
        case BlobType():
            _fill_blob(scalar.blob, value, value_type, place)
        case SchemaType():
            _fill_schema(scalar.schema, value, value_type, place)
        case StructuredDatasetType():
            _fill_dataset(scalar.structured_dataset, value, value_type, place)


def _fill_blob(message: literals_pb2.Blob, value: Blob, declared: BlobType, place: Place) -> None:
    message.uri = value.uri
    fill_blob_type(message.metadata.type, BlobType(value.format or declared.format, value.multipart), place)


def _fill_schema(message: literals_pb2.Schema, value: Schema, declared: SchemaType, place: Place) -> None:
    message.uri = value.uri
    fill_schema_type(message.type, SchemaType(value.columns or declared.columns), place)


def _fill_dataset(
    message: literals_pb2.StructuredDataset, value: StructuredDataset, declared: StructuredDatasetType, place: Place
) -> None:
    message.uri = value.uri
    stored = StructuredDatasetType(
        value.columns or declared.columns,
        value.format or declared.format,
        declared.external_schema_type,
        declared.external_schema_bytes,
    )
    fill_dataset_type(message.metadata.structured_dataset_type, stored, place)


def _fill_none(scalar: literals_pb2.Scalar, _value: None) -> None:
    scalar.none_type.SetInParent()


def _fill_integer(scalar: literals_pb2.Scalar, value: int) -> None:
    scalar.primitive.integer = value


def _fill_float(scalar: literals_pb2.Scalar, value: float) -> None:
    scalar.primitive.float_value = float(value)


def _fill_string(scalar: literals_pb2.Scalar, value: str) -> None:
    scalar.primitive.string_value = value


def _fill_boolean(scalar: literals_pb2.Scalar, value: bool) -> None:
    scalar.primitive.boolean = value


def _fill_datetime(scalar: literals_pb2.Scalar, value: datetime) -> None:
    seconds, rest = divmod(to_utc(value) - _EPOCH, _SECOND)
    scalar.primitive.datetime.seconds = seconds
    scalar.primitive.datetime.nanos = rest // _MICROSECOND * 1000


def _fill_duration(scalar: literals_pb2.Scalar, value: timedelta) -> None:
    """Write seconds and nanoseconds, which must have one sign (duration.proto)."""
    sign = -1 if value < timedelta() else 1
    seconds, rest = divmod(abs(value), _SECOND)
    scalar.primitive.duration.seconds = sign * seconds
    scalar.primitive.duration.nanos = sign * (rest // _MICROSECOND) * 1000


def _fill_binary(scalar: literals_pb2.Scalar, value: Binary | bytes) -> None:
    binary = Binary(value) if isinstance(value, bytes) else value
    scalar.binary.value = binary.value
    scalar.binary.tag = binary.tag


def _fill_error(scalar: literals_pb2.Scalar, value: ErrorValue) -> None:
    scalar.error.message = value.message
    scalar.error.failed_node_id = value.failed_node_id


def _fill_struct(scalar: literals_pb2.Scalar, value: Mapping[str, object]) -> None:
    scalar.binary.value = ormsgpack.packb(_plain(value))
    scalar.binary.tag = MSGPACK


def _plain(value: object) -> object:  # noqa: PLR0911 - one case per kind of value
    """The same data in the exact types that ormsgpack takes: no other mappings, no subclasses of `int` or `float`."""
    match value:
        case Mapping():
            return {str.__str__(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str.__str__(value)
    return value


_SIMPLE_FILLERS: dict[SimpleType, Callable[[literals_pb2.Scalar, Any], None]] = {
    SimpleType.NONE: _fill_none,
    SimpleType.INTEGER: _fill_integer,
    SimpleType.FLOAT: _fill_float,
    SimpleType.STRING: _fill_string,
    SimpleType.BOOLEAN: _fill_boolean,
    SimpleType.DATETIME: _fill_datetime,
    SimpleType.DURATION: _fill_duration,
    SimpleType.BINARY: _fill_binary,
    SimpleType.ERROR: _fill_error,
    SimpleType.STRUCT: _fill_struct,
}

"""Flyte's types and interfaces to ours and back (flyteidl/core/types.proto, interface.proto).

What changes no value is dropped on the way in: metadata (the JSON schema of a dataclass), annotations, descriptions
and artifact ids. A union's variant keeps its structure tag, by which flytekit picks the reader of a union's value.

Flyte 1 sends an interface as protobuf maps, which have no order; names are sorted, so that every run sees the same.
Outputs' types are decoded at once: an output that cannot be sent should stop a task before its job starts. Inputs'
types are decoded when read: an input of a kind from some later Flyte harms only who reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flyteidl.core import interface_pb2, types_pb2

from outboard.domain.places import MAX_DEPTH, Place, Refusal
from outboard.domain.types import (
    BlobType,
    Column,
    EnumType,
    Interface,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    Variant,
    describe,
)
from outboard.errors import InvalidTask
from outboard.wire.lazy_mappings import LazyMapping

_SIMPLE_TO_WIRE = {each: types_pb2.SimpleType.Value(each.name) for each in SimpleType}
_SIMPLE_FROM_WIRE = {number: each for each, number in _SIMPLE_TO_WIRE.items()}

_ColumnTypes = types_pb2.SchemaType.SchemaColumn.SchemaColumnType
_COLUMN_FROM_WIRE = {number: SimpleType[name] for name, number in _ColumnTypes.items()}
_COLUMN_TO_WIRE: dict[ValueType, int] = {each: number for number, each in _COLUMN_FROM_WIRE.items()}


def encode_type(value_type: ValueType, where: str = "type", *, error: Refusal = InvalidTask) -> types_pb2.LiteralType:
    """A type as Flyte writes it; raises `error` for one that Flyte cannot say (a schema column that is a list)."""
    message = types_pb2.LiteralType()
    fill_type(message, value_type, Place(where, error))
    return message


def decode_type(message: types_pb2.LiteralType, where: str = "type", *, error: Refusal = InvalidTask) -> ValueType:
    """The type that Flyte wrote; raises `error` for a kind that this version does not know."""
    return _read_type(message, Place(where, error))


def encode_interface(interface: Interface) -> interface_pb2.TypedInterface:
    """An interface as Flyte 1 writes it."""
    message = interface_pb2.TypedInterface()
    for direction, types in (("inputs", interface.inputs), ("outputs", interface.outputs)):
        variables = getattr(message, direction).variables
        for name, value_type in types.items():
            variables[name].type.CopyFrom(encode_type(value_type, f"interface.{direction}.{name}"))
    return message


def decode_interface(message: interface_pb2.TypedInterface) -> Interface:
    """The interface that Flyte 1 wrote, names sorted.

    Raises `InvalidTask` naming the variable for an output of unknown type; an input of unknown type raises it when
    its type is read.
    """
    inputs = _lazy_types("interface.inputs", message.inputs.variables)
    outputs = _lazy_types("interface.outputs", message.outputs.variables)
    return Interface(inputs=inputs, outputs=dict(outputs))


def _lazy_types(where: str, variables: Mapping[str, Any]) -> LazyMapping[ValueType]:
    def read(name: str) -> ValueType:
        return decode_type(variables[name].type, f"{where}.{name}")

    return LazyMapping({name: partial(read, name) for name in sorted(variables)})


def fill_type(  # noqa: C901 - one case per kind of type
    message: types_pb2.LiteralType, value_type: ValueType, place: Place
) -> None:
    """Write a type into an empty message; refusals name the place."""
    if place.depth > MAX_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_DEPTH} levels; flatten the type")
    match value_type:
        case SimpleType():
            message.simple = _SIMPLE_TO_WIRE[value_type]
        case EnumType(values):
            message.enum_type.SetInParent()
            message.enum_type.values.extend(_text(each, place) for each in values)
        case ListType(element):
            fill_type(message.collection_type, element, place.inside())
        case MapType(value):
            fill_type(message.map_value_type, value, place.inside())
        case UnionType(variants):
            message.union_type.SetInParent()
            for variant in variants:
                fill_variant(message.union_type.variants.add(), variant, place.inside())
        case BlobType():
            fill_blob_type(message.blob, value_type, place)
        case SchemaType():
            fill_schema_type(message.schema, value_type, place)
        case StructuredDatasetType():
            fill_dataset_type(message.structured_dataset_type, value_type, place)


def fill_variant(message: types_pb2.LiteralType, variant: Variant, place: Place) -> None:
    """Write a union's variant with its tag."""
    fill_type(message, variant.type, place)
    if variant.tag:
        message.structure.tag = _text(variant.tag, place)


def fill_blob_type(message: types_pb2.BlobType, value_type: BlobType, place: Place) -> None:
    """Write a blob's format and whether it is a directory."""
    message.SetInParent()
    message.format = _text(value_type.format, place)
    message.dimensionality = types_pb2.BlobType.MULTIPART if value_type.multipart else types_pb2.BlobType.SINGLE


def fill_schema_type(message: types_pb2.SchemaType, value_type: SchemaType, place: Place) -> None:
    """Write a schema's columns, which must be simple."""
    message.SetInParent()
    for column in value_type.columns:
        if column.type not in _COLUMN_TO_WIRE:
            allowed = ", ".join(map(describe, _COLUMN_TO_WIRE))
            raise place.key(column.name).refusal(f"cannot be a schema's column; use one of {allowed}")
        message.columns.add(name=_text(column.name, place), type=_COLUMN_TO_WIRE[column.type])


def fill_dataset_type(
    message: types_pb2.StructuredDatasetType, value_type: StructuredDatasetType, place: Place
) -> None:
    """Write a structured dataset's columns, format and external schema."""
    message.SetInParent()
    message.format = _text(value_type.format, place)
    message.external_schema_type = _text(value_type.external_schema_type, place)
    message.external_schema_bytes = value_type.external_schema_bytes
    for column in value_type.columns:
        inner = message.columns.add(name=_text(column.name, place))
        fill_type(inner.literal_type, column.type, place.key(column.name))


def read_columns(message: types_pb2.StructuredDatasetType, place: Place) -> tuple[Column, ...]:
    """The columns of a structured dataset."""
    return tuple(Column(each.name, _read_type(each.literal_type, place.key(each.name))) for each in message.columns)


def read_schema_columns(message: types_pb2.SchemaType, place: Place) -> tuple[Column, ...]:
    """The columns of a schema."""
    unknown = [each.name for each in message.columns if each.type not in _COLUMN_FROM_WIRE]
    if unknown:
        raise place.key(unknown[0]).refusal(_UNKNOWN)
    return tuple(Column(each.name, _COLUMN_FROM_WIRE[each.type]) for each in message.columns)


_UNKNOWN = "has a type that this version of outboard does not know; upgrade outboard or change the type"


def _read_type(message: types_pb2.LiteralType, place: Place) -> ValueType:  # noqa: PLR0911 - one case per kind
    if place.depth > MAX_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_DEPTH} levels; flatten the type")
    match message.WhichOneof("type"):
        case "simple" if message.simple in _SIMPLE_FROM_WIRE:
            return _SIMPLE_FROM_WIRE[message.simple]
        case "enum_type":
            return EnumType(tuple(message.enum_type.values))
        case "collection_type":
            return ListType(_read_type(message.collection_type, place.inside()))
        case "map_value_type":
            return MapType(_read_type(message.map_value_type, place.inside()))
        case "union_type":
            variants = message.union_type.variants
            return UnionType(tuple(Variant(_read_type(v, place.inside()), v.structure.tag) for v in variants))
        case "blob":
            return BlobType(message.blob.format, message.blob.dimensionality == types_pb2.BlobType.MULTIPART)
        case "schema":
            return SchemaType(read_schema_columns(message.schema, place))
        case "structured_dataset_type":
            dataset = message.structured_dataset_type
            return StructuredDatasetType(
                read_columns(dataset, place),
                dataset.format,
                dataset.external_schema_type,
                dataset.external_schema_bytes,
            )
    raise place.refusal(_UNKNOWN)


def _text(value: str, place: Place) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise place.refusal("names something that is not valid Unicode; rename it") from None
    return value

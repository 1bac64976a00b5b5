"""JSON values to protobuf's `Struct` and back.

A Struct knows only doubles. Reading leaves numbers as they come (`2.0`); who knows that integers were meant restores them.
Writing refuses what a Struct would change silently (integers beyond 2**53, NaN, objects), or, where a text for people is
better than no answer, writes such a value as text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import struct_pb2

from outboard.domain.places import MAX_PLAIN_DEPTH, Place

_EXACT: Final = 2**53
_DEPTH: Final = 30
"""Structs in one another; each level takes three of the hundred nested messages that protobuf reads."""


def decode_struct(message: struct_pb2.Struct) -> dict[str, Any]:
    """Return the dictionary that a Struct holds; every number is a float."""
    return {name: _read(value) for name, value in message.fields.items()}


def encode_struct(values: Mapping[str, Any], place: Place | None = None) -> struct_pb2.Struct:
    """Return a Struct of JSON values.

    Args:
        values: Nested mappings, lists, text, numbers, booleans and None.
        place: Where the values stand; a value that a Struct cannot hold is refused there, by its path. Without a place it
            is written as text.
    """
    message = struct_pb2.Struct()
    _fill_fields(message, values, place, 0)
    return message


def _read(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return decode_struct(value.struct_value)
    if kind == "list_value":
        return [_read(each) for each in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    return getattr(value, kind)


def _fill_fields(message: struct_pb2.Struct, values: Mapping[str, Any], place: Place | None, depth: int) -> None:
    for name, value in values.items():
        inner = place.key(name) if place else None
        _fill(message.fields[_text(str(name), inner)], value, inner, depth)


def _fill(message: struct_pb2.Value, value: Any, place: Place | None, depth: int) -> None:
    if value is None:
        message.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = _text(value, place)
    elif isinstance(value, (int, float)):
        _fill_number(message, value, place)
    elif isinstance(value, (Mapping, list, tuple)) and depth < min(_DEPTH, MAX_PLAIN_DEPTH):
        if isinstance(value, Mapping):
            message.struct_value.SetInParent()
            _fill_fields(message.struct_value, value, place, depth + 1)
        else:
            message.list_value.SetInParent()
            for index, each in enumerate(value):
                _fill(message.list_value.values.add(), each, place.item(index) if place else None, depth + 1)
    else:
        message.string_value = _as_text(
            value, place, "cannot be sent as JSON; use text, numbers, lists and mappings, nested at most 30 deep"
        )


def _fill_number(message: struct_pb2.Value, value: float, place: Place | None) -> None:
    if isinstance(value, int) and abs(value) > _EXACT:
        message.string_value = _as_text(
            value, place, "is an integer beyond 2**53, which Flyte would round; write it as text"
        )
    elif not math.isfinite(value):
        message.string_value = _as_text(value, place, "is not a finite number, which JSON cannot say; write it as text")
    else:
        message.number_value = value


def _as_text(value: Any, place: Place | None, refusal: str) -> str:
    if place is not None:
        raise place.refusal(refusal)
    return _text(str(value), None)


def _text(value: str, place: Place | None) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        if place is not None:
            raise place.refusal("is not valid Unicode; write it as UTF-8") from None
        return value.encode(errors="replace").decode()
    return value

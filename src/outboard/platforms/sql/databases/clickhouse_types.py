"""Columns of ClickHouse: what its Arrow stream carries, turned into what the column's own type says it is.

https://clickhouse.com/docs/interfaces/formats/Arrow, https://clickhouse.com/docs/sql-reference/data-types
"""

from __future__ import annotations

import ast
import ipaddress
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from outboard.platforms.sql.databases.columns import UnfitValue

Read = Callable[[Any], Any]
_AS_THEY_ARE: Final = frozenset(
    [
        *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64", "Bool"),
        *("Date", "Date32", "Decimal", "Nothing"),
        *("Point", "Ring", "LineString", "MultiLineString", "Polygon", "MultiPolygon"),
    ]
)
_WRAPPERS: Final = ("Nullable", "LowCardinality")
_LARGE: Final = {"Int128": True, "UInt128": False, "Int256": True, "UInt256": False}
_MICROSECOND_DIGITS: Final = 6
_ENUM: Final = re.compile(r"('(?:[^'\\]|\\.)*')\s*=\s*(-?\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A column in plain Arrow.

    Attributes:
        arrow: Its type.
        sql: ClickHouse's word for it.
        read: Turns an array of the stream into one of that type.
    """

    arrow: Any
    sql: str
    read: Read


def reader_of(name: str, sql: str, carried: Any) -> Plain:
    """Return how a column is read.

    Args:
        name: Its own.
        sql: Its type as DESCRIBE gives it; empty where nobody could say, then the stream's own type counts.
        carried: The Arrow type in the stream.

    Raises:
        UnfitValue: It is of a type that Arrow does not carry exactly.
    """
    try:
        convert = _reader(sql) if sql else _utf8 if pa.types.is_string(carried) else _same
        arrow = convert(_empty(carried)).type
    except (pa.ArrowException, ValueError) as error:
        raise UnfitValue(
            f"column {name} ({sql or carried}) has no exact form in Parquet; wrap it in toString()"
        ) from error

    def read(array: Any) -> Any:
        try:
            return convert(array)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            words = str(error).splitlines()[0][:120]
            raise UnfitValue(
                f"column {name} ({sql}) holds a value that Parquet cannot: {words}; wrap it in hex()"
            ) from error

    return Plain(arrow=arrow, sql=sql or str(carried), read=read)


def split(text: str) -> tuple[str, list[str]]:
    """Return a type's name and its arguments: `Map(String, UInt8)` is `Map` and two."""
    name, bracket, inner = text.partition("(")
    if not bracket:
        return text.strip(), []
    found, depth, is_quoted, start = [], 0, False, 0
    inner = inner.rstrip()[:-1]
    position = 0
    while position < len(inner):
        char = inner[position]
        if char == "\\":
            position += 1
        elif char in "'`":
            is_quoted = not is_quoted
        elif not is_quoted:
            depth += (char == "(") - (char == ")")
            if char == "," and depth == 0:
                found.append(inner[start:position].strip())
                start = position + 1
        position += 1
    return name.strip(), [*found, inner[start:].strip()]


def _reader(text: str) -> Read:  # noqa: C901, PLR0911, PLR0912 - one line a kind
    name, arguments = split(text)
    if name in _WRAPPERS:
        return _reader(arguments[0])
    if name == "SimpleAggregateFunction":
        return _reader(arguments[1])
    if name in _AS_THEY_ARE or name.startswith(("Interval", "Decimal")):
        return _same
    if name == "String":
        return _utf8
    if name == "FixedString":
        return lambda array: array.cast(pa.binary())
    if name in ("Enum8", "Enum16", "Enum"):
        labels = {int(number): str(ast.literal_eval(label)) for label, number in _ENUM.findall(text)}
        return _each(pa.string(), labels.__getitem__)
    if name == "DateTime":
        return lambda array: array.cast(pa.int64()).cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("us", "UTC"))
    if name == "DateTime64":
        unit = "us" if int(arguments[0]) <= _MICROSECOND_DIGITS else "ns"
        return lambda array: array.cast(pa.timestamp(unit, "UTC"))
    if name in _LARGE:
        return _large(int(name.lstrip("UInt")), is_signed=_LARGE[name])
    if name == "UUID":
        return _uuids
    if name == "IPv4":
        return _each(pa.string(), lambda value: str(ipaddress.IPv4Address(value)))
    if name == "IPv6":
        return _each(pa.string(), lambda value: str(ipaddress.IPv6Address(value)))
    if name == "JSON":
        return lambda array: _utf8(array.storage if isinstance(array, pa.ExtensionArray) else array)
    return _nested(name, arguments)


def _nested(name: str, arguments: Sequence[str]) -> Read:
    if name == "Array":
        inner = _reader(arguments[0])
        return lambda array: pa.ListArray.from_arrays(array.offsets, inner(array.values))
    if name == "Map":
        key, item = _reader(arguments[0]), _reader(arguments[1])
        return lambda array: pa.MapArray.from_arrays(array.offsets, key(array.keys), item(array.items))
    if name in ("Tuple", "Nested"):
        parts = [_field(text) for text in arguments]

        def struct(array: Any) -> Any:
            if name == "Nested":
                return pa.ListArray.from_arrays(array.offsets, record(array.values))
            return record(array)

        def record(array: Any) -> Any:
            read = [part(array.field(index)) for index, part in enumerate(parts)]
            mask = array.is_null() if array.null_count else None
            fields = [pa.field(array.type.field(index).name, each.type) for index, each in enumerate(read)]
            return pa.StructArray.from_arrays(read, fields=fields, mask=mask)

        return struct
    raise ValueError(f"{name} is not carried")


def _field(text: str) -> Read:
    """Return the reader of a tuple's field, which may have a name: `b String`, `` `odd name` String ``."""
    if text.startswith("`"):
        return _reader(text[text.index("`", 1) + 1 :].strip())
    first, space, rest = text.partition(" ")
    return _reader(rest.strip()) if space and "(" not in first and "'" not in first else _reader(text)


def _same(array: Any) -> Any:
    return array


def _utf8(array: Any) -> Any:
    """ClickHouse's texts are bytes; only those that are UTF-8 are texts elsewhere."""
    array.validate(full=True)
    return array


def _each(kind: Any, read: Callable[[Any], Any]) -> Read:
    return lambda array: pa.array([None if value is None else read(value) for value in array.to_pylist()], type=kind)


def _large(bits: int, *, is_signed: bool) -> Read:
    """Integers of 128 bits have 39 digits and are decimals; those of 256 have more than any, and are texts."""

    def number(value: bytes) -> int:
        return int.from_bytes(value, "little", signed=is_signed)

    if bits == 128:
        return _each(pa.decimal256(39, 0), lambda value: Decimal(number(value)))
    return _each(pa.string(), lambda value: str(number(value)))


def _uuids(array: Any) -> Any:
    if pa.types.is_string(array.type):
        return array
    if not isinstance(array, pa.ExtensionArray):
        raise ValueError("the server is too old to tell a UUID")  # noqa: TRY004 - a column, not a type of ours
    return _each(pa.string(), lambda value: str(uuid.UUID(bytes=value)))(array.storage)


def _empty(kind: Any) -> Any:
    """Return an array of a type without values; Arrow itself makes none of lists and maps of extension types."""
    start = pa.array([0], pa.int32())
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(start, _empty(kind.value_type))
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(start, _empty(kind.key_type), _empty(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays([_empty(field.type) for field in kind], names=[field.name for field in kind])
    return pa.array([], kind)

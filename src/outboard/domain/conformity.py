"""Whether a value fits a type, which variant of a union it is, and which type a value without one has.

One walk over value and type together finds the first thing that does not fit and where. Everything that sends values
asks here first, so the wire encodes without a failure path of its own, and a union's variant is chosen by the same
rules that admit the value.

The rules. `bool` is never an integer. An `int` is a `float` where a float is declared; whole floats are not integers.
Integers have 64 bits. Text is valid Unicode (no lone surrogates). An enum takes the string or an `enum.Enum` member
with that value; a list takes a tuple too, and bytes are a `Binary` without a tag. Naive datetimes are UTC, as
flytekit and protobuf take them: refusing one would fail a job that has succeeded. A blob's or dataset's format must
be the declared one where both are given; columns describe and are not compared. `Offloaded` stands for any type.

*Exact* fitting leaves nothing to be converted or filled in. A union takes the first variant that fits exactly, else
the first that fits at all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from outboard.domain.places import MAX_DEPTH, MAX_PLAIN_DEPTH, Place, Refusal
from outboard.domain.types import (
    BlobType,
    Column,
    EnumType,
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
from outboard.domain.values import Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidOutputs

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**63 - 1
_MAX_UNSIGNED = 2**64 - 1
MAX_DURATION = timedelta(seconds=315_576_000_000)
"""Ten thousand years: the bound of google.protobuf.Duration (duration.proto)."""

_SHOWN_PROBLEMS = 10
_PLAIN_TYPES = {
    bool: SimpleType.BOOLEAN,
    int: SimpleType.INTEGER,
    float: SimpleType.FLOAT,
    str: SimpleType.STRING,
    bytes: SimpleType.BINARY,
    datetime: SimpleType.DATETIME,
    timedelta: SimpleType.DURATION,
    type(None): SimpleType.NONE,
    Binary: SimpleType.BINARY,
    ErrorValue: SimpleType.ERROR,
}


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit, where, and what to do about it."""

    place: Place
    text: str

    def error(self) -> Exception:
        """The error to raise about it."""
        return self.place.refusal(self.text)

    def __str__(self) -> str:
        return f"{self.place.path} {self.text}"


def find_misfit(  # noqa: C901, PLR0911 - one case per kind of type
    value: object, value_type: ValueType, place: Place, *, exact: bool = False
) -> Misfit | None:
    """The first thing in `value` that does not fit `value_type`, or None where all of it does."""
    if isinstance(value, Offloaded):
        return _find_offloaded_misfit(value, place)
    if place.depth > MAX_DEPTH:
        return Misfit(place, f"is nested deeper than {MAX_DEPTH} levels; flatten it, or pass it as a file")
    match value_type:
        case SimpleType():
            return _find_simple_misfit(value, value_type, place, exact=exact)
        case ListType(element):
            if not isinstance(value, (list, tuple)):
                return _wrong_kind(value, value_type, place)
            found = (find_misfit(each, element, place.item(i), exact=exact) for i, each in enumerate(value))
            return next(filter(None, found), None)
        case MapType(entry):
            if not isinstance(value, Mapping):
                return _wrong_kind(value, value_type, place)
            found = (
                _find_key_misfit(key, place) or find_misfit(each, entry, place.key(key), exact=exact)
                for key, each in value.items()
            )
            return next(filter(None, found), None)
        case UnionType(variants):
            if any(find_misfit(value, each.type, place.inside(), exact=exact) is None for each in variants):
                return None
            return _wrong_kind(value, value_type, place)
        case EnumType(values):
            text = enum_text(value)
            return None if isinstance(text, str) and text in values else _wrong_kind(value, value_type, place)
        case BlobType() | SchemaType() | StructuredDatasetType():
            return _find_reference_misfit(value, value_type, place, exact=exact)


def choose_variant(value: object, union: UnionType, place: Place) -> Variant | None:
    """The variant a value is sent as: the first that fits exactly, else the first that fits, else None."""
    for exact in (True, False):
        for variant in union.variants:
            if find_misfit(value, variant.type, place.inside(), exact=exact) is None:
                return variant
    return None


def check_outputs(outputs: Mapping[str, object], declared: Mapping[str, ValueType]) -> None:
    """Raise `InvalidOutputs` unless the outputs are the declared ones, by name and type.

    The message names every missing, surplus and wrongly typed output; `field` is the first of them.
    """
    problems: list[tuple[str, str]] = [
        (f"outputs.{name}", f"outputs.{name} is missing: return it as {describe(declared[name])}")
        for name in declared
        if name not in outputs
    ]
    problems += [
        (f"outputs.{name}", f"outputs.{name} is not declared: drop it or add it to the task's interface")
        for name in outputs
        if name not in declared
    ]
    for name, value_type in declared.items():
        if name in outputs:
            misfit = find_misfit(outputs[name], value_type, Place(f"outputs.{name}", InvalidOutputs))
            if misfit:
                problems.append((misfit.place.path, str(misfit)))
    if problems:
        raise InvalidOutputs(_join(text for _, text in problems), field=problems[0][0])


def guess_type(value: object, where: str = "value", *, error: Refusal = InvalidInputs) -> ValueType:
    """The type of a value that nobody declared one for, as flytekit guesses it.

    A dictionary of plain values is a struct, any other one a map; elements of several types make a union. Raises
    `error` for a value of no known kind.
    """
    return _guess(value, Place(where, error))


def enum_text(value: object) -> object:
    """The value of an `enum.Enum` member; anything else as it is."""
    return value.value if isinstance(value, enum.Enum) else value


def to_utc(value: datetime) -> datetime:
    """The same moment in UTC, a naive one taken as UTC; OverflowError outside the years 1 to 9999."""
    return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


def _guess(value: object, place: Place) -> ValueType:  # noqa: C901, PLR0911 - one case per kind of value
    if place.depth > MAX_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_DEPTH} levels; flatten it, or pass it as a file")
    for kind, simple in _PLAIN_TYPES.items():
        if isinstance(value, kind):
            return simple
    match value:
        case Blob():
            return BlobType(value.format, value.multipart)
        case Schema():
            return SchemaType(value.columns)
        case StructuredDataset():
            return StructuredDatasetType(value.columns, value.format)
        case Offloaded():
            return value.type or SimpleType.NONE
        case list() | tuple():
            return ListType(_unite(_guess(each, place.item(i)) for i, each in enumerate(value)))
        case Mapping():
            if find_misfit(value, SimpleType.STRUCT, place) is None:
                return SimpleType.STRUCT
            return MapType(_unite(_guess(each, place.key(key)) for key, each in value.items()))
    raise place.refusal(
        f"is a {_kind(value)}, which Flyte has no type for; pass plain values or an outboard value class"
    )


def _unite(types: Iterable[ValueType]) -> ValueType:
    distinct = tuple(dict.fromkeys(types)) or (SimpleType.NONE,)
    return distinct[0] if len(distinct) == 1 else UnionType.of(*distinct)


def _join(problems: Iterable[str]) -> str:
    listed = list(problems)
    hidden = len(listed) - _SHOWN_PROBLEMS
    return "; ".join(listed[:_SHOWN_PROBLEMS]) + (f"; and {hidden} more" if hidden > 0 else "")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _wrong_kind(value: object, value_type: ValueType, place: Place) -> Misfit:
    if isinstance(value_type, EnumType) and isinstance(enum_text(value), str):
        return Misfit(place, f"is not {describe(value_type)}; use one of these strings")
    return Misfit(place, f"must be {describe(value_type)}, not {_kind(value)}; convert it or declare its type")


def _find_simple_misfit(  # noqa: C901, PLR0911 - one case per kind of type
    value: object, value_type: SimpleType, place: Place, *, exact: bool
) -> Misfit | None:
    match value_type, value:
        case SimpleType.STRUCT, Mapping():
            return _find_plain_misfit(value, place)
        case (SimpleType.BOOLEAN, bool()) | (SimpleType.NONE, None) | (SimpleType.BINARY, bytes()):
            return None
        case (SimpleType.INTEGER | SimpleType.FLOAT, bool()):
            return _wrong_kind(value, value_type, place)
        case SimpleType.INTEGER, int():
            return _find_range_misfit(value, MIN_INTEGER, MAX_INTEGER, place)
        case SimpleType.FLOAT, float():
            return None
        case SimpleType.FLOAT, int() if not exact:
            return None if _is_float(value) else Misfit(place, "is too large for a float; pass it as a string")
        case SimpleType.STRING, str():
            return _find_text_misfit(value, place)
        case SimpleType.DATETIME, datetime():
            return (
                None
                if _is_in_calendar(value)
                else Misfit(place, "is no moment of the years 1 to 9999 in UTC; use None instead")
            )
        case SimpleType.DURATION, timedelta():
            within = abs(value) <= MAX_DURATION
            return (
                None if within else Misfit(place, "exceeds 10,000 years, the most a duration can say; use None instead")
            )
        case SimpleType.BINARY, Binary(bytes(), tag):
            return _find_text_misfit(tag, place.key("tag"))
        case SimpleType.ERROR, ErrorValue():
            return _find_text_misfit(value.message, place) or _find_text_misfit(value.failed_node_id, place)
    return _wrong_kind(value, value_type, place)


def _find_reference_misfit(
    value: object, declared: BlobType | SchemaType | StructuredDatasetType, place: Place, *, exact: bool
) -> Misfit | None:
    match declared, value:
        case BlobType(form, multipart), Blob():
            if value.multipart != multipart:
                return Misfit(place, f"must be {describe(declared)}; set multipart={multipart} on the blob")
            return _find_text_misfit(value.uri, place.key("uri")) or _find_format_misfit(
                value.format, form, place, exact=exact
            )
        case SchemaType(columns), Schema():
            return _find_text_misfit(value.uri, place.key("uri")) or _find_columns_misfit(
                value.columns, columns, place, exact=exact
            )
        case StructuredDatasetType(columns, form), StructuredDataset():
            return (
                _find_text_misfit(value.uri, place.key("uri"))
                or _find_format_misfit(value.format, form, place, exact=exact)
                or _find_columns_misfit(value.columns, columns, place, exact=exact)
            )
    return _wrong_kind(value, declared, place)


def _find_columns_misfit(columns: object, declared: tuple[Column, ...], place: Place, *, exact: bool) -> Misfit | None:
    if not isinstance(columns, tuple) or not all(isinstance(each, Column) for each in columns):
        return Misfit(place.key("columns"), "must be a tuple of Column(name, type); build it from these")
    if exact and declared and columns != declared:
        return Misfit(place.key("columns"), "are not the declared ones; give it those")
    return next(filter(None, (_find_text_misfit(each.name, place.key("columns")) for each in columns)), None)


def _find_format_misfit(form: str, declared: str, place: Place, *, exact: bool) -> Misfit | None:
    if not declared or form == declared or (not form and not exact):
        return _find_text_misfit(form, place.key("format"))
    return Misfit(place.key("format"), f"must be {declared!a}; convert the data or declare its format")


def _find_plain_misfit(value: object, place: Place) -> Misfit | None:  # noqa: PLR0911 - one case per kind of value
    """What in a struct's value is not plain: msgpack carries None, bool, 64-bit int, float, str, bytes, list, dict."""
    if place.depth > MAX_PLAIN_DEPTH:
        return Misfit(place, f"is nested deeper than {MAX_PLAIN_DEPTH} levels; flatten it, or pass it as a file")
    match value:
        case None | bool() | float() | bytes():
            return None
        case int():
            return _find_range_misfit(value, MIN_INTEGER, _MAX_UNSIGNED, place)
        case str():
            return _find_text_misfit(value, place)
        case list() | tuple():
            return next(filter(None, (_find_plain_misfit(each, place.item(i)) for i, each in enumerate(value))), None)
        case Mapping():
            found = (
                _find_key_misfit(key, place) or _find_plain_misfit(each, place.key(key)) for key, each in value.items()
            )
            return next(filter(None, found), None)
    return Misfit(place, f"is a {_kind(value)}, which a dict cannot carry; pass it as a string or a number")


def _find_offloaded_misfit(value: Offloaded, place: Place) -> Misfit | None:
    return _find_text_misfit(value.uri, place.key("uri")) or _find_range_misfit(
        value.size_bytes, 0, _MAX_UNSIGNED, place.key("size_bytes")
    )


def _find_key_misfit(key: object, place: Place) -> Misfit | None:
    if isinstance(key, str):
        return _find_text_misfit(key, place.key(key))
    return Misfit(place, f"has a key of type {_kind(key)}; Flyte's dictionaries have string keys, so use str(key)")


def _find_text_misfit(value: object, place: Place) -> Misfit | None:
    if not isinstance(value, str):
        return _wrong_kind(value, SimpleType.STRING, place)
    try:
        value.encode()
    except UnicodeEncodeError:
        return Misfit(place, "is not valid Unicode (it holds a lone surrogate); decode the bytes it came from properly")
    return None


def _find_range_misfit(value: object, low: int, high: int, place: Place) -> Misfit | None:
    if not isinstance(value, int):
        return _wrong_kind(value, SimpleType.INTEGER, place)
    if low <= value <= high:
        return None
    return Misfit(place, "does not fit in 64 bits; pass it as a string or a float")


def _is_float(value: int) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _is_in_calendar(value: datetime) -> bool:
    if value != value:  # noqa: PLR0124 - pandas' NaT is a datetime that equals nothing
        return False
    try:
        to_utc(value)
    except OverflowError:
        return False
    return True

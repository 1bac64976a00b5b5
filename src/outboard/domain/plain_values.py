"""Values of a declared type from plain ones: what JSON, YAML, msgpack or a protobuf Struct can say.

Plain data reaches typed inputs in two ways. A person writes a task's inputs in YAML or on the command line. And when a
workflow passes a *part* of a dictionary or dataclass on (`task_b(x=a.x)`), FlytePropeller cuts that part out of the
msgpack binary and sends it as a msgpack binary again, whatever type the receiving input has (flyte:
flytepropeller/pkg/controller/nodes/attr_path_resolver.go). flytekit reads these by the declared type; so do we.

The spellings are flytekit's (mashumaro's): ISO 8601 for datetimes, seconds for durations, `path` for files and
directories, `uri` and `file_format` for structured datasets, `remote_path` for schemas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from outboard.domain.conformity import choose_variant, find_misfit, to_utc
from outboard.domain.places import MAX_DEPTH, Place
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
from outboard.domain.values import Blob, Schema, StructuredDataset, restore_integers

_SHORT_ISO_FRACTION = re.compile(r"\.(\d{1,9})")


def read_plain(value: object, value_type: ValueType, place: Place) -> object:
    """The value of `value_type` that plain data stands for; refused at its place where it stands for none."""
    if place.depth > MAX_DEPTH:
        raise place.refusal(f"is nested deeper than {MAX_DEPTH} levels; flatten it, or pass it as a file")
    match value_type, value:
        case SimpleType.STRUCT, _:
            return value
        case ListType(element), list() | tuple():
            return [read_plain(each, element, place.item(i)) for i, each in enumerate(value)]
        case MapType(entry), Mapping():
            return {str(key): read_plain(each, entry, place.key(key)) for key, each in value.items()}
        case UnionType(), _:
            return _read_variant(value, value_type, place)
        case ((BlobType() | SchemaType() | StructuredDatasetType()), (Mapping() | str())):
            return _read_reference(value, value_type, place)
        case SimpleType(), _:
            value = _read_simple(value, value_type, place)
    misfit = find_misfit(value, value_type, place)
    if misfit:
        raise misfit.error()
    return value


def _read_variant(value: object, union: UnionType, place: Place) -> object:
    variant = choose_variant(value, union, place)
    for each in (variant,) if variant else union.variants:
        try:
            return read_plain(value, each.type, place.inside())
        except place.error:
            continue
    raise place.refusal(f"must be {describe(union)}; give it one of these types")


def _read_simple(value: object, value_type: SimpleType, place: Place) -> object:
    match value_type, value:
        case SimpleType.INTEGER, float():
            return restore_integers(value)
        case SimpleType.FLOAT, int() if not isinstance(value, bool) and find_misfit(value, value_type, place) is None:
            return float(value)
        case SimpleType.DATETIME, str():
            return _read_datetime(value, place)
        case SimpleType.DURATION, int() | float() if not isinstance(value, bool):
            return _read_duration(value, place)
    return value


def _read_datetime(text: str, place: Place) -> datetime:
    # Python 3.10 reads neither "Z" nor fractions of other lengths than 3 and 6; 3.11 does, and then this may go.
    spelled = text.replace("Z", "+00:00") if text.endswith("Z") else text
    spelled = _SHORT_ISO_FRACTION.sub(lambda found: "." + found[1][:6].ljust(6, "0"), spelled, count=1)
    try:
        return to_utc(datetime.fromisoformat(spelled))
    except (ValueError, OverflowError):
        raise place.refusal("is not a datetime; write it as 2024-01-31T12:00:00+00:00") from None


def _read_duration(seconds: float, place: Place) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        remedy = "a finite number of seconds" if math.isfinite(seconds) is False else "fewer seconds"
        raise place.refusal(f"is not a duration; give it {remedy}") from None


def _read_reference(
    value: Mapping[object, object] | str, declared: BlobType | SchemaType | StructuredDatasetType, place: Place
) -> Blob | Schema | StructuredDataset:
    fields = {} if isinstance(value, str) else value
    uri = (
        value
        if isinstance(value, str)
        else next((value[k] for k in ("uri", "path", "remote_path") if value.get(k)), None)
    )
    if not isinstance(uri, str):
        raise place.refusal(f"names no {describe(declared)}; give it an address under 'uri'")
    match declared:
        case BlobType():
            return Blob(uri, declared.format, declared.multipart)
        case SchemaType():
            return Schema(uri, declared.columns)
        case StructuredDatasetType():
            form = fields.get("file_format") or fields.get("format") or declared.format
            return StructuredDataset(uri, str(form), declared.columns)

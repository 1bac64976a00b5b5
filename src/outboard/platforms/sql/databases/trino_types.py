"""Columns of Trino: from the JSON of its protocol to Arrow, by the type signature that comes with each.

https://trino.io/docs/current/language/types.html
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa

from outboard.platforms.sql.databases.columns import ColumnType, unique

Read = Callable[[Any], Any]
_DEFAULT_DIGITS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_OFFSET: Final = re.compile(r"([+-])(\d{2}):(\d{2})")
_MOMENT: Final = re.compile(r"([+-]?\d+-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d+))?(?: (\S+))?")
_YEAR_LIMIT: Final = 4


def type_of(signature: Mapping[str, Any], sql: str) -> ColumnType:
    """Return what a column becomes, by its type signature; types that Parquet lacks become texts as Trino spells them."""
    arrow, read = _plan(signature)
    return ColumnType(arrow=arrow, sql=sql, read=read)


def _plan(signature: Mapping[str, Any]) -> tuple[Any, Read | None]:  # noqa: C901, PLR0911 - one line a kind
    name = str(signature["rawType"])
    arguments = [each["value"] for each in signature.get("arguments") or ()]
    simple = {
        "boolean": pa.bool_(),
        "tinyint": pa.int8(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "varchar": pa.string(),
        "char": pa.string(),
        "json": pa.string(),
        "uuid": pa.string(),
        "ipaddress": pa.string(),
        "unknown": pa.string(),
    }
    if name in simple:
        return simple[name], None
    if name in ("double", "real"):
        return (pa.float64() if name == "double" else pa.float32()), float
    if name == "decimal":
        return pa.decimal128(int(arguments[0]), int(arguments[1])), Decimal
    if name == "varbinary":
        return pa.binary(), base64.b64decode
    if name == "date":
        return pa.date32(), _date
    digits = int(arguments[0]) if arguments and str(arguments[0]).isdigit() else _DEFAULT_DIGITS
    unit = "ms" if digits <= 3 else "us" if digits <= 6 else "ns"
    if name in ("timestamp", "timestamp with time zone") and digits <= 9:
        zone = None if name == "timestamp" else "UTC"
        return pa.timestamp(unit, zone), lambda value: _moment(value, unit)
    if name == "time" and digits <= 9:
        return (pa.time32("ms") if unit == "ms" else pa.time64(unit)), lambda value: _time(value, unit)
    if name == "array":
        inner, read = _plan(arguments[0])
        return pa.list_(inner), None if read is None else lambda value: [_of(read, each) for each in value]
    if name == "map":
        return _map(arguments[0], arguments[1])
    if name == "row":
        return _row(arguments)
    return pa.string(), str


def _map(key: Mapping[str, Any], item: Mapping[str, Any]) -> tuple[Any, Read]:
    """JSON has text for every key; what it was shows in the type."""
    (key_type, read_key), (item_type, read_item) = _plan(key), _plan(item)
    if read_key is None and pa.types.is_integer(key_type):
        read_key = int
    if read_key is None and pa.types.is_boolean(key_type):
        read_key = {"true": True, "false": False}.__getitem__
    return pa.map_(key_type, item_type), lambda value: [
        (_of(read_key, each), _of(read_item, one)) for each, one in value.items()
    ]


def _row(arguments: list[Any]) -> tuple[Any, Read]:
    plans = [_plan(each["typeSignature"]) for each in arguments]
    given = [(each.get("fieldName") or {}).get("name") for each in arguments]
    names = unique([name or f"field{number}" for number, name in enumerate(given)])
    kind = pa.struct([pa.field(name, arrow) for name, (arrow, _) in zip(names, plans, strict=True)])
    reads = [read for _, read in plans]
    return kind, lambda value: {name: _of(read, each) for name, read, each in zip(names, reads, value, strict=True)}


def _of(read: Read | None, value: Any) -> Any:
    return value if value is None or read is None else read(value)


def _date(value: str) -> Any:
    if value.startswith("-") or value.index("-") != _YEAR_LIMIT:
        raise ValueError("a year that has not four digits")
    return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone


def _moment(value: str, unit: str) -> int:
    """Return how many units a moment is from 1970; a zone's name or offset stands behind it."""
    match = _MOMENT.fullmatch(value)
    if match is None or not match.group(1)[:1].isdigit() or match.group(1).index("-") != _YEAR_LIMIT:
        raise ValueError("a year that has not four digits")
    local = datetime.strptime(match.group(1), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - its zone comes next
    seconds: int = (_in_utc(local, match.group(3) or "UTC") - _EPOCH) // timedelta(seconds=1)
    places = {"ms": 3, "us": 6, "ns": 9}[unit]
    scale: int = 10**places
    return seconds * scale + int((match.group(2) or "").ljust(places, "0"))


def _in_utc(local: datetime, zone: str) -> datetime:
    offset = _OFFSET.fullmatch(zone)
    if offset:
        span = timedelta(hours=int(offset.group(2)), minutes=int(offset.group(3)))
        return local.replace(tzinfo=timezone(span if offset.group(1) == "+" else -span))
    try:
        known = timezone.utc if zone in ("UTC", "Z") else ZoneInfo(zone)
    except ZoneInfoNotFoundError:
        raise ValueError(f"no zone {zone} is known here; use AT TIME ZONE 'UTC'") from None
    first, second = local.replace(tzinfo=known), local.replace(tzinfo=known, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise ValueError(
            "Trino does not tell which of the two hours it is, as clocks are set back; use AT TIME ZONE 'UTC'"
        )
    return first


def _time(value: str, unit: str) -> Any:
    whole, _, fraction = value.partition(".")
    clock = time.fromisoformat(whole)
    places = {"ms": 3, "us": 6, "ns": 9}[unit]
    seconds = clock.hour * 3_600 + clock.minute * 60 + clock.second
    return seconds * 10**places + int(fraction.ljust(places, "0"))

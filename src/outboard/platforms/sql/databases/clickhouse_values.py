"""Parameters of ClickHouse: each value as a type and a text in the server's escaped form, which `param_<name>` carries.

In the statement stands `{p1:` NUL `}`: which type it is shows with the value only, and no SQL has a NUL.

https://clickhouse.com/docs/interfaces/http#cli-queries-with-parameters, https://clickhouse.com/docs/interfaces/formats/TabSeparated
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from outboard.platforms.sql.databases.clickhouse_errors import ClickHouseError

_BAD_ARGUMENTS: Final = 36
_INTEGERS: Final = (("Int64", -(1 << 63), 1 << 63), ("UInt64", 0, 1 << 64), ("Int256", -(1 << 255), 1 << 255))
_ESCAPES: Final = {
    ord("\\"): "\\\\",
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\0"): "\\0",
    ord("'"): "\\'",
}


def bound(sql: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """Return a statement with the types of its parameters, and the parameters by name."""
    parameters: dict[str, Any] = {}
    for number, value in enumerate(values, start=1):
        kind, parameters[f"p{number}"] = _typed(value)
        sql = sql.replace(f"{{p{number}:\0}}", f"{{p{number}:{kind}}}")
    return sql, parameters


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, list):
        kind = _common(value)
        return f"Array({kind})", "[" + ",".join(_element(each) for each in value) + "]"
    kind, text = _scalar(value)
    if isinstance(text, bytes):
        return kind, b"".join(_ESCAPES[each].encode() if each in _ESCAPES else bytes([each]) for each in text)
    return kind, text.translate(_ESCAPES) if kind == "String" else text


def _scalar(value: Any) -> tuple[str, Any]:  # noqa: PLR0911 - one line a kind
    if type(value).__name__ == "JsonValue":
        return "String", value.text
    if value is None:
        return "Nullable(Nothing)", "\\N"
    if isinstance(value, bool):
        return "Bool", "true" if value else "false"
    if isinstance(value, int):
        return _integer(value, value), str(value)
    if isinstance(value, float):
        return "Float64", repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, (str, bytes)):
        return "String", value
    if isinstance(value, datetime):
        return "DateTime64(6, 'UTC')", value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, timedelta):
        return "IntervalMicrosecond", str(value // timedelta(microseconds=1))
    raise ClickHouseError(_BAD_ARGUMENTS, "a list may hold numbers, texts, bools, datetimes; pass others as JSON")


def _integer(smallest: int, largest: int) -> str:
    for name, low, high in _INTEGERS:
        if low <= smallest and largest < high:
            return name
    raise ClickHouseError(_BAD_ARGUMENTS, "an integer has more than 256 bits")


def _common(values: Sequence[Any]) -> str:
    """Return the type of a list's elements: one for all, with room for the largest."""
    there = [value for value in values if value is not None]
    numbers = [value for value in there if type(value) is int]
    if not there:
        kind = "Nothing"
    elif len(numbers) == len(there):
        kind = _integer(min(numbers), max(numbers))
    else:
        kinds = {_scalar(value)[0] for value in there}
        if len(kinds) > 1 or any(isinstance(value, (bytes, timedelta)) for value in there):
            raise ClickHouseError(_BAD_ARGUMENTS, "a list must hold values of one type, and no bytes or durations")
        (kind,) = kinds
    return f"Nullable({kind})" if len(there) < len(values) else kind


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    kind, text = _scalar(value)
    return f"'{text.translate(_ESCAPES)}'" if kind == "String" or kind.startswith("DateTime") else str(text)

"""Inputs as bind variables of the SQL API: a type and a text each.

========================  =============  ========================================================
input                     binding        as text
========================  =============  ========================================================
int                       FIXED          digits
float                     REAL           shortest digits that give the number back
bool                      BOOLEAN        `true`, `false`
str, enum                 TEXT           itself
datetime                  TEXT           `2026-01-02 03:04:05.000006+00:00`
timedelta below a day     TIME           nanoseconds since midnight
bytes                     BINARY         hexadecimal
dict, dataclass           TEXT           JSON, for `PARSE_JSON(%(x)s)`
None                      its type's     null
========================  =============  ========================================================

A datetime goes as text since Snowflake's connector sends it so: text fits columns of all three timestamp types and means
the same in each, which no binding of a timestamp type does. A list becomes `?, ?, ?`, as the connector has it, for
`IN (%(ids)s)`.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/submitting-requests (bind variables; read 2026-11-22).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from outboard.domain.types import EnumType, MapType, SimpleType, UnionType, ValueType, describe
from outboard.errors import InvalidInputs

Binding = dict[str, Any]

_DAY: Final = timedelta(days=1)
_TYPES: Final[dict[object, str]] = {
    SimpleType.INTEGER: "FIXED",
    SimpleType.FLOAT: "REAL",
    SimpleType.BOOLEAN: "BOOLEAN",
    SimpleType.DURATION: "TIME",
    SimpleType.BINARY: "BINARY",
}


def binding_of(name: str, value: Any, declared: ValueType | None) -> Binding:
    """Return a value as a bind variable.

    Args:
        name: The input's, for messages.
        value: The input, or an element of it.
        declared: Its type, where the interface has one.

    Raises:
        InvalidInputs: No bind variable holds such a value.
    """
    kind = _single(declared)
    if value is None:
        return {"type": _TYPES.get(kind, "TEXT"), "value": None}
    if isinstance(value, timedelta):
        return {"type": "TIME", "value": _time(name, value)}
    for python, sql, spell in _SPELLINGS:
        if isinstance(value, python):
            return {"type": sql, "value": spell(value)}
    if isinstance(value, (dict, list)) and (kind in (None, SimpleType.STRUCT) or isinstance(kind, MapType)):
        return {"type": "TEXT", "value": _json(name, value)}
    shown = describe(declared) if declared is not None else type(value).__name__
    raise InvalidInputs(
        f"inputs.{name} is of the type {shown}, which no bind variable holds; "
        "give a number, text, bool, datetime, timedelta, bytes, a list of such, or a dict as JSON",
        field=f"inputs.{name}",
    )


def _single(declared: ValueType | None) -> ValueType | None:
    """Return the type of an optional input without the option."""
    if isinstance(declared, UnionType):
        return next((each.type for each in declared.variants if each.type is not SimpleType.NONE), None)
    return SimpleType.STRING if isinstance(declared, EnumType) else declared


def _moment(value: datetime) -> str:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).isoformat(sep=" ", timespec="microseconds")


def _json(name: str, value: Any) -> str:
    def plain(part: object) -> str:
        if isinstance(part, datetime):
            return part.isoformat()
        raise TypeError

    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInputs(
            f"inputs.{name} holds what JSON cannot; give plain values", field=f"inputs.{name}"
        ) from None


def _time(name: str, value: timedelta) -> str:
    if not timedelta(0) <= value < _DAY:
        raise InvalidInputs(
            f"inputs.{name} is no time of a day, which is what Snowflake makes of a timedelta; pass seconds as a float",
            field=f"inputs.{name}",
        )
    return str((value.seconds * 1_000_000 + value.microseconds) * 1_000)


_SPELLINGS: Final[Sequence[tuple[type, str, Callable[[Any], str]]]] = (
    (bool, "BOOLEAN", lambda value: str(value).lower()),
    (int, "FIXED", str),
    (float, "REAL", repr),
    (str, "TEXT", str),
    (bytes, "BINARY", bytes.hex),
    (datetime, "TEXT", _moment),
)

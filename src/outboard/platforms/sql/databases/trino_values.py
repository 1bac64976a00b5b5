"""Parameters of Trino, as literals of its grammar: https://trino.io/docs/current/language/types.html.

A text stands in single quotes, in which a doubled quote is the only escape; whatever else it holds is itself. All other values
are spelled from digits, letters and a few signs that we write ourselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from outboard.platforms.sql.databases.trino_errors import TrinoError


def with_values(sql: str, values: Sequence[Any]) -> str:
    """Return what runs a statement with its parameters."""
    if not values:
        return sql
    return f"EXECUTE IMMEDIATE {_text(sql)} USING {', '.join(literal(value) for value in values)}"


def literal(value: Any) -> str:  # noqa: C901, PLR0911 - one line a kind
    """Return a value as a literal of its type.

    Raises:
        TrinoError: Trino has no such value.
    """
    if type(value).__name__ == "JsonValue":
        return f"JSON {_text(value.text)}"
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "nan()" if math.isnan(value) else "infinity()" if value > 0 else "-infinity()"
        return f"DOUBLE '{value!r}'"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(timezone.utc).strftime('%Y-%m-%d %H:%M:%S.%f')} UTC'"
    if isinstance(value, timedelta):
        return _span(value)
    if isinstance(value, list):
        return f"ARRAY[{', '.join(literal(each) for each in value)}]"
    raise TrinoError("INVALID_ARGUMENTS", "USER_ERROR", "Trino has no parameter of this type")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _integer(value: int) -> str:
    if -(1 << 63) <= value < 1 << 63:
        return f"BIGINT '{value}'"
    if abs(value) < 10**38:
        return f"DECIMAL '{value}'"
    raise TrinoError("NUMERIC_VALUE_OUT_OF_RANGE", "USER_ERROR", "an integer has more than 38 digits")


def _span(value: timedelta) -> str:
    milliseconds, rest = divmod(value // timedelta(microseconds=1), 1_000)
    if rest:
        raise TrinoError("INVALID_ARGUMENTS", "USER_ERROR", "Trino's intervals have milliseconds and no less")
    sign = "-" if milliseconds < 0 else ""
    seconds, thousandths = divmod(abs(milliseconds), 1_000)
    return f"INTERVAL {sign}'{seconds}.{thousandths:03}' SECOND"

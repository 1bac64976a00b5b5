"""Execution parameters: the values of `?`, spelled as literals of their types.

Athena takes each parameter as text and reads it as an expression: `'it''s'` is a string, `5` a number, and what is no
expression or holds a bare name is taken for a string. So every value here is a whole literal of its type, in which quotes are
doubled; nothing that a user writes can be anything but the content of a literal.

==================================  =================================================
an input of the type                is
==================================  =================================================
int, bool                           `5`, `-5`, `true`
float                               `1.5E0`; `nan()`, `infinity()`
str, enum, file, dataset            `'...'`; of files and datasets the address
datetime                            `TIMESTAMP '2026-11-22 20:00:00.000'` in UTC
timedelta                           `INTERVAL '90.5' SECOND`
bytes                               `X'00ff'`
dict, dataclass                     `JSON '{...}'`
list                                `ARRAY[...]`
None                                `NULL`
==================================  =================================================

Sources: https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html (literals; 1,024 characters each by
the API's model), read 2026-11-22; the literals' grammar is Trino's. How Athena tells expressions from strings was measured by the
makers of athena-local on 2026-09-14.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from outboard.domain.templates import TemplateValues, render_args
from outboard.domain.values import Binary, Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.athena.statement import Place

LONGEST: Final = 1024
_INT64: Final = range(-(2**63), 2**63)
_NOT_IN_SQL: Final = re.compile(r"[\x00\ud800-\udfff]")


def execution_parameters(places: tuple[Place, ...], inputs: Mapping[str, Any]) -> list[str]:
    """Return the API's `ExecutionParameters`.

    Raises:
        InvalidInputs: An input is nothing that SQL has a literal for, or too long; `field` names it.
    """
    return [_checked(_spelled(place, inputs[place.name]), place.name) for place in places]


def literal(value: object, where: str) -> str:
    """Return a value as a literal of Trino's SQL; `InvalidInputs` where it has none."""
    if value is None:
        return "NULL"
    if isinstance(value, Enum):
        return literal(value.value, where)
    spell = next((spell for kinds, spell in _SPELLINGS if isinstance(value, kinds)), None)
    if spell is None:
        raise InvalidInputs(
            f"{where} is {type(value).__name__}, which Athena takes no parameter of; give a text", field=where
        )
    return spell(value, where)


def _spelled(place: Place, value: object) -> str:
    where = f"inputs.{place.name}"
    if not place.is_text:
        return literal(value, where)
    if place.cast and isinstance(value, datetime):
        value = _utc(value)
        return f"DATE '{value.date().isoformat()}'" if place.cast == "DATE" else literal(value, where)
    try:
        text = render_args(["{{ .inputs.value }}"], TemplateValues(inputs={"value": value}))[0]
    except InvalidTask:
        raise InvalidInputs(
            f"{where} is {type(value).__name__}, which has no text within quotes", field=where
        ) from None
    return _quoted(text, where)


def _checked(text: str, name: str) -> str:
    if len(text) > LONGEST:
        raise InvalidInputs(
            f"inputs.{name} takes {len(text)} characters as a parameter, and Athena takes {LONGEST}; "
            "put the values into a table, or give fewer",
            field=f"inputs.{name}",
        )
    return text


def _number(value: bool | float | Decimal, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"DECIMAL '{value:f}'"
    if isinstance(value, int):
        if value not in _INT64:
            raise InvalidInputs(f"{where} is beyond 64 bits, which no type of Athena holds", field=where)
        return str(value)
    if math.isnan(value):
        return "nan()"
    if math.isinf(value):
        return "infinity()" if value > 0 else "-infinity()"
    mantissa, _, power = repr(value).partition("e")
    return f"{mantissa}E{int(power or 0)}"


def _time(value: date | timedelta, where: str) -> str:  # noqa: ARG001 - one signature for all
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        sign, size = ("-", -micros) if micros < 0 else ("", micros)
        seconds, rest = divmod(size, 1_000_000)
        # Trino's intervals count milliseconds.
        return f"INTERVAL {sign}'{seconds}.{rest // 1000:03d}' SECOND"
    if not isinstance(value, datetime):
        return f"DATE '{value.isoformat()}'"
    utc = _utc(value).replace(tzinfo=None)
    precision = "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return f"TIMESTAMP '{utc.isoformat(' ', precision)}'"


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc) if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)


def _json(value: object, where: str) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInputs(f"{where} holds what JSON cannot; give plain values", field=where) from None


def _quoted(text: str, where: str) -> str:
    if _NOT_IN_SQL.search(text):
        raise InvalidInputs(
            f"{where} holds a character that SQL cannot (NUL, or half of one); take it out", field=where
        )
    return "'" + text.replace("'", "''") + "'"


def _bytes(value: bytes | bytearray | Binary, where: str) -> str:  # noqa: ARG001 - one signature for all
    return f"X'{bytes(value.value if isinstance(value, Binary) else value).hex()}'"


def _array(value: Sequence[object], where: str) -> str:
    return f"ARRAY[{', '.join(literal(each, f'{where}[{i}]') for i, each in enumerate(value))}]"


_SPELLINGS: Final[Sequence[tuple[tuple[type, ...], Callable[[Any, str], str]]]] = (
    ((bool, int, float, Decimal), _number),
    ((date, timedelta), _time),
    ((str,), _quoted),
    ((Blob, Schema, StructuredDataset), lambda value, where: _quoted(value.uri, where)),
    ((bytes, bytearray, Binary), _bytes),
    ((list, tuple), _array),
    ((Mapping,), lambda value, where: f"JSON {_quoted(_json(value, where), where)}"),
)

"""Query parameters from a task's typed inputs: bound by name and type, never put into the SQL.

Values are spelled as the API takes them (`QueryParameterValue`): every scalar as text. What a task declares without giving an
input of that name is passed on as it is.

Source: the discovery document, revision 20261009; the spellings of dates and times from "Data types", section "Canonical format"
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Final

from outboard.domain.conformity import guess_type
from outboard.domain.types import Interface
from outboard.domain.values import Binary, Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.bigquery.parameter_types import ParameterType, declared_type, default_type

_INT64: Final = range(-(2**63), 2**63)
_WHERE: Final = "custom.queryParameters"


class _Misfit(Exception):
    """A value is not of its parameter's type."""


def query_parameters(
    declared: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any], interface: Interface, datetime_name: str
) -> list[dict[str, Any]]:
    """Return the API's `queryParameters`: one per input, and what the task declares beside them.

    Args:
        declared: What the task's `QueryJobConfig` declares.
        inputs: The task's inputs.
        interface: Their types.
        datetime_name: What a datetime is unless declared.

    Raises:
        InvalidTask: A declaration is wrong, or positional where inputs come by name.
        InvalidInputs: An input is no BigQuery parameter, or not of its declared type; `field` names it.
    """
    by_name = {str(each["name"]): each for each in declared if each.get("name")}
    if inputs and len(by_name) < len(declared):
        raise InvalidTask(
            f"{_WHERE} has a parameter without a name, and inputs are bound by name; name it, or take the inputs away",
            field=_WHERE,
        )
    bound = [_bind(name, by_name.get(name), inputs, interface, datetime_name) for name in inputs]
    return [*bound, *(dict(each) for each in declared if each.get("name") not in inputs)]


def _bind(
    name: str, declared: Mapping[str, Any] | None, inputs: Mapping[str, Any], interface: Interface, datetime_name: str
) -> dict[str, Any]:
    where = f"inputs.{name}"
    value = inputs[name]
    if declared is not None:
        kind = declared_type(declared.get("parameterType"), f"{_WHERE}.{name}")
    else:
        known = default_type(interface.inputs[name], where, datetime_name) if name in interface.inputs else None
        kind = known or default_type(guess_type(value, where), where, datetime_name) or ParameterType("JSON")
    return {"name": name, "parameterType": kind.to_json(), "parameterValue": _spell(value, kind, where)}


def _spell(value: object, kind: ParameterType, where: str) -> dict[str, Any]:
    """Return the API's `QueryParameterValue`."""
    if value is None:
        return {"value": None}
    if kind.element is not None:
        if not isinstance(value, (list, tuple)):
            raise _refusal(value, kind, where)
        return {"arrayValues": [_spell(each, kind.element, f"{where}[{i}]") for i, each in enumerate(value)]}
    if kind.name == "STRUCT":
        if not isinstance(value, Mapping):
            raise _refusal(value, kind, where)
        surplus = sorted(str(name) for name in set(value) - {name for name, _ in kind.fields})
        if surplus:
            raise InvalidInputs(
                f"{where} has the field {surplus[0]!r}, which its STRUCT lacks; declare it", field=where
            )
        fields = {name: _spell(value.get(name), field, f"{where}.{name}") for name, field in kind.fields}
        return {"structValues": fields}
    try:
        return {"value": _SPELLINGS[kind.name](value)}
    except (_Misfit, ValueError, OverflowError, InvalidOperation, RecursionError):
        raise _refusal(value, kind, where) from None


def _refusal(value: object, kind: ParameterType, where: str) -> InvalidInputs:
    return InvalidInputs(f"{where} is {type(value).__name__} and cannot be {kind}; give a value of it", field=where)


def _int64(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise _Misfit
    return str(value)


def _float64(value: object) -> str:
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Misfit
    number = float(value)
    if math.isnan(number):
        return "NaN"
    return repr(number) if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


def _numeric(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise _Misfit
    number = Decimal(value if not isinstance(value, float) else repr(value))
    if not number.is_finite():
        raise _Misfit
    return format(number, "f")


def _bool(value: object) -> str:
    if not isinstance(value, bool):
        raise _Misfit
    return "true" if value else "false"


def _string(value: object) -> str:
    if isinstance(value, (Blob, Schema, StructuredDataset)):
        return value.uri
    if isinstance(value, Enum):
        value = value.value
    if not isinstance(value, str):
        raise _Misfit
    return value


def _bytes(value: object) -> str:
    content = value.value if isinstance(value, Binary) else value.encode() if isinstance(value, str) else value
    if not isinstance(content, (bytes, bytearray)):
        raise _Misfit
    return base64.b64encode(content).decode()


def _json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except TypeError:
        raise _Misfit from None


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if not isinstance(value, datetime):
        raise _Misfit
    return value.astimezone(timezone.utc) if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)


def _timestamp(value: object) -> str:
    return _moment(value).isoformat(" ", "microseconds")


def _datetime(value: object) -> str:
    return _moment(value).replace(tzinfo=None).isoformat("T", "microseconds")


def _date(value: object) -> str:
    if isinstance(value, str):
        return date.fromisoformat(value).isoformat()
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return _moment(value).date().isoformat()


def _time(value: object) -> str:
    if isinstance(value, str):
        return time.fromisoformat(value).isoformat("microseconds")
    if isinstance(value, time):
        return value.isoformat("microseconds")
    return _moment(value).time().isoformat("microseconds")


def _interval(value: object) -> str:
    if not isinstance(value, timedelta):
        raise _Misfit
    sign, size = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(size.days * 86_400 + size.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"0-0 0 {sign}{hours}:{minutes}:{seconds}.{size.microseconds:06d}"


_SPELLINGS: Final[Mapping[str, Callable[[object], str]]] = {
    "INT64": _int64,
    "FLOAT64": _float64,
    "NUMERIC": _numeric,
    "BIGNUMERIC": _numeric,
    "BOOL": _bool,
    "STRING": _string,
    "GEOGRAPHY": _string,
    "BYTES": _bytes,
    "JSON": _json,
    "DATE": _date,
    "DATETIME": _datetime,
    "TIME": _time,
    "TIMESTAMP": _timestamp,
    "INTERVAL": _interval,
}

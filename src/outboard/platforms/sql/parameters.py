"""Turns a task's inputs into values that travel to the worker as JSON.

What JSON lacks is tagged: `{"datetime": "2026-01-31T12:00:00+00:00"}`, `{"duration": microseconds}`, `{"bytes": base64}`,
and so is every dictionary, which becomes JSON in the database. Tables, files and schemas are no parameters: they are data
elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from outboard.domain.values import Binary
from outboard.errors import InvalidInputs

_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
_MOST_BYTES: Final = 1 << 20


def encode_inputs(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the inputs of these names as `values.decode` reads them.

    Raises:
        InvalidInputs: An input is of a kind that no parameter has, or too large.
    """
    encoded = {name: _encode(name, inputs[name]) for name in dict.fromkeys(names)}
    if len(json.dumps(encoded)) > _MOST_BYTES:
        raise InvalidInputs("the SQL's parameters exceed 1 MiB; load large data into a table and join it")
    return encoded


def _encode(name: str, value: Any) -> Any:
    if isinstance(value, Binary):
        value = value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, str) and _UNFIT.search(value):
            raise InvalidInputs(
                f"inputs.{name} holds a NUL character or half a character, which SQL texts cannot",
                field=f"inputs.{name}",
            )
        return value
    if isinstance(value, datetime):
        return {"datetime": (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).isoformat()}
    if isinstance(value, timedelta):
        return {"duration": value // timedelta(microseconds=1)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        try:
            return {"json": json.dumps(dict(value), allow_nan=False)}
        except (TypeError, ValueError):
            raise _refusal(name, "a dict that is no JSON") from None
    if isinstance(value, Sequence):
        return [_encode(name, each) for each in value]
    raise _refusal(name, type(value).__name__)


def _refusal(name: str, kind: str) -> InvalidInputs:
    return InvalidInputs(
        f"inputs.{name} is of the type {kind}, which no SQL parameter has; "
        "give a number, text, bool, datetime, timedelta, bytes, dict (JSON), or a list of these",
        field=f"inputs.{name}",
    )

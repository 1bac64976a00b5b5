"""Outputs as JSON: every kind of value has one spelling.

Datetimes are ISO 8601 in UTC, durations seconds; these and references are spelled as task files take them. References are
objects: `{"uri", "format", "multipart"}` for blobs, `{"uri", "format", "columns"}` for structured datasets (columns by name and
type). Bytes are `{"base64", "tag"}`. JSON has no NaN and no infinity; they are the texts "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel

from outboard.domain.conformity import to_utc
from outboard.domain.types import Column
from outboard.domain.values import Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset


def to_json(value: object) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case per kind of value
    """Return a value as `json.dumps` takes it.

    >>> to_json({"took": timedelta(minutes=1), "table": StructuredDataset("s3://b/t", "parquet")})
    {'took': 60.0, 'table': {'uri': 's3://b/t', 'format': 'parquet', 'columns': {}}}
    """
    match value:
        case Enum():
            return to_json(value.value)
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else _unbounded(value)
        case datetime():
            return to_utc(value).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case Blob():
            return {"uri": value.uri, "format": value.format, "multipart": value.multipart}
        case StructuredDataset():
            return {"uri": value.uri, "format": value.format, "columns": _columns(value.columns)}
        case Schema():
            return {"uri": value.uri, "columns": _columns(value.columns)}
        case Binary():
            return {"base64": _base64(value.value), "tag": value.tag}
        case bytes() | bytearray():
            return {"base64": _base64(value), "tag": ""}
        case ErrorValue():
            return {"message": value.message, "failed_node_id": value.failed_node_id}
        case Offloaded():
            return {"uri": value.uri, "size_bytes": value.size_bytes}
        case BaseModel():
            return to_json(value.model_dump())
        case Mapping():
            return {str(to_json(key)): to_json(each) for key, each in value.items()}
        case Sequence() | set() | frozenset():
            return [to_json(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return str(value)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Return a value as one JSON document."""
    return json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, indent=indent)


def handle_text(handle: bytes | None) -> str | None:
    """Return a handle as commands take it: base64 alone."""
    return None if handle is None else _base64(handle)


def _unbounded(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _columns(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: str(column.type) for column in columns}


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")

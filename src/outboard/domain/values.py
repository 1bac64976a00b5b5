"""Values of the kinds that Python lacks, as agents read and return them.

Everything else is plain Python: `int`, `float`, `str`, `bool`, aware UTC `datetime`, `timedelta`, `None`, `list`,
`dict`. A reference (`Blob`, `Schema`, `StructuredDataset`, `Offloaded`) names data; nothing here reads it.

All are immutable, hashable and compare by content. An empty format or no columns means "as declared": the interface's
own fill the gap when the value is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from outboard.domain.types import Column, ValueType

MSGPACK = "msgpack"
"""The tag of Flyte's structured binaries: dictionaries, dataclasses and pydantic models (flyteorg/flyte RFC 5741)."""

_EXACT_FLOAT = 2**53


@dataclass(frozen=True, slots=True)
class Blob:
    """A file, or with `multipart` a directory, by its address."""

    uri: str
    format: str = ""
    multipart: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """A table in Flyte's older form: a directory of Parquet files by its address."""

    uri: str
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class StructuredDataset:
    """A table by its address (`s3://...` with format `parquet`, `bq://...` with format `bigquery`)."""

    uri: str
    format: str = ""
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Binary:
    """Raw bytes and the tag that says what they are; an empty tag says nothing."""

    value: bytes
    tag: str = ""


@dataclass(frozen=True, slots=True)
class ErrorValue:
    """An error as a value, as Flyte hands it to a workflow's failure node."""

    message: str
    failed_node_id: str = ""


@dataclass(frozen=True, slots=True)
class Offloaded:
    """A value too large to travel: the address of its serialized literal, its size, and its type where known."""

    uri: str
    size_bytes: int
    type: ValueType | None = None


@overload
def restore_integers(value: dict[str, object]) -> dict[str, object]: ...
@overload
def restore_integers(value: object) -> object: ...
def restore_integers(value: object) -> object:
    """The same plain value with whole floats below 2**53 as integers, in dictionaries and lists too.

    A protobuf `Struct` knows only doubles, so every integer that went through one arrives as a float. Floats that
    were whole from the start become integers as well: nothing on the wire tells them apart.
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT_FLOAT else value
    if isinstance(value, dict):
        return {key: restore_integers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [restore_integers(each) for each in value]
    return value

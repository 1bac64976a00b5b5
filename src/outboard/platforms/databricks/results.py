"""What a SQL task wants of its result, and the rows of a small one as values.

A task may declare one table (a structured dataset, or a file in Parquet), which the result is written to; or one list of
dictionaries, which holds up to 10,000 rows; and an integer for their number. Other outputs no statement gives.

Rows come as texts, with types in the manifest: they become numbers, bools and JSON again. A DECIMAL stays a text, which
loses nothing, as do dates, times and intervals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outboard.domain.types import BlobType, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.errors import InvalidTask
from outboard.platforms.databricks.client import Json, objects

MOST_ROWS: Final = 10_000
"""Rows that come as values; more belong into a table."""

_INTEGERS: Final = frozenset({"BYTE", "SHORT", "INT", "LONG"})
_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
_NESTED: Final = frozenset({"ARRAY", "MAP", "STRUCT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which outputs a task declares.

    Attributes:
        table: The name of the table; empty without one.
        is_file: It is a file and no structured dataset.
        rows: The name of the list of rows.
        count: The name of their number.
    """

    table: str = ""
    is_file: bool = False
    rows: str = ""
    count: str = ""

    @classmethod
    def of(cls, declared: Mapping[str, ValueType]) -> Wanted:
        """Return what a task's interface declares.

        Raises:
            InvalidTask: An output is of a kind that no statement gives, or there are two results.
        """
        found: dict[str, str] = {}
        for name, kind in declared.items():
            part = _part(kind)
            clash = part in found or (part in ("table", "rows") and {"table", "rows"} & set(found))
            if part is None or clash:
                raise InvalidTask(
                    f"outputs.{name} is nothing that a SQL statement gives; declare one structured dataset, file (Parquet) or "
                    "list of dictionaries and, if wanted, an int for the number of rows",
                    field=f"interface.outputs.{name}",
                )
            found[part] = name
        is_file = isinstance(declared.get(found.get("table", "")), BlobType)
        return cls(is_file=is_file, **found)


def columns_of(answer: Json) -> list[Json]:
    """Return the columns of a statement's result, in their order."""
    manifest = answer.get("manifest")
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    return objects(schema.get("columns")) if isinstance(schema, dict) else []


def row_count(answer: Json) -> int:
    """Return how many rows a statement's result has."""
    manifest = answer.get("manifest")
    count = manifest.get("total_row_count") if isinstance(manifest, dict) else 0
    return int(count) if isinstance(count, (int, str)) and str(count).isdigit() else 0


def rows_of(columns: Sequence[Json], chunk: Json) -> list[dict[str, Any]]:
    """Return the rows of a chunk in JSON."""
    data = chunk.get("data_array")
    names = [str(column.get("name", "")) for column in columns]
    kinds = [str(column.get("type_name", "STRING")) for column in columns]
    return [
        {name: _value(kind, text) for name, kind, text in zip(names, kinds, row, strict=False)}
        for row in (data if isinstance(data, list) else [])
    ]


def _value(kind: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        if kind in _INTEGERS:
            return int(text)
        if kind in _FLOATS:
            return float(text)
        if kind in _NESTED:
            return json.loads(text)
    except ValueError:
        return text
    return text.lower() == "true" if kind == "BOOLEAN" else text


def _part(kind: ValueType) -> str | None:
    if kind is SimpleType.INTEGER:
        return "count"
    if isinstance(kind, ListType) and kind.element is SimpleType.STRUCT:
        return "rows"
    if isinstance(kind, BlobType):
        return "table" if not kind.multipart and kind.format.lower() in ("", "parquet") else None
    return "table" if isinstance(kind, StructuredDatasetType) and kind.format.lower() in ("", "parquet") else None

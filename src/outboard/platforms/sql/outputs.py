"""Which of a task's outputs is the result, where it goes, and what Flyte gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outboard.detached.result_columns import columns_of
from outboard.domain.types import BlobType, SchemaType, SimpleType, StructuredDatasetType, ValueType
from outboard.domain.values import Blob, Schema, StructuredDataset
from outboard.errors import InvalidTask

ROWS: Final = "rows"
SCHEMA_FILE: Final = "00000.parquet"


def declared_of(outputs: Mapping[str, ValueType]) -> dict[str, Any]:
    """Return what a task declares, in the form that marks keep.

    Raises:
        InvalidTask: An output is of a kind that no statement gives, or there are several tables.
    """
    declared: dict[str, Any] = {"table": "", "kind": "", "has_rows": False}
    for name, kind in outputs.items():
        if name == ROWS and kind is SimpleType.INTEGER:
            declared["has_rows"] = True
            continue
        form = _form(kind)
        if not form or declared["table"]:
            raise InvalidTask(
                f"outputs.{name} is nothing that a statement gives; "
                "declare one structured dataset, schema or file (Parquet) and, if wanted, an int called rows",
                field=f"interface.outputs.{name}",
            )
        declared.update(table=name, kind=form)
    return declared


def address_of(declared: Mapping[str, Any], prefix: str) -> str:
    """Return where the result goes; empty where no table is declared."""
    if not declared["table"]:
        return ""
    place = f"{prefix.rstrip('/')}/{declared['table']}"
    return f"{place}/{SCHEMA_FILE}" if declared["kind"] == "schema" else place


def values_of(end: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of a statement that succeeded, by name, from its `end` mark."""
    declared, result = end.get("declared") or {}, end.get("result") or {}
    rows = result.get("rows")
    values: dict[str, Any] = {}
    if declared.get("has_rows"):
        values[ROWS] = int(rows if rows is not None else end.get("affected") or 0)
    if declared.get("table") and result:
        columns = columns_of(result.get("columns", ()))
        uri = str(result.get("uri", ""))
        kind = declared.get("kind")
        if kind == "schema":
            values[declared["table"]] = Schema(uri.rpartition("/")[0], columns)
        elif kind == "blob":
            values[declared["table"]] = Blob(uri, "parquet")
        else:
            values[declared["table"]] = StructuredDataset(uri, "parquet", columns)
    return values


def _form(kind: ValueType) -> str:
    if isinstance(kind, StructuredDatasetType) and kind.format.lower() in ("", "parquet"):
        return "dataset"
    if isinstance(kind, SchemaType):
        return "schema"
    if isinstance(kind, BlobType) and not kind.multipart and kind.format.lower() in ("", "parquet"):
        return "blob"
    return ""

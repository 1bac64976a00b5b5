"""Queries of a fake Athena: what a statement does, and for simple ones its rows, computed by DuckDB.

A statement arrives with a comment behind it and, where its rows are wanted as Parquet, within an UNLOAD; `Statement` takes both
apart. Execution parameters are read as Athena reads them, measured by the makers of athena-local on 2026-09-14: what is an
expression without names counts as that expression, anything else as a string.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from outboard.testing.ledger import Course

_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_UNLOAD: Final = re.compile(r"\s*UNLOAD\s*\((?P<inner>.*)\)\s*TO\s*'(?P<place>[^']*)'.*", re.IGNORECASE | re.DOTALL)
_TYPES: Final = (
    *(("BIGINT", "bigint"), ("INTEGER", "integer"), ("SMALLINT", "smallint"), ("TINYINT", "tinyint")),
    *(("HUGEINT", "decimal"), ("DOUBLE", "double"), ("FLOAT", "float"), ("DECIMAL", "decimal")),
    *(
        ("BOOLEAN", "boolean"),
        ("VARCHAR", "varchar"),
        ("DATE", "date"),
        ("TIMESTAMP", "timestamp"),
        ("BLOB", "varbinary"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeQuery:
    """What a statement does.

    Attributes:
        course: How its query goes.
        statement_type: `DML`, `DDL` or `UTILITY`.
        substatement_type: `SELECT`, `CREATE_TABLE_AS_SELECT` ...
        bytes_scanned: What it reads.
        error: The `AthenaError` that it ends with, where the course says `FAILED`; None gives words only.
        reason: The words of its end.
        refused: Status, exception, code of Athena's own and words that StartQueryExecution answers instead.
        is_reused: An earlier result is given again.
        dpu_count: Processing units, where it runs on reserved capacity.
        has_location: False where the workgroup keeps results itself.
    """

    course: Course = field(default_factory=Course)
    statement_type: str = "DML"
    substatement_type: str = "SELECT"
    bytes_scanned: int = 5 * 2**30
    error: tuple[int, int, bool | None] | None = (2, 1301, False)
    reason: str = "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.shop.nowhere' does not exist"
    refused: tuple[int, str, str, str] | None = None
    is_reused: bool = False
    dpu_count: float | None = None
    has_location: bool = True


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement taken apart.

    Attributes:
        sql: Without comments and UNLOAD.
        place: Where an UNLOAD writes; empty for other statements.
    """

    sql: str
    place: str = ""

    @classmethod
    def of(cls, text: str) -> Statement:
        """Return the parts of what was sent."""
        bare = _COMMENT.sub(" ", text).strip()
        found = _UNLOAD.fullmatch(bare)
        return cls(found["inner"].strip(), found["place"]) if found else cls(bare)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gives.

    Attributes:
        columns: Names and Athena's types.
        rows: Values as text; None is NULL.
        parquet: The same as a Parquet file.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str | None, ...], ...]
    parquet: bytes

    def csv(self) -> bytes:
        """Return them as Athena writes its files: everything quoted but NULL."""
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([name for name, _ in self.columns])
        for row in self.rows:
            out.write(",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row) + "\n")
        return out.getvalue().encode()


class Malformed(Exception):
    """A statement is not SQL."""


class Failed(Exception):
    """A query fails; the words are Athena's `StateChangeReason`, the number its error type."""

    def __init__(self, words: str, number: int) -> None:
        super().__init__(words)
        self.number = number


class Tables:
    """A catalog of tables, and the engine that queries them.

    Args:
        setup: Statements that make the tables.
    """

    def __init__(self, setup: Sequence[str] = ()) -> None:
        import duckdb  # noqa: PLC0415 - fakes without tables need none

        self._duckdb = duckdb
        self._connection = duckdb.connect()
        for statement in setup:
            self._connection.execute(statement)

    def run(self, sql: str, parameters: Sequence[str]) -> Rows:
        """Return a query's rows; `Malformed` and `Failed` as Athena has them."""
        try:
            self._connection.extract_statements(sql)
        except self._duckdb.Error as error:
            raise Malformed(str(error)) from None
        cursor = self._connection.cursor()
        values = [self._value(text) for text in parameters]
        asks = sum(1 for token in re.findall(r"'(?:[^']|'')*'|\"[^\"]*\"|(\?)", sql) if token)
        if asks and asks != len(values):
            raise Failed(f"INVALID_PARAMETER_USAGE: Incorrect number of parameters: expected {asks}", 1006)
        try:
            found: Any = cursor.sql(sql, params=values if asks else None)
            table: Any = found.to_arrow_table()
        except self._duckdb.CatalogException as error:
            raise Failed(f"TABLE_NOT_FOUND: {error}", 1301) from None
        except self._duckdb.BinderException as error:
            raise Failed(f"COLUMN_NOT_FOUND: {error}", 1006) from None
        except self._duckdb.Error as error:
            raise Failed(f"GENERIC_USER_ERROR: {error}", 1001) from None
        columns = tuple((name, athena_type(str(kind))) for name, kind in zip(found.columns, found.types, strict=True))
        rows = tuple(tuple(text_of(cell) for cell in row.values()) for row in table.to_pylist())
        return Rows(columns, rows, _parquet(table))

    def _value(self, text: str) -> Any:
        """Return the value of an execution parameter."""
        try:
            found = self._connection.cursor().execute(f"SELECT ({text}\n)").fetchall()
        except self._duckdb.Error:
            return text
        return found[0][0] if len(found) == 1 and len(found[0]) == 1 else text


def athena_type(name: str) -> str:
    """Return Athena's name of a type of DuckDB's."""
    if name.endswith("[]"):
        return "array"
    return next((theirs for ours, theirs in _TYPES if name.startswith(ours)), name.lower())


def text_of(value: Any) -> str | None:
    """Return a value as Athena shows it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(str(text_of(each) or 'null') for each in value)}]"
    if isinstance(value, bytes):
        return value.hex(" ")
    if hasattr(value, "isoformat") and hasattr(value, "hour"):
        return str(value.replace(tzinfo=None).isoformat(" ", "milliseconds"))
    return str(value)


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq  # noqa: PLC0415 - see `Tables`

    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()

"""Columns: from a driver's Python values to Arrow, a batch at a time, with the types that the database declared.

What Parquet has no type for (intervals, ranges, addresses, numbers without a declared precision) becomes text in the
database's own spelling, which loses nothing; the field's metadata `sql_type` says what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

BATCH_ROWS = 5_000
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")


class UnfitValue(Exception):
    """A value of a column that its Arrow type cannot hold; the message is for the author of the SQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """What a column becomes.

    Attributes:
        arrow: The Arrow type.
        sql: The database's word for it.
        read: Turns a driver's value into what Arrow takes; None where it is taken as it is.
    """

    arrow: Any
    sql: str
    read: Callable[[Any], Any] | None = None


def schema_of(names: Sequence[str], types: Sequence[ColumnType]) -> Any:
    """Return the Arrow schema of columns; a name that comes twice gets a number."""
    import pyarrow as pa  # noqa: PLC0415 - the service itself never needs it

    pairs = zip(unique(names), types, strict=True)
    return pa.schema([pa.field(name, each.arrow, metadata={"sql_type": each.sql}) for name, each in pairs])


def batches_of(
    rows: Generator[Sequence[Any], None, None], schema: Any, types: Sequence[ColumnType]
) -> Generator[Any, None, None]:
    """Yield record batches of rows; who stops early closes it, or the connection stays busy with what nobody reads.

    Raises:
        UnfitValue: A value does not fit its column.
    """
    held: list[Sequence[Any]] = []
    try:
        for row in rows:
            held.append(row)
            if len(held) >= BATCH_ROWS:
                yield _batch(held, schema, types)
                held = []
        if held:
            yield _batch(held, schema, types)
    finally:
        rows.close()


def numeric_type(numeric: str) -> ColumnType:
    """Return what a number of unlimited precision becomes, by the task's wish."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    if numeric == "double":
        return ColumnType(arrow=pa.float64(), sql="numeric", read=float)
    match = _DECIMAL.fullmatch(numeric)
    if match:
        return decimal_type(int(match.group(1)), int(match.group(2)))
    return ColumnType(arrow=pa.string(), sql="numeric", read=lambda value: format(value, "f"))


def decimal_type(precision: int, scale: int) -> ColumnType:
    """Return an exact decimal; text where Arrow has none so large."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    sql = f"numeric({precision},{scale})"
    if precision > 76 or scale < 0 or scale > precision:
        return ColumnType(arrow=pa.string(), sql=sql, read=lambda value: format(value, "f"))
    kind = pa.decimal128 if precision <= 38 else pa.decimal256
    return ColumnType(arrow=kind(precision, scale), sql=sql, read=_finite)


def unique(names: Sequence[str]) -> list[str]:
    """Return names with a number behind those that came before."""
    seen: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise ValueError("no Parquet decimal is NaN or infinite")
    return value


def _batch(rows: Sequence[Sequence[Any]], schema: Any, types: Sequence[ColumnType]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as above

    arrays = []
    for index, each in enumerate(types):
        read = each.read
        values = [row[index] for row in rows]
        try:
            if read is not None:
                values = [None if value is None else read(value) for value in values]
            arrays.append(pa.array(values, type=each.arrow))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            name = schema.field(index).name
            words = str(error).splitlines()[0][:120]
            raise UnfitValue(
                f"column {name} ({each.sql}) holds a value that Parquet cannot: {words}; cast it"
            ) from error
    return pa.record_batch(arrays, schema=schema)

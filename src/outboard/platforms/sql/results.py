"""Writes a statement's rows to one Parquet file, batch by batch, and knows when they are too many.

Memory holds one row group; the file grows beside its place and gets its name when it is whole, or lies in the job directory and
is uploaded in parts. A result that was not published leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outboard.platforms.sql.databases.columns import UnfitValue
from outboard.platforms.sql.marks import local_path

GROUP_ROWS = 100_000
GROUP_BYTES = 32 << 20


class TooLarge(Exception):
    """The result exceeds a limit of the operator's or the task's; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A file as it was written: how many rows and bytes, and Flyte's word for every column."""

    uri: str
    rows: int
    size_bytes: int
    columns: list[list[Any]]


class ResultFile:
    """One Parquet file on its way.

    Args:
        uri: Where it goes in the end.
        folder: The job directory, for files that are uploaded.
        max_rows: More are an error; 0 is no limit.
        max_bytes: A larger file is an error; 0 is no limit.
    """

    def __init__(self, uri: str, folder: Path, *, max_rows: int, max_bytes: int) -> None:
        self._uri = uri
        self._target = local_path(uri)
        place = folder if self._target is None else self._target.parent
        self._part = place / f".{folder.name}.{os.getpid()}.parquet"
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.rows = 0

    def write(self, schema: Any, batches: Generator[Any, None, None]) -> Result:
        """Write all batches.

        Raises:
            TooLarge: They exceed a limit.
            UnfitValue: Parquet has no type for a column.
        """
        import pyarrow as pa  # noqa: PLC0415 - a statement without rows needs none of it
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above

        written = pa.schema([_writable(field) for field in schema])
        self._part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with pq.ParquetWriter(self._part, written, compression="zstd") as writer:
                for group in _groups(self._counted(batches), written):
                    writer.write_table(group)
                    if self._max_bytes and self._part.stat().st_size > self._max_bytes:
                        raise TooLarge(f"the result exceeds {self._max_bytes:,} bytes; add a LIMIT or a filter")
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise UnfitValue(f"Parquet cannot hold the result: {str(error).splitlines()[0][:160]}") from error
        finally:
            batches.close()
        columns = [[field.name, flyte_type(field.type)] for field in written]
        size = self._part.stat().st_size
        if self._max_bytes and size > self._max_bytes:
            raise TooLarge(f"the result exceeds {self._max_bytes:,} bytes; add a LIMIT or a filter")
        return Result(uri=self._uri, rows=self.rows, size_bytes=size, columns=columns)

    def _counted(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self.rows += batch.num_rows
            if self._max_rows and self.rows > self._max_rows:
                raise TooLarge(f"the result has more than {self._max_rows:,} rows; add a LIMIT or a filter")
            yield batch

    def publish(self) -> None:
        """Give the file its name, or upload it.

        Raises:
            OSError: The place cannot be written.
            transfers.TransferError: The store cannot be.
        """
        if self._target is not None:
            self._part.replace(self._target)
            return
        from outboard.detached import transfers  # noqa: PLC0415 - local files never need it

        transfers.upload(self._part, self._uri)

    def remove(self) -> None:
        """Leave nothing behind of a file that was not published."""
        self._part.unlink(missing_ok=True)


def _groups(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    """Yield what becomes a row group: each costs a footer that is kept in memory to the end, so batches are too small."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    held: list[Any] = []
    rows = size = 0
    for batch in batches:
        held.append(_converted(batch, schema))
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(held, schema)
            held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held, schema)


def flyte_type(kind: Any) -> object:
    """Return Flyte's word for an Arrow type; lists keep their element's type."""
    from pyarrow import types  # noqa: PLC0415 - as above

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return {"list": flyte_type(kind.value_type)}
    tests = (
        (types.is_boolean, "boolean"),
        (types.is_integer, "integer"),
        (types.is_floating, "float"),
        (types.is_decimal, "float"),
        (types.is_timestamp, "datetime"),
        (types.is_date, "datetime"),
        (types.is_time, "duration"),
        (types.is_duration, "duration"),
        (types.is_binary, "binary"),
        (types.is_large_binary, "binary"),
        (types.is_fixed_size_binary, "binary"),
        (types.is_struct, "struct"),
        (types.is_map, "struct"),
    )
    return next((word for test, word in tests if test(kind)), "string")


def _writable(field: Any) -> Any:
    """Return the field as Parquet can hold it: what it has no type for becomes text."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    if isinstance(field.type, pa.BaseExtensionType):
        storage = pa.string() if "uuid" in str(field.type).lower() else field.type.storage_type
        return pa.field(field.name, storage, metadata=field.metadata)
    if pa.types.is_interval(field.type):
        return pa.field(field.name, pa.string(), metadata={**(field.metadata or {}), "sql_type": "interval"})
    if pa.types.is_null(field.type):
        return pa.field(field.name, pa.string(), metadata=field.metadata)
    return field


def _converted(batch: Any, schema: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as above

    if batch.schema.equals(schema):
        return batch
    arrays = [_column(array, field.type) for array, field in zip(batch.columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _column(array: Any, kind: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - as above

    if array.type.equals(kind):
        return array
    if pa.types.is_interval(array.type):
        return pa.array([None if each is None else _iso(each) for each in array.to_pylist()], type=kind)
    if isinstance(array.type, pa.BaseExtensionType) and pa.types.is_string(kind):
        return pa.array([None if each is None else str(each) for each in array.to_pylist()], type=kind)
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    return array.cast(kind)


def _iso(interval: Any) -> str:
    """Return months, days and nanoseconds as ISO 8601 has them: `P14M3DT4.5S`."""
    months, days, nanoseconds = interval
    sign = "-" if nanoseconds < 0 else ""
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"P{months}M{days}DT{sign}{seconds}{fraction}S"

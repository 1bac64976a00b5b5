"""Runs a query's statements in a DuckDB that can reach the query's inputs and nothing else.

The database lives in memory and spills to the job's own folder. Before the user's first statement the views are made,
then the readable files are listed, external access goes off and the configuration is locked, in this order, since each
step forbids the one before. Nothing is ever installed. Where the operator allows external access, only the lock stays.

Every SELECT is written to the same Parquet file by `COPY`, which runs in parallel, tells its progress and binds the
parameters as the SELECT alone would; so each is executed in full, and the last one's file is the result. Statements of
other kinds are executed and their answers dropped.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from outboard.platforms.embedded.duckdb_inputs import quoted

_HELD_ROWS = "__outboard_held_rows"
_SIMPLE = {
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "UUID": "string",
    "JSON": "string",
    "BLOB": "binary",
    "FLOAT": "float",
    "DOUBLE": "float",
    "DATE": "datetime",
    "TIME": "duration",
    "INTERVAL": "duration",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A Parquet file as it was written.

    Attributes:
        columns: Name and type of every column; a type is a word of Flyte's, or `{"list": type}`.
        rows: How many.
    """

    columns: tuple[tuple[str, object], ...]
    rows: int


class Session:
    """A DuckDB for one query.

    Args:
        folder: Where it spills to.
        memory_limit: As DuckDB writes it, or None for its default.
        threads: How many, or None for its default.

    Raises:
        duckdb.Error: A setting is none that DuckDB takes.
    """

    def __init__(self, folder: Path, *, memory_limit: str | None, threads: int | None) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": str(folder),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
        }
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        if threads is not None:
            config["threads"] = str(threads)
        self._folder = folder
        self._connection: Any = duckdb.connect(config=config)
        self.step = ""

    def add_view(self, statement: str) -> None:
        """Make a view over files; only before `lock`."""
        self._connection.execute(statement)

    def lock(self, readable: Sequence[Path], output: Path, *, allows_external_access: bool) -> None:
        """Close the database around its inputs and its output, and its configuration for good."""
        run = self._connection.execute
        run("SET enable_progress_bar = true")
        run("SET enable_progress_bar_print = false")
        run("SET progress_bar_time = 0")
        if not allows_external_access:
            paths = ", ".join(quoted(str(path)) for path in (*readable, output))
            run(f"SET allowed_paths = [{paths}]")
            run(f"SET allowed_directories = [{quoted(str(self._folder))}]")
            run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    def run(self, sql: str, parameters: Mapping[str, object], output: Path) -> Table | None:
        """Execute all statements; the last SELECT's rows are then in `output`. None where there was no SELECT.

        Raises:
            duckdb.Error: A statement cannot be parsed or executed, or lacks a parameter.
        """
        statements = self._connection.extract_statements(sql)
        has_result, is_whole = False, True
        for index, statement in enumerate(statements, start=1):
            self.step = f"statement {index} of {len(statements)}" if len(statements) > 1 else ""
            values = {name: parameters[name] for name in statement.named_parameters if name in parameters}
            if statement.type in (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI):
                self._write_rows(statement, values, output, has_own_text=is_whole)
                has_result = True
            else:
                self._connection.execute(statement, values).fetchall()
            is_whole = bool(statement.query.strip())
        return self._describe(output) if has_result else None

    def percent(self) -> float | None:
        """How far the running statement is, where DuckDB can tell; may be called from another thread."""
        try:
            percent = float(self._connection.query_progress())
        except duckdb.ConnectionException:
            return None
        return round(percent, 1) if 0 <= percent <= 100 else None

    def interrupt(self) -> None:
        """Make the running statement end with an error; may be called from another thread."""
        with suppress(duckdb.ConnectionException):
            self._connection.interrupt()

    def close(self) -> None:
        """Give everything back."""
        self._connection.close()

    def _write_rows(self, statement: Any, values: Mapping[str, object], output: Path, *, has_own_text: bool) -> None:
        """Write a SELECT's rows, and the rows of what acts like one but is refused by COPY.

        Before DuckDB 2, COPY takes no SHOW, DESCRIBE or SUMMARIZE, and a PIVOT is parsed into a statement without text
        and one whose text is not its own. Those go through memory; their results are small.
        """
        target = f"TO {quoted(str(output))} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
        if has_own_text:
            bare = statement.query.strip().rstrip(";")
            with suppress(duckdb.ParserException):
                self._connection.execute(f"COPY (\n{bare}\n) {target}", values)
                return
        with warnings.catch_warnings():
            # DuckDB 2 warns that this copies the rows; a prepared statement has no other way to Arrow.
            warnings.simplefilter("ignore", UserWarning)
            rows = self._connection.execute(statement, values).to_arrow_table()
        self._connection.register(_HELD_ROWS, rows)
        self._connection.execute(f"COPY (FROM {_HELD_ROWS}) {target}")
        self._connection.unregister(_HELD_ROWS)

    def _describe(self, output: Path) -> Table:
        source = f"read_parquet({quoted(str(output))})"
        described = self._connection.execute(f"SELECT * FROM {source} LIMIT 0").description  # noqa: S608 - our own path
        rows = self._connection.execute(f"SELECT count(*) FROM {source}").fetchone()[0]  # noqa: S608 - our own path
        return Table(columns=tuple((column[0], flyte_type(column[1])) for column in described), rows=rows)


def flyte_type(kind: Any) -> object:
    """Flyte's word for a DuckDB type as it stands in a Parquet file; lists keep their element's type."""
    if kind.id in ("list", "array"):
        return {"list": flyte_type(kind.children[0][1])}
    if kind.id in ("struct", "map", "union"):
        return "struct"
    name = str(kind).upper()
    if name.startswith("TIMESTAMP"):
        return "datetime"
    if name.startswith("DECIMAL"):
        return "float"
    if name.startswith("TIME"):
        return "duration"
    return "integer" if name.endswith(("INT", "INTEGER")) else _SIMPLE.get(name, "string")

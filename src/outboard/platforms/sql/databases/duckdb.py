"""DuckDB: a database file on this machine, opened by the worker itself.

One process may write a file at a time; a second worker is told so and may try again. There is no server, so nothing is seen
from outside: the worker's own signs of life are all there is, and a transaction that its process did not commit is undone
when the file is opened next. Whether a commit that was under way arrived is not to be found out.

The SQL can reach the file and nothing else: no other files, no extension to install, a locked configuration.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import duckdb

from outboard.platforms.sql.databases.columns import BATCH_ROWS, unique
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Session, Sighting, Target, Wish, first_line
from outboard.platforms.sql.databases.rows import NoRows

_BUSY = "Could not set lock on file"
_PLATFORM = ("OutOfMemoryException", "InternalException", "FatalException", "IOException", "ConnectionException")
_RETRYABLE = ("OutOfMemoryException", "IOException", "ConnectionException", "TransactionException")


def open_database(target: Target, password: str) -> Database:  # noqa: ARG001 - a file has none
    """Return the file of a target."""
    return DuckDB(target)


class DuckDB:
    """One database file."""

    is_seen = False

    def __init__(self, target: Target) -> None:
        self._target = target

    def connect(self, key: str, wish: Wish) -> Session:  # noqa: ARG002 - nobody could see it
        """Return an open file."""
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "enable_external_access": "false",
            "threads": "2",
        }
        connection: Any = duckdb.connect(self._target.database, read_only=wish.read_only, config=config)
        if self._target.schema:
            connection.execute("SET schema = " + "'" + self._target.schema.replace("'", "''") + "'")
        connection.execute("SET lock_configuration = true")
        return DuckDBSession(connection, wish)

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:  # noqa: ARG002 - as above
        """Return nothing: a file lists nobody."""
        return {}

    def cancel(self, key: str) -> None:
        """Do nothing: the worker hears its signal or its mark."""

    def undoes(self, wish: Wish) -> bool:
        """Tell whether there is a transaction."""
        return not wish.is_autocommit

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:  # noqa: ARG002 - as above
        """Return what follows from the decision: nothing was committed, or nobody knows."""
        if decision.get("verdict") == "commit":
            return Fate.DONE if wish.read_only else Fate.UNKNOWN
        return Fate.NOTHING if self.undoes(wish) else Fate.UNKNOWN

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error of DuckDB means."""
        if not isinstance(error, duckdb.Error):
            return None
        name, words = type(error).__name__, first_line(error)
        if name == "InterruptException":
            return Complaint(code=name, words=words, actor="cancelled")
        if name == "IOException" and _BUSY not in words and "does not exist" in words:
            return Complaint(code=name, words=words, actor="operator")
        actor: Any = "platform" if name in _PLATFORM or _BUSY in words else "user"
        return Complaint(code=name, words=words, actor=actor, is_retryable=name in _RETRYABLE)


class DuckDBSession:
    """A worker's open file."""

    facts: Mapping[str, Any] = {}

    def __init__(self, connection: Any, wish: Wish) -> None:
        self._connection = connection
        self._wish = wish
        self._is_open = False

    def run(self, sql: str, values: Sequence[Any]) -> _Rows | NoRows:
        """Run one statement; its rows come while they are read."""
        if not self._wish.is_autocommit and not self._is_open:
            self._connection.execute("BEGIN TRANSACTION")
            self._is_open = True
        parsed = self._connection.extract_statements(sql)
        gives_rows = bool(parsed) and parsed[0].type == duckdb.StatementType.SELECT
        parameters = {f"p{number}": _parameter(value) for number, value in enumerate(values, start=1)}
        if gives_rows:
            # A relation streams to Arrow; what `execute` gives is copied as a whole first.
            return _Rows(self._connection.sql(sql, params=parameters or None))
        result = self._connection.execute(sql, parameters)
        if result.description and [column[0] for column in result.description] != ["Count"]:
            return _Rows(result)
        counted = result.fetchall() if result.description else []
        return NoRows(counted[0][0] if counted and counted[0] and isinstance(counted[0][0], int) else None)

    def commit_facts(self) -> Mapping[str, Any]:
        """There is nothing to ask for afterwards."""
        return {}

    def commit(self) -> None:
        """Commit."""
        if self._is_open:
            self._is_open = False
            self._connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(duckdb.Error):
                self._connection.rollback()

    def usage(self) -> Mapping[str, float]:
        """DuckDB counts nothing that it tells."""
        return {}

    def interrupt(self) -> None:
        """Interrupt the statement."""
        with contextlib.suppress(duckdb.Error):
            self._connection.interrupt()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class _Rows:
    """What a statement gives; see `port.Rows`."""

    affected: int | None = None

    def __init__(self, result: Any) -> None:
        fetch = getattr(result, "to_arrow_reader", None) or result.fetch_record_batch
        with warnings.catch_warnings():
            # DuckDB 2 warns that this copies the rows, which are few: of EXPLAIN, or INSERT ... RETURNING.
            warnings.simplefilter("ignore", UserWarning)
            self._reader = fetch(BATCH_ROWS)
        schema = self._reader.schema
        self._names = unique(schema.names)
        self.schema: Any = schema.empty_table().rename_columns(self._names).schema

    def batches(self) -> Generator[Any, None, None]:
        """Yield DuckDB's own batches."""
        for batch in self._reader:
            yield batch.rename_columns(self._names)


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return [_parameter(each) for each in value]
    return value.text if type(value).__name__ == "JsonValue" else value

"""Reads the rows of one query in a DuckDB of this process; imported only when a first query is asked.

The same session as a job's (see `duckdb_session`), closed around the inputs, but nothing is written: the rows are
fetched. A timer interrupts the query when its time is up.
"""

from __future__ import annotations

import base64
import tempfile
import threading
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from outboard.detached import transfers
from outboard.detached.job_files import Document
from outboard.errors import AgentError, InvalidTask, Rejected, Sent, Unavailable
from outboard.platforms.embedded import duckdb_inputs
from outboard.platforms.embedded.duckdb_job import is_users_to_mend
from outboard.platforms.embedded.duckdb_session import Session

_SHOWN = 256


class RowSession(Session):
    """A DuckDB whose rows are fetched."""

    def rows(self, sql: str, parameters: Mapping[str, object], limit: int) -> list[dict[str, Any]]:
        """Return the rows of one SELECT; one more than `limit` where there are more.

        Raises:
            InvalidTask: It is not one SELECT.
            duckdb.Error: It cannot be parsed or executed.
        """
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI):
            raise InvalidTask("a duckdb_rows task takes one SELECT; use task type duckdb for more", field="custom.sql")
        statement = statements[0]
        values = {name: parameters[name] for name in statement.named_parameters if name in parameters}
        cursor = self._connection.execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, map(to_json, row), strict=True)) for row in cursor.fetchmany(limit + 1)]


def read_rows(document: Document, *, row_limit: int, timeout_s: float) -> list[dict[str, Any]]:
    """Return the rows of a query as JSON values.

    Args:
        document: What `queries.Query` says about it.
        row_limit: More rows than this are refused.
        timeout_s: After which time the query is interrupted.

    Raises:
        InvalidTask: It is not one SELECT.
        Rejected: The SQL or an input is wrong, or there are too many rows.
        Unavailable: An input cannot be fetched, or the time is up.
        AgentError: DuckDB ran out of memory, or failed by its own fault.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="outboard-rows-") as folder:
            rows = _run(document, Path(folder), row_limit, timeout_s)
    except duckdb.InterruptException:
        raise Unavailable(f"the query took longer than {timeout_s:.1f} s; use task type duckdb", sent=Sent.NO) from None
    except transfers.TransferError as error:
        raise Unavailable(f"an input cannot be fetched: {error}", sent=Sent.NO) from error
    except (duckdb.Error, duckdb_inputs.InputError) as error:
        words, code = (str(error).splitlines() or [""])[0][:_SHOWN], type(error).__name__
        if is_users_to_mend(error):
            raise Rejected(words, code=code) from error
        raise AgentError(words, code=code, sent=Sent.NO) from error
    if len(rows) > row_limit:
        raise Rejected(
            f"the query gives more than {row_limit:,} rows; add a LIMIT, raise custom.row_limit, or use task type duckdb",
            code="TooManyRows",
        )
    return rows


def _run(document: Mapping[str, Any], folder: Path, row_limit: int, timeout_s: float) -> list[dict[str, Any]]:
    spill = folder / "spill"
    spill.mkdir()
    session = RowSession(spill, memory_limit=document["memory_limit"], threads=document["threads"])
    timer = threading.Timer(timeout_s, session.interrupt)
    timer.daemon = True
    timer.start()
    try:
        readable: list[Path] = []
        for name, table in document["tables"].items():
            staging = folder / f"input{len(readable)}"
            files, file_format = duckdb_inputs.local_files(name, table["uris"], table["format"], staging)
            session.add_view(duckdb_inputs.view_of(name, files, file_format))
            readable += files
        session.lock(readable, spill, allows_external_access=False)
        parameters = {name: duckdb_inputs.decode(value) for name, value in document["parameters"].items()}
        return session.rows(document["sql"], parameters, row_limit)
    finally:
        timer.cancel()
        session.close()


def to_json(value: object) -> Any:  # noqa: PLR0911 - one line a kind
    """Return a value of DuckDB's as JSON has it: moments as ISO 8601 text, durations as seconds, bytes as base64."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return float(value)
        case datetime():
            return (value if value.tzinfo is None else value.astimezone(timezone.utc)).isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): to_json(each) for key, each in value.items()}
        case list() | tuple():
            return [to_json(each) for each in value]
    return str(value)

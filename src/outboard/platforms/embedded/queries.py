"""What a DuckDB job gets and gives: the service's side of `query.json`, `result.json` and `error.json`.

A `Query` takes a task's inputs as they are. References to tables (`StructuredDataset`, `Schema`, `Blob`, or a list of
them) become views named after the input; everything else becomes a named parameter, which the SQL uses as `$name`.
Values are bound by DuckDB and never become part of the SQL text.

The job is an ordinary one: its command is `duckdb_job`, its query a file in the job directory. Its exit codes say who
must act: `EXIT_USER` the author of the SQL, `EXIT_SYSTEM` whoever runs it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from outboard.detached import boot
from outboard.detached.job_files import Document
from outboard.detached.jobs import JobSpec, integer_in
from outboard.detached.result_columns import columns_of
from outboard.domain.types import Column
from outboard.domain.values import Blob, Schema, StructuredDataset
from outboard.errors import InvalidInputs, InvalidSettings
from outboard.platforms.embedded.duckdb_job import EXIT_SYSTEM, EXIT_USER, QUERY_FILE

STORE_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_")
"""Beginnings of the variables that hold the credentials of object stores; a query's job gets them, its SQL does not."""

__all__ = ["EXIT_SYSTEM", "EXIT_USER", "Query", "QueryFailure", "QueryResult", "read_failure", "read_result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """SQL over some inputs.

    Args:
        sql: One statement or several; the result is that of the last SELECT.
        inputs: A task's inputs by name.
        output_uri: Where the result goes, as one Parquet file: a path, `file://`, `s3://`, `gs://` or `abfs://`.
        memory_limit: DuckDB's limit, as in `2GB`; its own default is 80 % of the machine.
        threads: How many threads; DuckDB's own default is one per core.
        allows_external_access: The SQL may name any file it likes and load extensions that are installed. Without it
            the job reads its inputs and nothing else.
    """

    sql: str
    output_uri: str
    inputs: Mapping[str, object] = field(default_factory=dict)
    memory_limit: str | None = None
    threads: int | None = None
    allows_external_access: bool = False

    def to_spec(self, *, env: Mapping[str, str] | None = None, grace_s: float = 5.0) -> JobSpec:
        """The job that runs this query.

        Args:
            env: Variables for the job on top of this process's credentials for object stores.
            grace_s: Seconds between the query's interruption and SIGKILL.

        Raises:
            InvalidInputs: An input is of a kind that no query can use.
            InvalidSettings: DuckDB is not installed.
        """
        if importlib.util.find_spec("duckdb") is None:
            raise InvalidSettings("DuckDB is not installed; install outboard[duckdb] where the service runs.")
        credentials = {name: value for name, value in os.environ.items() if name.startswith(STORE_VARIABLES)}
        return JobSpec(
            command=(sys.executable, boot.PATH, "outboard.platforms.embedded.duckdb_job"),
            env={**credentials, **(env or {})},
            files={QUERY_FILE: json.dumps(self._to_document())},
            grace_s=grace_s,
        )

    def _to_document(self) -> Document:
        tables: dict[str, object] = {}
        parameters: dict[str, object] = {}
        for name, value in self.inputs.items():
            table = _as_table(name, value)
            if table is None:
                parameters[name] = _encode(name, value)
            else:
                tables[name] = table
        return {
            "sql": self.sql,
            "tables": tables,
            "parameters": parameters,
            "output_uri": self.output_uri,
            "memory_limit": self.memory_limit,
            "threads": self.threads,
            "allows_external_access": self.allows_external_access,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What a query made.

    Attributes:
        uri: Where the Parquet file lies; None where no statement gave a result.
        columns: The columns of the file; dates and times are datetimes, times of day durations, decimals floats.
        rows: How many rows it holds.
        size_bytes: How large the file is.
    """

    uri: str | None
    columns: tuple[Column, ...]
    rows: int
    size_bytes: int

    @property
    def dataset(self) -> StructuredDataset | None:
        """The result as a value for a task's output; None where there is none."""
        return None if self.uri is None else StructuredDataset(self.uri, "parquet", self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFailure:
    """Why a query gave no result.

    Attributes:
        is_user_error: The SQL or the inputs are wrong; the same will fail again.
        code: DuckDB's name for the error, as in `ParserException`.
        message: The first line of DuckDB's own words.
    """

    is_user_error: bool
    code: str
    message: str


def read_result(document: Document | None) -> QueryResult | None:
    """The result that a job left in `result.json`; None where it left none."""
    if not document:
        return None
    uri, columns = document.get("uri"), document.get("columns")
    rows = columns if isinstance(columns, list) else []
    return QueryResult(
        uri=uri if isinstance(uri, str) else None,
        columns=columns_of(rows),
        rows=integer_in(document, "rows") or 0,
        size_bytes=integer_in(document, "size_bytes") or 0,
    )


def read_failure(document: Document | None) -> QueryFailure | None:
    """The failure that a job left in `error.json`; None where it left none."""
    if not document:
        return None
    return QueryFailure(
        is_user_error=document.get("kind") == "user",
        code=str(document.get("code", "")),
        message=str(document.get("message", "")),
    )


def _as_table(name: str, value: object) -> Document | None:
    """A reference to files, or several; None where the value is none."""
    if isinstance(value, (Blob, Schema, StructuredDataset)):
        return {"uris": [value.uri], "format": "parquet" if isinstance(value, Schema) else value.format}
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return None
    parts = [_as_table(name, item) for item in value]
    if not parts or all(part is None for part in parts):
        return None
    found = [part for part in parts if part is not None]
    formats = {str(part["format"]) for part in found}
    if len(found) < len(parts) or len(formats) > 1:
        raise InvalidInputs(f"inputs.{name} mixes tables with other things; give tables of one format.", field=name)
    return {"uris": [uri for part in found for uri in _uris_of(part)], "format": formats.pop()}


def _uris_of(table: Document) -> list[str]:
    uris = table["uris"]
    return uris if isinstance(uris, list) else []


def _encode(name: str, value: object) -> object:
    """A value as `duckdb_inputs` decodes it: what JSON lacks is tagged, and so is every dictionary."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(timezone.utc)
        return {"datetime": moment.isoformat()}
    if isinstance(value, timedelta):
        return {"duration": value // timedelta(microseconds=1)}
    if isinstance(value, Mapping):
        return {"map": {str(key): _encode(name, item) for key, item in value.items()}}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_encode(name, item) for item in value]
    kind = type(value).__name__
    raise InvalidInputs(f"inputs.{name} is of kind {kind}, which SQL cannot take; pass it by reference.", field=name)

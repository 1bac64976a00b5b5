"""Task type `duckdb_rows`: a small read-only query, answered at once with its rows.

It runs within the service, bounded in memory, threads, rows and time; what needs more belongs into a `duckdb` task. The
one declared output, of any name, is a list of dictionaries, or a dictionary with that list under `rows`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import Field

from outboard.agent import BlockingSyncAgent, Context, Platform, Task, TaskConfig, TaskType
from outboard.detached.job_directory import JobDirectory
from outboard.domain.types import ListType, SimpleType, ValueType
from outboard.errors import InvalidTask
from outboard.platforms.embedded.duckdb_agent import statement_of
from outboard.platforms.embedded.duckdb_job import QUERY_FILE
from outboard.platforms.embedded.queries import Query
from outboard.platforms.embedded.settings import EmbeddedConnection, EmbeddedSettings

_MARGIN_S: Final = 0.5


class RowsConfig(TaskConfig):
    """The `custom` of a `duckdb_rows` task.

    Attributes:
        sql: One SELECT; the task template's own SQL statement may stand in its place.
        row_limit: The most rows the query may give; more is an error, never a silent cut.
    """

    sql: str | None = None
    row_limit: int = Field(default=1000, ge=1, le=100_000)


class DuckDBRowsAgent(BlockingSyncAgent[RowsConfig, JobDirectory]):
    """Answers a query over a task's inputs with rows."""

    name = "duckdb_rows"
    task_types = (TaskType("duckdb_rows"),)
    timeout = timedelta(seconds=20)
    repeatable = True
    pool_size = 4

    def __init__(self, platform: Platform[Any, Any], settings: EmbeddedSettings) -> None:
        super().__init__(platform)
        self.settings = settings

    def connection(self, task: Task[Any]) -> EmbeddedConnection:  # noqa: ARG002 - every task of a service has the same
        """Return the platform's connection; an answer leaves nothing in the job directory."""
        return EmbeddedConnection(root=str(self.settings.root.expanduser().absolute()))

    def do(self, task: Task[RowsConfig], ctx: Context[JobDirectory]) -> Mapping[str, Any]:
        """Return the rows under the output's declared name.

        Raises:
            InvalidTask: The outputs are none that a query gives, or the SQL is not one SELECT.
            Rejected: DuckDB refuses the SQL, or it gives more rows than allowed.
            Unavailable: An input cannot be fetched, or the time is up.
        """
        name, value_type = _declared(task.interface.outputs)
        query = Query(
            sql=statement_of(task, task.config.sql),
            inputs=task.inputs,
            output_uri="",
            memory_limit=self.settings.rows_memory_limit,
            threads=self.settings.rows_threads,
        )
        document = json.loads(query.to_spec().files[QUERY_FILE])
        from outboard.platforms.embedded.duckdb_rows import read_rows  # noqa: PLC0415 - loads DuckDB, 30 MB

        rows = read_rows(document, row_limit=task.config.row_limit, timeout_s=max(ctx.timeout_s - _MARGIN_S, 0.0))
        return {name: rows if isinstance(value_type, ListType) else {"rows": rows}}


def _declared(outputs: Mapping[str, ValueType]) -> tuple[str, ValueType]:
    name, value_type = next(iter(outputs.items()), ("", SimpleType.NONE))
    if len(outputs) != 1 or value_type not in (ListType(SimpleType.STRUCT), SimpleType.STRUCT):
        raise InvalidTask(
            "a duckdb_rows task gives one output, a list of dict or a dict; declare just that as its outputs",
            field="interface.outputs",
        )
    return name, value_type

"""Task type `databricks_sql`: a SQL statement on a SQL warehouse.

The Statement Execution API takes no token, so a statement whose answer was lost is looked for in the query history by its key,
and only sent again when it is certainly not there (`Lookup`). Databricks says that the history lists received and running
queries and keeps them for 30 days, but not how soon; five minutes are our margin. Statements that write should be such that a
second one does no harm (MERGE, INSERT OVERWRITE, CREATE OR REPLACE) where even an hour of lag in the history would matter.

Results are described in `results` and copied by `exports`; a statement is forgotten 12 hours after its end.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from outboard.agent import (
    DEFERRED,
    AccountContext,
    AsyncAgent,
    Blob,
    Context,
    JobRef,
    Key,
    LabelRules,
    Link,
    Lookup,
    Missing,
    Platform,
    Status,
    StructuredDataset,
    Task,
    TaskType,
    Usage,
)
from outboard.errors import AgentError, Forbidden, InvalidOutputs, InvalidSettings, Rejected, Unavailable
from outboard.platforms.databricks.client import Json, Workspace, identifier, milliseconds_ago
from outboard.platforms.databricks.config import StatementConfig
from outboard.platforms.databricks.connections import DatabricksConnection, connection_of
from outboard.platforms.databricks.exports import Exports
from outboard.platforms.databricks.results import MOST_ROWS, Wanted, columns_of, row_count, rows_of
from outboard.platforms.databricks.settings import DatabricksSettings
from outboard.platforms.databricks.statement_states import ENDS, HISTORY_STATES, SOURCE, STATEMENT_STATES, failure_of
from outboard.platforms.databricks.statements import carries, execution_of

_VISIBLE_WITHIN: Final = timedelta(minutes=5)
_RETENTION: Final = timedelta(days=30)
_LOOK_BACK_S: Final = 86_400.0
_PAGES_OF_SEARCH: Final = 50
_CHEAPER_ALONE: Final = 4
_SQL_SHOWN: Final = "== SQL"
_METRICS: Final = {
    "read_bytes": "bytes_read",
    "rows_read_count": "rows_read",
    "task_total_time_ms": "task_ms",
    "execution_time_ms": "execution_ms",
    "total_time_ms": "total_ms",
    "rows_produced_count": "rows_produced",
}


class DatabricksStatement(JobRef):
    """A SQL statement, and what its task wants of the result."""

    table: str = ""
    is_file: bool = False
    rows: str = ""
    count: str = ""

    @property
    def has_outputs(self) -> bool:
        """Whether anything is to be fetched."""
        return bool(self.table or self.rows or self.count)


class DatabricksSqlAgent(AsyncAgent[StatementConfig, DatabricksStatement, Workspace]):
    """Runs SQL statements.

    Args:
        platform: Whose agent it is.
        settings: The operator's.
        exports: Copies results.
    """

    name = "databricks_sql"
    task_types = (TaskType("databricks_sql"),)
    submission = Lookup(visible_within=_VISIBLE_WITHIN, retained_for=_RETENTION)
    states = STATEMENT_STATES
    batch_size = 100

    def __init__(self, platform: Platform[Any, Any], settings: DatabricksSettings, exports: Exports) -> None:
        super().__init__(platform)
        self._settings = settings
        self._exports = exports

    def connection(self, task: Task[StatementConfig]) -> DatabricksConnection:
        """Return the task's workspace and login."""
        return connection_of(task, task.config, self._settings)

    async def create(self, task: Task[StatementConfig], ctx: Context[Workspace]) -> DatabricksStatement:
        """Start the statement."""
        wanted = Wanted.of(task.interface.outputs)
        if wanted.table and importlib.util.find_spec("pyarrow") is None:
            raise InvalidSettings("results as tables need pyarrow; install outboard[databricks] where the service runs")
        tags = ctx.labels.fit(LabelRules.DATABRICKS)
        answer = await ctx.client.execute(execution_of(task, ctx.key, tags, self._warehouse(ctx), wanted))
        return _job(identifier(answer, "statement_id"), wanted)

    async def get_many(
        self, jobs: Sequence[DatabricksStatement], ctx: AccountContext[Workspace]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return where statements stand: live ones from one page of the query history, all others one by one."""
        answers: dict[str, Status | Missing | AgentError] = {}
        if len(jobs) > _CHEAPER_ALONE:
            answers.update(await _live_among(ctx.client, {job.id for job in jobs}))
        alone = [job for job in jobs if job.id not in answers]
        found = await ctx.client.one_by_one(_status(ctx.client, job) for job in alone)
        answers.update(zip((job.id for job in alone), found, strict=True))
        return answers

    async def find(
        self, task: Task[StatementConfig], key: Key, ctx: Context[Workspace]
    ) -> Sequence[DatabricksStatement]:
        """Return the statements of a key, as the query history of the last day tells."""
        filters = [("query_start_time_range.start_time_ms", str(milliseconds_ago(_LOOK_BACK_S)))]
        warehouse = task.config.warehouse_id or self._warehouse(ctx)
        if warehouse:
            filters.append(("warehouse_ids", warehouse))
        wanted = Wanted.of(task.interface.outputs)
        found: list[DatabricksStatement] = []
        pages = 0
        async for page in ctx.client.queries(filters):
            found += [_job(str(query.get("query_id", "")), wanted) for query in page if carries(query, key)]
            pages += 1
            if found:
                break
            if pages >= _PAGES_OF_SEARCH:
                raise Unavailable("the warehouse has had too many queries today to find one of them in its history")
        return found[::-1]

    async def cancel(self, job: DatabricksStatement, ctx: Context[Workspace]) -> None:
        """Ask for the end of the statement."""
        await ctx.client.cancel_statement(job.id)

    def links(self, job: DatabricksStatement, connection: DatabricksConnection) -> Sequence[Link]:
        """Return the statement's page in the query history."""
        return [Link(name="Databricks query", url=f"https://{connection.host}/sql/history?queryId={job.id}")]

    async def fetch_outputs(self, job: DatabricksStatement, ctx: Context[Workspace]) -> Mapping[str, Any]:
        """Return the result by the names of the task's outputs; a table is written first."""
        answer = await ctx.client.statement(job.id)
        status = answer.get("status") if answer is not None else None
        state = status.get("state") if isinstance(status, dict) else None
        if answer is None or state == "CLOSED":
            raise InvalidOutputs("Databricks has closed the statement, and its result with it; run the task again")
        if job.has_outputs and not isinstance(answer.get("manifest"), dict):
            raise Unavailable("Databricks tells nothing of the statement's result")
        count = row_count(answer)
        outputs: dict[str, Any] = {job.count: count} if job.count else {}
        if job.table:
            place = f"{ctx.output_prefix.rstrip('/')}/{job.table}"
            await self._exports.write(ctx.client, job.id, answer, place)
            outputs[job.table] = Blob(place, "parquet") if job.is_file else StructuredDataset(place, "parquet")
        if job.rows:
            if count > MOST_ROWS:
                raise InvalidOutputs(
                    f"the result has more than the {MOST_ROWS:,} rows that outputs.{job.rows} may hold; "
                    "declare a structured dataset, or set rowLimit"
                )
            outputs[job.rows] = await _rows(ctx.client, job.id, answer)
        return outputs

    def _warehouse(self, ctx: Context[Workspace]) -> str:
        return self._settings.workspace(ctx.client.host).warehouse_id


async def _live_among(workspace: Workspace, wanted: set[str]) -> dict[str, Status]:
    """Return those that the query history shows alive; it saves calls, and nothing hangs on it."""
    found: dict[str, Status] = {}
    try:
        async for page in workspace.queries([("statement_ids", each) for each in sorted(wanted)]):
            for query in page:
                state, statement_id = HISTORY_STATES.get(str(query.get("status", ""))), str(query.get("query_id", ""))
                if state is not None and statement_id in wanted:
                    found[statement_id] = Status(state=state)
    except (Forbidden, Rejected, Unavailable):
        return found
    return found


async def _status(workspace: Workspace, job: DatabricksStatement) -> Status | Missing:
    answer = await workspace.statement(job.id)
    if answer is None:
        return Missing()
    told = answer.get("status")
    status: Json = told if isinstance(told, dict) else {}
    state = str(status.get("state", ""))
    if state not in ENDS:
        return Status(state=state)
    metrics = await _metrics(workspace, job.id)
    total_ms = metrics.get("total_ms", 0)
    usage = Usage(
        duration=timedelta(milliseconds=total_ms) if total_ms else None,
        billed={unit: Decimal(metrics[unit]) for unit in ("bytes_read", "task_ms") if unit in metrics},
        source=SOURCE,
    )
    ended = Status(state=state, usage=usage, custom_info={"statement_id": job.id, **metrics})
    if state not in ("SUCCEEDED", "CLOSED"):
        return _failed(ended, status)
    rows = row_count(answer)
    outputs: Any = DEFERRED if job.has_outputs else {}
    return replace(ended, message="1 row" if rows == 1 else f"{rows:,} rows", outputs=outputs)


def _failed(ended: Status, status: Json) -> Status:
    told = status.get("error")
    error: Json = told if isinstance(told, dict) else {}
    # The words may go on with the statement itself, which is nobody's business beyond the workspace.
    words = str(error.get("message", "")).partition(_SQL_SHOWN)[0].strip()
    failure = failure_of(str(ended.state), str(error.get("error_code", "")), words)
    info = dict(ended.custom_info or {})
    if isinstance(status.get("sql_state"), str):
        info["sql_state"] = status["sql_state"]
    return replace(ended, message=words, failure=failure, custom_info=info)


async def _metrics(workspace: Workspace, statement_id: str) -> dict[str, int]:
    """Return what the query history measured; nothing where it cannot be asked, since the statement is over all the same."""
    try:
        async for page in workspace.queries([("statement_ids", statement_id)], has_metrics=True):
            for query in page:
                measured = query.get("metrics")
                if query.get("query_id") == statement_id and isinstance(measured, dict):
                    return {ours: n for theirs, ours in _METRICS.items() if isinstance(n := measured.get(theirs), int)}
            break
    except AgentError:
        return {}
    return {}


async def _rows(workspace: Workspace, statement_id: str, answer: Json) -> list[dict[str, Any]]:
    columns = columns_of(answer)
    told = answer.get("result")
    chunk: Json = told if isinstance(told, dict) else {}
    rows = rows_of(columns, chunk)
    read = 0
    while isinstance(index := chunk.get("next_chunk_index"), int) and index > read:
        chunk, read = await workspace.chunk(statement_id, index), index
        rows += rows_of(columns, chunk)
    if len(rows) != row_count(answer):
        raise Unavailable(f"Databricks gave {len(rows):,} of the result's {row_count(answer):,} rows")
    return rows


def _job(statement_id: str, wanted: Wanted) -> DatabricksStatement:
    return DatabricksStatement(
        id=statement_id, table=wanted.table, is_file=wanted.is_file, rows=wanted.rows, count=wanted.count
    )

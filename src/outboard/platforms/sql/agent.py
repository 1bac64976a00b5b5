"""Task types `sql` and `sqlalchemy`: statements on the operator's databases, each held by a worker process.

The submission key names the statement everywhere: its worker, its marks beside the outputs, its session in the database. A second
worker of a key finds the first one's claim and leaves, so a create may be sent again, to any replica.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from outboard.agent import (
    AccountContext,
    BlockingAgent,
    Cause,
    Context,
    Failure,
    JobRef,
    Key,
    Link,
    LogPage,
    Missing,
    Named,
    Platform,
    Retry,
    Status,
    Task,
    TaskType,
    Usage,
)
from outboard.detached import boot
from outboard.detached.jobs import JobSpec
from outboard.detached.log_cursor import read_lines
from outboard.detached.output_places import result_place
from outboard.errors import AgentError, InvalidTask
from outboard.platforms.sql.config import SQLAlchemyConfig, SqlConfig
from outboard.platforms.sql.connections import SqlConnection, connection_of, use_of
from outboard.platforms.sql.databases.port import Wish
from outboard.platforms.sql.documents import PASSWORD_VARIABLE, STATEMENT_FILE, StatementSpec
from outboard.platforms.sql.outputs import address_of, declared_of, values_of
from outboard.platforms.sql.parameters import encode_inputs
from outboard.platforms.sql.placeholders import DIALECTS, Statement, statements_of
from outboard.platforms.sql.server import Server, View
from outboard.platforms.sql.settings import SqlSettings
from outboard.platforms.sql.states import STATES
from outboard.platforms.sql.worker_environment import credentials

WORKER: Final = (boot.PATH, "outboard.platforms.sql.worker")
"""What Python runs to hold a statement."""
_SHOWN_COLUMNS: Final = 100
_MOST_ATTEMPTS: Final = 10
_CONTROL: Final = frozenset(
    {
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
        "RELEASE",
        "PREPARE",
        "XA",
    }
)
_ONE_STATEMENT: Final = frozenset({"clickhouse", "trino"})
_CAUSES: Final = {
    "user": Cause.USER,
    "operator": Cause.PLATFORM,
    "platform": Cause.PLATFORM,
    "cancelled": Cause.CANCELLED_OUTSIDE,
}


class SqlStatement(JobRef):
    """A statement.

    Attributes:
        prefix: Below it lie its marks; empty where the task has no outputs' prefix.
    """

    prefix: str = ""


class SqlAgent(BlockingAgent[SqlConfig, SqlStatement, Server]):
    """Runs SQL on databases.

    Args:
        platform: Whose agent it is.
        settings: The operator's.
    """

    name = "sql"
    task_types = (TaskType("sql"), TaskType("sqlalchemy", config=SQLAlchemyConfig))
    submission = Named()
    states = STATES
    batch_size = 200
    pool_size = 16
    visibility = timedelta(seconds=120)

    def __init__(self, platform: Platform[Any, Any], settings: SqlSettings) -> None:
        super().__init__(platform)
        self._settings = settings

    def connection(self, task: Task[SqlConfig]) -> SqlConnection:
        """Return the task's database and whose password."""
        found = connection_of(task, self._settings)
        specify(task, found, self._settings)  # what is wrong with the task is told before anything is sent
        return found

    def create(self, task: Task[SqlConfig], ctx: Context[Server]) -> SqlStatement:
        """Start the statement's worker, or find the one that was started under this key."""
        key, server = ctx.key.name(), ctx.client
        spec = specify(task, ctx.connection, self._settings, key=key, server=server, prefix=ctx.output_prefix)
        job = JobSpec(
            command=(sys.executable, *WORKER),
            env={**credentials(), PASSWORD_VARIABLE: server.password},
            files={STATEMENT_FILE: json.dumps(spec.to_document())},
            grace_s=task.config.grace_s,
        )
        server.create(key, job, timeout_s=ctx.timeout_s)
        return SqlStatement(id=key, prefix=ctx.output_prefix)

    def get_many(
        self, jobs: Sequence[SqlStatement], ctx: AccountContext[Server]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return where statements stand; the database is asked once, for those that neither process nor marks tell of."""
        views = ctx.client.looks([(job.id, job.prefix) for job in jobs])
        return {key: view if isinstance(view, AgentError) else _status(view) for key, view in views.items()}

    def find(self, task: Task[SqlConfig], key: Key, ctx: Context[Server]) -> Sequence[SqlStatement]:  # noqa: ARG002
        """Return the statement of a key: its claim lies below this attempt's outputs or an earlier one's."""
        prefix = ctx.client.find(key.name(), _prefixes(ctx.output_prefix))
        return [] if prefix is None else [SqlStatement(id=key.name(), prefix=prefix)]

    def cancel(self, job: SqlStatement, ctx: Context[Server]) -> None:
        """Ask worker and database to end the statement."""
        ctx.client.cancel(job.id, job.prefix)

    def links(self, job: SqlStatement, connection: SqlConnection) -> Sequence[Link]:
        """Return the page of the operator's console, where there is one."""
        known = self._settings.connections.get(connection.name)
        if known is None or not known.console:
            return []
        return [Link(name=f"{known.kind} console", url=known.console.replace("{key}", job.id))]

    def logs(self, job: SqlStatement, ctx: Context[Server], *, cursor: str | None, limit: int) -> LogPage:
        """Return what the worker wrote, where it ran on this machine."""
        return read_lines(ctx.client.jobs, job.id, cursor, limit)


def specify(
    task: Task[SqlConfig],
    connection: SqlConnection,
    settings: SqlSettings,
    *,
    key: str = "",
    server: Server | None = None,
    prefix: str = "",
) -> StatementSpec:
    """Return what a task's worker is told.

    Raises:
        InvalidTask: A field is wrong, or the outputs' prefix is none that a worker can write to.
        InvalidInputs: An input cannot be a parameter.
    """
    config = task.config
    use, target = use_of(connection, settings)
    statements = _statements(task, target.kind)
    declared = declared_of(task.interface.outputs)
    if config.schema_name:
        target = type(target)(**{**asdict(target), "schema": config.schema_name})
    if config.read_only is False and use.read_only:
        raise InvalidTask("custom.read_only: this connection is for reading only", field="custom.read_only")
    if config.autocommit and (use.read_only or config.read_only):
        raise InvalidTask(
            "custom.autocommit: without a transaction no database holds a statement to reading only; leave it out",
            field="custom.autocommit",
        )
    times = [each for each in (config.statement_timeout_s, use.statement_timeout_s) if each]
    rows = [each for each in (config.max_rows, use.max_rows) if each]
    wish = Wish(
        read_only=use.read_only or bool(config.read_only),
        isolation=config.isolation or use.isolation,
        timeout_s=min(times, default=0.0),
        is_autocommit=config.autocommit,
        numeric=config.numeric,
    )
    names = [name for statement in statements for name in statement.names]
    home = (result_place(prefix) or str(server.root / "outputs" / key)) if server is not None else ""
    return StatementSpec(
        key=key,
        place=server.place(key, prefix) if server is not None else "",
        target=target,
        wish=wish,
        statements=tuple((each.text, each.names) for each in statements),
        parameters=encode_inputs(task.inputs, names),
        output_uri=address_of(declared, home) if server is not None else "",
        max_rows=min(rows, default=0),
        max_bytes=use.max_bytes,
        slots=str(server.slots / _digest(target.to_text())) if server is not None else "",
        limit=use.limit,
        connect_s=use.connect_s,
        declared=declared,
        is_idempotent=config.idempotent,
    )


def _statements(task: Task[SqlConfig], kind: str) -> list[Statement]:
    config = task.config
    configured = config.sql
    if isinstance(config, SQLAlchemyConfig) and config.query_template:
        configured = config.query_template
    templated = task.sql.statement if task.sql is not None else ""
    if configured and templated and configured != templated:
        raise InvalidTask("custom.sql and the template's SQL differ; keep one", field="custom.sql")
    found = statements_of(configured or templated, DIALECTS[kind], frozenset(task.inputs))
    for statement in found:
        if not config.autocommit and _first_word(statement.text) in _CONTROL:
            raise InvalidTask(
                "the SQL begins or ends a transaction, which is the agent's to do; leave it out, or set custom.autocommit",
                field="sql.statement",
            )
    if len(found) > 1 and kind in _ONE_STATEMENT:
        raise InvalidTask(
            f"{kind} has no transaction around several statements; give each its task", field="sql.statement"
        )
    return found


def _status(view: View | None) -> Status | Missing:
    if view is None:
        return Missing()
    end = view.end
    if end is None:
        return Status(state=view.state, message=view.message)
    if view.state == "SUCCEEDED":
        return Status(
            state=view.state, message=_words(end), outputs=values_of(end), usage=_usage(end), custom_info=_facts(end)
        )
    return Status(state=view.state, message=view.message, failure=_failure(view.state, end), custom_info=_facts(end))


def _words(end: Mapping[str, Any]) -> str:
    rows, affected = (end.get("result") or {}).get("rows"), end.get("affected")
    if rows is not None:
        return f"{rows:,} rows"
    return f"{affected:,} rows written" if isinstance(affected, int) else ""


def _failure(state: str, end: Mapping[str, Any]) -> Failure | None:
    if state == "CANCELLED":
        return None
    return Failure(
        code=str(end.get("code") or state),
        message=str(end.get("message", "")),
        retry=Retry.YES if end.get("is_retryable") else Retry.NEVER,
        cause=_CAUSES.get(str(end.get("actor")), Cause.PLATFORM),
    )


def _usage(end: Mapping[str, Any]) -> Usage:
    counted = dict(end.get("usage") or {})
    seconds = float(counted.pop("seconds", 0.0))
    result = end.get("result") or {}
    if result:
        counted.update(rows=result.get("rows", 0), result_bytes=result.get("size_bytes", 0))
    billed = {name: Decimal(str(value)) for name, value in counted.items()}
    return Usage(duration=timedelta(seconds=seconds), billed=billed, source="the statement's worker")


def _facts(end: Mapping[str, Any]) -> dict[str, Any]:
    result = end.get("result") or {}
    facts = {
        **(end.get("usage") or {}),
        "rows": result.get("rows"),
        "bytes": result.get("size_bytes"),
        "rows_written": end.get("affected"),
        "columns": {name: str(kind) for name, kind in result.get("columns", ())[:_SHOWN_COLUMNS]} or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _prefixes(prefix: str) -> list[str]:
    """Return this attempt's prefix and those of the attempts before it: the last part counts down."""
    parent, _, last = prefix.rstrip("/").rpartition("/")
    if not (last.isascii() and last.isdigit()):
        return [prefix]
    number = int(last)
    earlier = range(number - 1, max(number - 1 - _MOST_ATTEMPTS, -1), -1)
    return [prefix, *(f"{parent}/{each}" for each in earlier)]


def _first_word(text: str) -> str:
    while text.startswith(("--", "/*")):
        text = text.partition("\n" if text.startswith("--") else "*/")[2].lstrip()
    return text.lstrip("( \t\r\n").split(None, 1)[0].rstrip(";").upper() if text.strip("( \t\r\n") else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

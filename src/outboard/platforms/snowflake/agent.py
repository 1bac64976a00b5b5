"""Task type `snowflake`: a statement, as flytekit's and Flyte 2's Snowflake tasks send it.

The SQL API takes a request id (`Token`). Documented is that a request that is sent again with it and `retry=true` is not
executed again once it has succeeded; neither how long Snowflake looks back nor what becomes of one that still runs is. An
hour is what we count on, and a quarter of it is what the host uses.

There is no call for many statements at once, and the query history takes a warehouse, so each statement is looked at by
itself, at most `status_calls` at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from outboard.agent import (
    AsyncAgent,
    Context,
    Key,
    LabelRules,
    Link,
    Missing,
    Platform,
    Status,
    Task,
    TaskType,
    Token,
)
from outboard.errors import AgentError
from outboard.platforms.snowflake import history
from outboard.platforms.snowflake.client import SnowflakeClient
from outboard.platforms.snowflake.config import SnowflakeConfig
from outboard.platforms.snowflake.connections import SnowflakeConnection, connection_of, connection_of_flytekit
from outboard.platforms.snowflake.errors import (
    NoSuchStatement,
    StatementFailed,
    StatementTimedOut,
    failure_of,
    refusal_of,
)
from outboard.platforms.snowflake.results import SnowflakeQuery, facts_of, result_of, told
from outboard.platforms.snowflake.settings import SnowflakeSettings
from outboard.platforms.snowflake.statements import body_of, name_of, output_of
from outboard.platforms.snowflake.states import RUNNING, STATES, SUCCESS


class SnowflakeAgent(AsyncAgent[SnowflakeConfig, SnowflakeQuery, SnowflakeClient]):
    """Runs statements; the result stays in Snowflake and is handed over by its address.

    Args:
        platform: The platform.
        settings: The operator's.
    """

    name = "snowflake"
    task_types = (TaskType("snowflake"),)
    submission = Token(valid_for=timedelta(hours=1))
    states = STATES

    def __init__(self, platform: Platform[Any, Any], settings: SnowflakeSettings) -> None:
        super().__init__(platform)
        self._settings = settings

    def connection(self, task: Task[SnowflakeConfig]) -> SnowflakeConnection:
        """Return the task's account and login."""
        return connection_of(task, self._settings)

    async def create(self, task: Task[SnowflakeConfig], ctx: Context[SnowflakeClient]) -> SnowflakeQuery:
        """Start the statement, or find the one that was started under this key."""
        output = output_of(task)
        body = body_of(task, ctx.key, ctx.labels.fit(LabelRules.AWS), self._settings)
        try:
            handle = await ctx.client.submit(body, ctx.key.uuid())
        except (StatementFailed, StatementTimedOut) as error:
            raise refusal_of(error) from None
        return self._job(task, handle, output)

    async def get(self, job: SnowflakeQuery, ctx: Context[SnowflakeClient]) -> Status | Missing:
        """Return where the statement stands."""
        try:
            answer = await ctx.client.look(job.id)
        except NoSuchStatement:
            return Missing()
        except (StatementFailed, StatementTimedOut) as error:
            return await self._measured(_failed(job, error), job, ctx)
        if answer is None:
            return Status(state=RUNNING)
        facts = facts_of(job.id, answer)
        outputs = {job.output: result_of(job, ctx.connection, answer)} if job.output else {}
        ended = Status(state=SUCCESS, message=told(facts), outputs=outputs, custom_info=facts)
        return await self._measured(ended, job, ctx)

    async def find(
        self, task: Task[SnowflakeConfig], key: Key, ctx: Context[SnowflakeClient]
    ) -> Sequence[SnowflakeQuery]:
        """Return the statements of a key, as the query history of the last day tells; that takes the task's warehouse."""
        output = output_of(task)
        where = _where(self._job(task, "", output))
        return [self._job(task, handle, output) for handle in await history.found(ctx.client, key, where)]

    async def cancel(self, job: SnowflakeQuery, ctx: Context[SnowflakeClient]) -> None:
        """Ask for the end of the statement."""
        await ctx.client.cancel(job.id)

    def links(self, job: SnowflakeQuery, connection: SnowflakeConnection) -> Sequence[Link]:
        """Return the statement's page in Snowsight."""
        url = f"{self._settings.console(connection.account)}/#/compute/history/queries/{quote(job.id, safe='')}/detail"
        return [Link(name="Snowflake Query Details", url=url)]

    def read_flytekit(
        self,
        meta: Mapping[str, Any],
        task_type: TaskType,  # noqa: ARG002 - there is one
    ) -> tuple[SnowflakeConnection, SnowflakeQuery] | None:
        """Return a statement that flytekit's or Flyte 2's connector started.

        flytekit writes `{"user", "account", "database", "schema", "warehouse", "query_id", "has_output"}`, Flyte 2
        `connection_kwargs` beside them, of which nothing is used.
        """
        names = ("query_id", "warehouse", "database", "schema")
        query_id, warehouse, database, schema = (meta.get(name) for name in names)
        connection = connection_of_flytekit(meta, self._settings)
        if connection is None or not isinstance(query_id, str) or not query_id:
            return None
        return connection, SnowflakeQuery(
            id=query_id,
            output="results" if meta.get("has_output") is True else "",
            warehouse=warehouse if isinstance(warehouse, str) else "",
            database=database if isinstance(database, str) else "",
            schema_name=schema if isinstance(schema, str) else "",
            is_flyte2="connection_kwargs" in meta,
        )

    def _job(self, task: Task[SnowflakeConfig], handle: str, output: str) -> SnowflakeQuery:
        config = task.config
        is_asked = self._settings.query_history
        return SnowflakeQuery(
            id=handle,
            output=output,
            warehouse=config.warehouse,
            database=config.database,
            schema_name=config.schema_name,
            role=config.role_name if is_asked or not handle else "",
            is_flyte2=not task.settings,
        )

    async def _measured(self, ended: Status, job: SnowflakeQuery, ctx: Context[SnowflakeClient]) -> Status:
        """Return the status with what the statement consumed, where the operator lets the history be asked."""
        if not self._settings.query_history:
            return ended
        facts, usage = await history.consumption(ctx.client, job.id, _where(job), self._settings.price_per_credit)
        return replace(ended, usage=usage, custom_info={**(ended.custom_info or {}), **facts})


def _failed(job: SnowflakeQuery, error: AgentError) -> Status:
    word, failure = failure_of(error)
    info = {"query_id": job.id, "error_code": failure.code}
    return Status(state=word, message=failure.message, failure=failure, custom_info=info)


def _where(job: SnowflakeQuery) -> dict[str, str]:
    return {
        "warehouse": name_of(job.warehouse),
        "database": name_of(job.database),
        "schema": name_of(job.schema_name),
        "role": name_of(job.role),
    }

"""Task types `presto`, `hive` and `athena`: one query on Athena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from outboard.agent import (
    AccountContext,
    AsyncAgent,
    Cause,
    Context,
    Failure,
    JobRef,
    Link,
    Missing,
    Platform,
    SecretRef,
    Status,
    Task,
    TaskType,
    Token,
)
from outboard.errors import AgentError, InvalidTask
from outboard.platforms.athena.client import MOST, AthenaClient, Execution
from outboard.platforms.athena.config import AthenaConfig
from outboard.platforms.athena.errors import failure_of
from outboard.platforms.athena.regions import console_url
from outboard.platforms.athena.request import result_of as declared_result
from outboard.platforms.athena.request import start_request
from outboard.platforms.athena.results import result_of
from outboard.platforms.athena.settings import (
    PROVIDED_ID,
    PROVIDED_KEY,
    PROVIDED_TOKEN,
    AthenaConnection,
    AthenaSettings,
    Login,
)
from outboard.platforms.athena.states import BYTES_LIMIT, NO_RESULT, STATES, error_of, reason_of, state_of
from outboard.platforms.athena.statistics import facts_of, usage_of

TOKENS_LAST: Final = timedelta(hours=24)
"""AWS says nowhere how long it honours a token. Users saw answers of tokens a week old (ankane/blazer#254); a day is on the safe
side of that, and far beyond the quarter of an hour for which a start is ever sent again."""


class AthenaJob(JobRef):
    """A query.

    Attributes:
        output: By which name its result is handed over; empty where the task declares none.
        is_schema: The task declares a Flyte schema rather than a structured dataset.
    """

    output: str = ""
    is_schema: bool = False


class AthenaAgent(AsyncAgent[AthenaConfig, AthenaJob, AthenaClient]):
    """Runs SQL as a query; the result is a table on S3, handed over by its address.

    Args:
        platform: The platform.
        settings: The operator's.
    """

    name = "athena"
    task_types = (TaskType("presto"), TaskType("hive"), TaskType("athena"))
    submission = Token(valid_for=TOKENS_LAST)
    states = STATES
    batch_size = MOST

    def __init__(self, platform: Platform[Any, Any], settings: AthenaSettings) -> None:
        super().__init__(platform)
        self.settings = settings

    def connection(self, task: Task[AthenaConfig]) -> AthenaConnection:
        """Return the region, and as whom.

        Raises:
            InvalidTask: No region is known, or the operator does not allow it, the workgroup or the role.
        """
        settings, names = self.settings, _projects(task)
        region = task.config.region or _first(settings.region_by_project, names) or settings.region
        if not region:
            raise InvalidTask(
                "no AWS region is known; the operator sets platforms.athena.region, or the task names a region",
                field="custom.region",
            )
        if not settings.allows_region(region):
            raise InvalidTask(
                f"queries in {region} are not allowed here; the operator lists regions in platforms.athena.allowed_regions",
                field="custom.region",
            )
        self._workgroup(task)
        role = self._role(task, names)
        if {PROVIDED_ID, PROVIDED_KEY} <= set(task.provided.secrets):
            has_session = PROVIDED_TOKEN in task.provided.secrets
            return AthenaConnection(
                region=region,
                role=role,
                credentials=SecretRef(PROVIDED_ID),
                is_provided=True,
                secret_key=SecretRef(PROVIDED_KEY),
                session=SecretRef(PROVIDED_TOKEN) if has_session else None,
            )
        return self.connection_to(region, role)

    def connection_to(self, region: str, role: str) -> AthenaConnection:
        """Return the service's own connection to a region, acting as a role where one is named."""
        settings = self.settings
        is_keyed = settings.login is Login.KEYS
        own = SecretRef(settings.secret, scope=settings.secret_scope) if is_keyed else None
        return AthenaConnection(region=region, role=role, credentials=own)

    async def create(self, task: Task[AthenaConfig], ctx: Context[AthenaClient]) -> AthenaJob:
        """Start the query, or find the one that was started under this key."""
        result = declared_result(task)
        body = start_request(task, self.settings, key=ctx.key, labels=ctx.labels, workgroup=self._workgroup(task))
        query_id = await ctx.client.start(body, timeout_s=ctx.timeout_s)
        return AthenaJob(id=query_id, output=result.name, is_schema=result.is_schema)

    async def get_many(
        self, jobs: Sequence[AthenaJob], ctx: AccountContext[AthenaClient]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return where the queries stand: up to 50 in one call; one alone by the call that has the larger quota."""
        by_id = {job.id: job for job in jobs}
        found: Mapping[str, Execution | AgentError | None]
        if len(by_id) == 1:
            only = next(iter(by_id))
            found = {only: await ctx.client.get(only, timeout_s=ctx.timeout_s)}
        else:
            found = await ctx.client.get_many(list(by_id), timeout_s=ctx.timeout_s)
        return {query_id: self._status(by_id[query_id], told, ctx.client.region) for query_id, told in found.items()}

    async def cancel(self, job: AthenaJob, ctx: Context[AthenaClient]) -> None:
        """Ask for the query's end."""
        await ctx.client.stop(job.id, timeout_s=ctx.timeout_s)

    def links(self, job: AthenaJob, connection: AthenaConnection) -> Sequence[Link]:
        """Return the query's page in the console."""
        url = console_url(connection.region, job.id, self.settings.console)
        return [Link(name="Athena Query Console", url=url)] if url else []

    def _workgroup(self, task: Task[AthenaConfig]) -> str:
        settings = self.settings
        told = task.config.workgroup or _first(settings.workgroup_by_project, _projects(task)) or settings.workgroup
        if "{{" in told or not settings.allows_workgroup(told):
            raise InvalidTask(
                f"queries in the workgroup {told[:128]!a} are not allowed here; "
                "the operator lists workgroups in platforms.athena.allowed_workgroups",
                field="custom.workgroup",
            )
        return told

    def _role(self, task: Task[AthenaConfig], names: Sequence[str]) -> str:
        settings, asked = self.settings, task.run_as.iam_role
        if not asked.startswith("arn:aws"):
            return _first(settings.role_by_project, names) or settings.role
        if not settings.allows_role(asked) or ":role/" not in asked:
            raise InvalidTask(
                f"tasks may not act as {asked[:128]!a} here; the operator lists roles in platforms.athena.allowed_roles",
                field="security_context.run_as",
            )
        return asked

    def _status(
        self, job: AthenaJob, told: Execution | AgentError | None, region: str
    ) -> Status | Missing | AgentError:
        if told is None:
            return Missing()
        if isinstance(told, AgentError):
            return told
        state = state_of(told)
        if isinstance(state, str) and state != "SUCCEEDED":
            return Status(state=state, message=reason_of(told))
        facts, usage = facts_of(told, self.settings, region), usage_of(told, self.settings)
        if state != "SUCCEEDED":
            failure = _failure(state[1], told, region)
            return Status(state=state, message=failure.message, failure=failure, usage=usage, custom_info=facts)
        result = result_of(told, is_schema=job.is_schema) if job.output else None
        if job.output and result is None:
            return Status(state=("SUCCEEDED", NO_RESULT), failure=_no_result(told), usage=usage, custom_info=facts)
        return Status(
            state=state,
            message=_told(facts),
            outputs={job.output: result} if result is not None else {},
            usage=usage,
            custom_info=facts,
        )


def _failure(word: str, execution: Execution, region: str) -> Failure:
    reason = reason_of(execution)
    if state_of(execution)[0] == "FAILED":
        return failure_of(error_of(execution), reason, region)
    if word == BYTES_LIMIT:
        return Failure(
            code=BYTES_LIMIT,
            message=f"{reason} (the workgroup's limit of bytes per query: read less, or let its owner raise it)",
        )
    return Failure(code="CANCELLED", message=reason or "somebody stopped the query", cause=Cause.CANCELLED_OUTSIDE)


def _no_result(execution: Execution) -> Failure:
    return Failure(
        code=NO_RESULT,
        message=(
            f"the query ran, and the workgroup {execution.get('WorkGroup')} keeps its results to itself (managed query "
            "results); take the task's output away, store the rows (result_format: parquet), or use another workgroup"
        ),
    )


def _told(facts: Mapping[str, Any]) -> str:
    if facts.get("result_reused"):
        return "an earlier result was given again, nothing billed"
    return f"{facts['bytes_scanned']:,} bytes scanned, {facts['bytes_billed']:,} billed"


def _projects(task: Task[AthenaConfig]) -> tuple[str, str]:
    identity = task.identity
    return f"{identity.project}-{identity.domain}", identity.project


def _first(table: Mapping[str, str], names: Sequence[str]) -> str:
    return next((table[name] for name in names if name in table), "")

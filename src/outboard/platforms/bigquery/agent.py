"""Task type `bigquery_query_job_task`: a query job, as flytekit's and Flyte 2's BigQuery tasks send it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from outboard.agent import (
    AccountContext,
    AsyncAgent,
    Cause,
    Context,
    Failure,
    Key,
    Link,
    Missing,
    Named,
    Platform,
    SecretRef,
    Status,
    Task,
    TaskType,
)
from outboard.errors import AgentError, InvalidTask, Rejected, Unavailable
from outboard.platforms.bigquery.client import BigQueryClient, Job, location_of
from outboard.platforms.bigquery.config import BigQueryConfig
from outboard.platforms.bigquery.errors import DUPLICATE, NO_RESULT, failure_of
from outboard.platforms.bigquery.identities import service_account_of
from outboard.platforms.bigquery.listing import BigQueryJob, each, live_among
from outboard.platforms.bigquery.request import KEY_LABEL, byte_limit, dry_run_body, job_body, result_name
from outboard.platforms.bigquery.results import is_script, number, query_statistics, result_of, statement_type
from outboard.platforms.bigquery.settings import SDK_SECRET, BigQueryConnection, BigQuerySettings, Login
from outboard.platforms.bigquery.states import OK, STATES, error_of, state_of
from outboard.platforms.bigquery.statistics import deferments_of, facts_of, usage_of

BATCH: Final = 1000


class BigQueryAgent(AsyncAgent[BigQueryConfig, BigQueryJob, BigQueryClient]):
    """Runs SQL as a query job; the result is a table, handed over by its address.

    Args:
        platform: The platform.
        settings: The operator's.
    """

    name = "bigquery"
    task_types = (TaskType("bigquery_query_job_task"),)
    submission = Named()
    states = STATES
    batch_size = BATCH

    def __init__(self, platform: Platform[Any, Any], settings: BigQuerySettings) -> None:
        super().__init__(platform)
        self.settings = settings

    def connection(self, task: Task[BigQueryConfig]) -> BigQueryConnection:
        """Return the project to bill, and as whom.

        Raises:
            InvalidTask: The operator allows no jobs in that project, or not to act as that service account.
        """
        is_provided = SDK_SECRET in task.config.secrets or SDK_SECRET in task.provided.secrets
        account = service_account_of(task, self.settings)
        return self._connection(task.config.project, SDK_SECRET if is_provided else "", account)

    async def create(self, task: Task[BigQueryConfig], ctx: Context[BigQueryClient]) -> BigQueryJob:
        """Start the job, or find the one that was started under this key."""
        output, location = result_name(task), await self._plan(task, ctx)
        body = job_body(task, self.settings, job_id=ctx.key.name(), location=location, labels=ctx.labels)
        try:
            job = await ctx.client.insert(body, timeout_s=ctx.timeout_s)
        except AgentError as error:
            if error.code != DUPLICATE:
                raise
            job = await self._ours(error, ctx, location)
        return _job_ref(ctx.key, job, location, output)

    async def find(self, task: Task[BigQueryConfig], key: Key, ctx: Context[BigQueryClient]) -> Sequence[BigQueryJob]:
        """Return the job of a key, if there is one that is ours."""
        location = await self._location(task, ctx)
        job = await ctx.client.get(key.name(), location, timeout_s=ctx.timeout_s)
        if job is None and not location:  # and a job outside of US and EU is only got by its location
            location = await ctx.client.whereabouts(key.name(), timeout_s=ctx.timeout_s)
            job = await ctx.client.get(key.name(), location, timeout_s=ctx.timeout_s) if location else None
        if job is None or _key_label(job) != key.text:
            return []
        return [_job_ref(key, job, location, result_name(task))]

    async def get_many(
        self, jobs: Sequence[BigQueryJob], ctx: AccountContext[BigQueryClient]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return where the jobs stand: those that live by a listing, the others one by one (see `listing`)."""
        alive = await live_among(jobs, ctx.client, ctx.timeout_s)
        found: dict[str, Any] = {job_id: _alive(job) for job_id, job in alive.items()}
        others = [job for job in jobs if job.id not in alive]

        async def look(job: BigQueryJob) -> Status | Missing:
            return await self._look(job, ctx)

        return {**found, **await each(others, look, ctx.timeout_s)}

    async def cancel(self, job: BigQueryJob, ctx: Context[BigQueryClient]) -> None:
        """Ask for the job's end, and with it for that of a script's own jobs."""
        await ctx.client.cancel(job.id, job.location, timeout_s=ctx.timeout_s)

    def links(self, job: BigQueryJob, connection: BigQueryConnection) -> Sequence[Link]:
        """Return the job's page in the console."""
        project, place = quote(connection.project, safe=":"), f"bq:{job.location}:{job.id}"
        url = f"{self.settings.console}/bigquery?project={project}&j={place}&page=queryresults"
        return [Link(name="BigQuery Console", url=url)]

    def read_flytekit(
        self,
        meta: Mapping[str, Any],
        task_type: TaskType,  # noqa: ARG002 - there is one
    ) -> tuple[BigQueryConnection, BigQueryJob] | None:
        """Return a job that flytekit's or Flyte 2's connector started: `{"job_id", "project", "location"}`.

        It is followed as the operator's identity, since the handle does not say whose key started it.
        """
        job_id, project, location = meta.get("job_id"), meta.get("project"), meta.get("location")
        if not (isinstance(job_id, str) and isinstance(project, str) and isinstance(location, (str, type(None)))):
            return None
        connection = self._connection(project, "", self.settings.impersonate)
        return connection, BigQueryJob(id=job_id, location=location or self.settings.location or "")

    def connection_to(self, project: str, account: str) -> BigQueryConnection:
        """Return the service's own connection to a project, acting as a service account where one is named.

        Raises:
            InvalidTask: The operator does not allow the project.
        """
        return self._connection(project, "", account)

    def _connection(self, project: str, secret: str, account: str) -> BigQueryConnection:
        settings = self.settings
        if not settings.allows_project(project):
            raise InvalidTask(
                f"jobs in the Google Cloud project {project[:128]!a} are not allowed here; "
                "the operator lists projects in platforms.bigquery.allowed_projects",
                field="custom.ProjectID",
            )
        own = SecretRef(settings.secret, scope=settings.secret_scope) if settings.secret else None
        provided = SecretRef(secret) if secret and settings.login is Login.GOOGLE else None
        return BigQueryConnection(
            project=project,
            endpoint=settings.endpoint,
            login=settings.login,
            credentials=provided or own,
            impersonate=account,
        )

    async def _plan(self, task: Task[BigQueryConfig], ctx: Context[BigQueryClient]) -> str:
        """Return where the job is to run; `Rejected` where it would read more than its limit."""
        limit = byte_limit(task.config, self.settings)
        if limit is None or not self.settings.preflight:
            return await self._location(task, ctx)
        location = task.config.location or self.settings.location or ""
        estimate = await ctx.client.insert(
            dry_run_body(task, self.settings, location=location), timeout_s=ctx.timeout_s
        )
        bytes_read = number(query_statistics(estimate).get("totalBytesProcessed"))
        if bytes_read > limit:
            raise Rejected(
                f"the query would read {bytes_read:,} bytes, more than the limit of {limit:,}; nothing was started: read less, "
                "or raise maximum_bytes_billed",
                code="bytesBilledLimitExceeded",
            )
        return location or location_of(estimate)

    async def _location(self, task: Task[BigQueryConfig], ctx: Context[BigQueryClient]) -> str:
        """Return where the query's data are: as told, else as a dry run finds out; empty where it is refused.

        A statement may be right although its dry run is not (temporary tables of a session): the real one decides.
        """
        told = task.config.location or self.settings.location
        if told:
            return told
        body = dry_run_body(task, self.settings, location="")
        try:
            return location_of(await ctx.client.insert(body, timeout_s=ctx.timeout_s))
        except Rejected:
            return ""

    async def _ours(self, error: AgentError, ctx: Context[BigQueryClient], location: str) -> Job:
        """Return the job that has our id already; it carries our label, or it is somebody else's."""
        job_id = ctx.key.name()
        told = re.search(rf":([A-Za-z0-9-]+)\.{re.escape(job_id)}", error.message)  # "Already Exists: Job p:EU.id"
        where = location or (told.group(1) if told else "")
        job = await ctx.client.get(job_id, where, timeout_s=ctx.timeout_s)
        if job is None:
            raise error  # something else is there already: a table that the job was to make
        if _key_label(job) != ctx.key.text:
            raise Rejected(f"there is a job {job_id} that was not started here; see who uses this id", code=DUPLICATE)
        ctx.log.info("the job is there already", job=job_id)
        return job

    async def _look(self, ref: BigQueryJob, ctx: AccountContext[BigQueryClient]) -> Status | Missing:
        job = await ctx.client.get(ref.id, ref.location, timeout_s=ctx.timeout_s)
        if job is None and not ref.location:
            raise Unavailable(
                "BigQuery knows no such job in US or EU, and its handle names no location; set platforms.bigquery.location"
            )
        if job is None:
            return Missing()
        state = state_of(job)
        if isinstance(state, str):
            return _alive(job)
        has_children = is_script(job)
        children = await ctx.client.children(ref.id, timeout_s=ctx.timeout_s) if has_children else []
        return self._ended(ref, job, children)

    def _ended(self, ref: BigQueryJob, job: Job, children: Sequence[Job]) -> Status:
        state, error = state_of(job), error_of(job)
        facts, usage = facts_of(job, children), usage_of(job, children, self.settings)
        if error is not None:
            reason, words = str(error.get("reason") or ""), str(error.get("message") or "BigQuery gives no words")
            failure = failure_of(reason or state[1], words, location_of(job))
            return Status(state=state, message=failure.message, failure=failure, usage=usage, custom_info=facts)
        table = result_of(job, children) if ref.output else None
        if ref.output and table is None:
            return Status(state=("DONE", NO_RESULT), failure=_no_result(job), usage=usage, custom_info=facts)
        return Status(
            state=("DONE", OK),
            message=_told(facts),
            outputs={ref.output: table} if table is not None else {},
            usage=usage,
            custom_info=facts,
        )


def _job_ref(key: Key, job: Job, location: str, output: str) -> BigQueryJob:
    statistics = job.get("statistics")
    created = number(statistics.get("creationTime")) if isinstance(statistics, Mapping) else 0
    return BigQueryJob(id=key.name(), location=location_of(job) or location, created_ms=created, output=output)


def _key_label(job: Job) -> str:
    configuration = job.get("configuration")
    labels = configuration.get("labels") if isinstance(configuration, Mapping) else None
    return str(labels.get(KEY_LABEL, "")) if isinstance(labels, Mapping) else ""


def _alive(job: Job) -> Status:
    return Status(state=state_of(job), message=deferments_of(job))


def _told(facts: Mapping[str, Any]) -> str:
    if facts.get("cache_hit"):
        return "from the cache, nothing billed"
    rows = f"{facts['affected_rows']:,} rows affected, " if "affected_rows" in facts else ""
    return f"{rows}{facts['bytes_billed']:,} bytes billed"


def _no_result(job: Job) -> Failure:
    statement = statement_type(job) or "the statement"
    return Failure(
        code="NoResult",
        message=f"the query ran, and {statement} gives no table; take the task's output away, or end the SQL with a SELECT",
        cause=Cause.USER,
    )

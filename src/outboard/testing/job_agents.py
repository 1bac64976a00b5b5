"""One agent per way of starting a job once, over any client that offers `JobApi`.

The classes here say how a careful author writes each kind; `ledger_agents` serves them from the in-process ledger and
`rest_agents` over HTTP. They differ in one method, `create`, and in whether a job can be found again:

======================  =====================================================  ==========
kind                    a repeated create                                      `find`
======================  =====================================================  ==========
`TokenAgent`            answers the first job while the token is remembered    no
`FindableTokenAgent`    the same                                               yes
`NamedAgent`            is refused, so the job of that name is ours            yes
`LookupAgent`           starts another job                                     yes, late
`NothingAgent`          starts another job                                     no
======================  =====================================================  ==========
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from outboard.agent import (
    DEFERRED,
    AccountContext,
    AsyncAgent,
    Cause,
    Connection,
    Context,
    Failure,
    JobRef,
    Key,
    LabelRules,
    Link,
    LogLine,
    LogPage,
    Lookup,
    Missing,
    Named,
    Nothing,
    OnUnknown,
    Phase,
    Retry,
    SecretRef,
    StateMap,
    Status,
    Task,
    Token,
    cancelling,
    failed,
    succeeded,
)
from outboard.errors import AgentError
from outboard.testing.ledger import TOKEN_VALID_FOR
from outboard.testing.ledger_client import JobApi, NameIsTaken
from outboard.testing.ledger_jobs import (
    CANCELLED,
    CANCELLING,
    FAILED,
    KEY_LABEL,
    LOST,
    QUEUED,
    RUNNING,
    STATES,
    SUCCEEDED,
    Course,
    JobView,
)

VISIBLE_WITHIN: Final = timedelta(seconds=30)
"""What the kit's `Lookup` agents declare; a ledger whose `visible_after` is longer breaks its word."""
RETAINED_FOR: Final = timedelta(days=7)

STATE_MAP: Final = StateMap(
    {
        QUEUED: Phase.QUEUED,
        RUNNING: Phase.RUNNING,
        CANCELLING: cancelling(),
        SUCCEEDED: succeeded(),
        FAILED: failed(Failure(code="Failed", message="the job failed")),
        LOST: failed(Failure(code="Lost", message="the node went away", retry=Retry.YES, cause=Cause.PLATFORM)),
        CANCELLED: failed(Failure(code="Cancelled", message="cancelled", cause=Cause.CANCELLED_OUTSIDE)),
    },
    documented=STATES,
    source="outboard.testing.ledger_jobs",
)


class JobConfig(Course):
    """How a task's job goes, and where and as whom it runs.

    Attributes:
        region: Jobs of different regions have different connections and accounts.
        login: The key of a secret that the platform's client needs; empty needs none.
    """

    region: str = "here"
    login: str = ""


class LedgerConnection(Connection):
    """Where and as whom; `login` is resolved when the client is opened."""

    region: str = "here"
    login: SecretRef | None = None


class LedgerJobRef(JobRef):
    """A job by its id."""


def connection_fields(config: JobConfig) -> dict[str, Any]:
    """Return what a task's configuration says about its connection."""
    return {"region": config.region, "login": SecretRef(config.login) if config.login else None}


def status_of(view: JobView) -> Status:
    """Return what an agent answers about a job that the platform showed."""
    return Status(state=view.state, message=view.message, outputs=DEFERRED if view.has_outputs else {})


class KitAgent(AsyncAgent[JobConfig, LedgerJobRef, JobApi], abstract=True):
    """What the kinds share: everything but `create`."""

    states = STATE_MAP
    poll_interval = timedelta(0)

    def connection(self, task: Task[JobConfig]) -> Connection:
        """Return the platform's own settings with what the task says."""
        fields = {**self.platform.settings.model_dump(), **connection_fields(task.config)}
        return self.platform.connection_model.model_validate(fields)

    async def get(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Status | Missing:
        """Return the job's state."""
        view = await ctx.client.get(job.id)
        return Missing() if view is None else status_of(view)

    async def cancel(self, job: LedgerJobRef, ctx: Context[JobApi]) -> None:
        """Ask for its end."""
        await ctx.client.cancel(job.id)

    async def fetch_outputs(self, job: LedgerJobRef, ctx: Context[JobApi]) -> Mapping[str, Any]:
        """Return its outputs."""
        return await ctx.client.fetch(job.id)

    def links(self, job: LedgerJobRef, connection: Any) -> Sequence[Link]:  # noqa: ARG002 - the signature is the authoring API's
        """Return a page that does not exist."""
        return (Link(name="Job", url=f"https://ledger.example/{job.id}"),)

    async def logs(self, job: LedgerJobRef, ctx: Context[JobApi], *, cursor: str | None, limit: int) -> LogPage:
        """Return the lines of its course."""
        lines = await ctx.client.logs(job.id)
        start = int(cursor or 0)
        end = min(start + limit, len(lines))
        has_ended = end == len(lines) and bool(lines) and lines[-1][1].startswith("ended")
        return LogPage(
            lines=[LogLine(message=line, at=datetime.fromtimestamp(at, timezone.utc)) for at, line in lines[start:end]],
            next_cursor=None if has_ended else str(end),
            ended=has_ended,
        )


class FindableAgent(KitAgent, abstract=True):
    """Jobs are found by the label that every job of the kit carries."""

    async def find(self, task: Task[JobConfig], key: Key, ctx: Context[JobApi]) -> Sequence[LedgerJobRef]:  # noqa: ARG002 - the signature is the authoring API's
        """Return the jobs of a key, oldest first."""
        return [LedgerJobRef(id=view.id) for view in await ctx.client.find(KEY_LABEL, key.text)]


class TokenAgent(KitAgent, abstract=True):
    """The platform remembers the token of a create."""

    submission = Token(valid_for=TOKEN_VALID_FOR)

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start the job, or learn of the one that a lost reply left."""
        view = await ctx.client.create(token=ctx.key.token(), **request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class FindableTokenAgent(FindableAgent, TokenAgent, abstract=True):
    """The same, and its jobs are found again: they can be adopted."""


class NamedAgent(FindableAgent, abstract=True):
    """The platform refuses a second job of a name."""

    submission = Named()

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start the job; one that has its name was started by us, since the name is the key."""
        name = ctx.key.name()
        try:
            await ctx.client.create(name=name, **request_fields(task, ctx))
        except NameIsTaken:
            ctx.log.info("the job is there already", job=name)
        return LedgerJobRef(id=name)


class LookupAgent(FindableAgent, abstract=True):
    """The platform knows neither tokens nor names of ours, but finds jobs by their labels."""

    submission = Lookup(visible_within=VISIBLE_WITHIN, retained_for=RETAINED_FOR)

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start another job, whoever asks."""
        view = await ctx.client.create(**request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class NothingAgent(KitAgent, abstract=True):
    """The platform offers nothing: a create whose reply was lost is lost."""

    submission = Nothing()

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start another job, whoever asks."""
        view = await ctx.client.create(**request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class RetryingNothingAgent(NothingAgent, abstract=True):
    """The same, whose author accepts that a job may run twice."""

    submission = Nothing(on_unknown=OnUnknown.RETRY)


class BatchingAgent(NamedAgent, abstract=True):
    """Named jobs that are asked for a hundred at a time."""

    batch_size = 100

    async def get_many(
        self, jobs: Sequence[LedgerJobRef], ctx: AccountContext[JobApi]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return the states of those that the platform knows; it tells nothing about the others."""
        views = await ctx.client.get_many([job.id for job in jobs])
        return {view.id: status_of(view) for view in views}


def request_fields(task: Task[JobConfig], ctx: Context[Any]) -> dict[str, Any]:
    """Return what every create of the kit says: labels with the key, the course, the place of the outputs."""
    return {
        "labels": ctx.labels.fit(LabelRules.K8S),
        "course": task.config,
        "output_prefix": ctx.output_prefix,
    }

"""What the agents of the embedded platform share: following, reading and cancelling a job of a job directory.

A status costs a few small file reads and one look at `/proc`, some tenths of a millisecond; the result and the logs
are read only when they are asked for. The job's own files say what became of it; what an agent must remember of the
task (declared outputs, exit codes worth a retry) stands in `task.json` beside them, not in the handle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from outboard.agent import (
    AccountContext,
    BlockingAgent,
    Cause,
    Context,
    Failure,
    JobRef,
    Key,
    LogPage,
    MetricSeries,
    Missing,
    Named,
    Phase,
    Platform,
    Retry,
    StateMap,
    Status,
    Task,
    TaskConfig,
    Usage,
    cancelling,
    failed,
    succeeded,
)
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSnapshot, JobSpec
from outboard.detached.log_cursor import read_lines
from outboard.detached.states import JobState
from outboard.errors import AgentError
from outboard.platforms.embedded.settings import EmbeddedConnection, EmbeddedSettings

TASK_FILE: Final = "task.json"
NO_RESULT: Final = "NO_RESULT"
"""Our own word for a job that ended with exit code 0 and without what the task declares."""

STATES: Final = StateMap(
    {
        JobState.CLAIMED.value: Phase.INITIALIZING,
        JobState.STARTING.value: Phase.INITIALIZING,
        JobState.RUNNING.value: Phase.RUNNING,
        JobState.CANCELLING.value: cancelling(),
        JobState.SUCCEEDED.value: succeeded(),
        JobState.FAILED.value: failed(Failure(code="ExitCode")),
        NO_RESULT: failed(Failure(code="NoResult")),
        JobState.KILLED.value: failed(Failure(code="Killed", retry=Retry.YES, cause=Cause.PLATFORM)),
        JobState.CANCELLED.value: failed(
            Failure(code="Cancelled", message="the job was cancelled", cause=Cause.CANCELLED_OUTSIDE)
        ),
        JobState.VANISHED.value: failed(
            Failure(
                code="Vanished",
                message="the job's processes are gone and nobody recorded its end; the machine may have restarted",
                retry=Retry.YES,
                cause=Cause.PLATFORM,
            )
        ),
    },
    documented=frozenset({*(state.value for state in JobState), NO_RESULT}),
    source="outboard.detached.states",
)

ConfigT = TypeVar("ConfigT", bound=TaskConfig)


class EmbeddedJob(JobRef):
    """A job by its name in the job directory, which is the submission key."""


class EmbeddedAgent(BlockingAgent[ConfigT, EmbeddedJob, JobDirectory], abstract=True):
    """An agent whose jobs live in a job directory; subclasses say what a task runs and what its end means."""

    submission = Named()
    states = STATES
    batch_size = 100
    pool_size = 8
    visibility = timedelta(0)

    def __init__(self, platform: Platform[Any, Any], settings: EmbeddedSettings) -> None:
        super().__init__(platform)
        self.settings = settings

    @abstractmethod
    def specify(self, task: Task[ConfigT], name: str, root: JobDirectory, output_prefix: str) -> JobSpec:
        """Return what the task's job runs."""

    @abstractmethod
    def succeed(self, snapshot: JobSnapshot, root: JobDirectory) -> Status:
        """Return the status of a job that ended with exit code 0."""

    @abstractmethod
    def explain(self, snapshot: JobSnapshot, root: JobDirectory) -> Failure | None:
        """Return why a job failed, where its files tell more than its state."""

    def connection(self, task: Task[Any]) -> EmbeddedConnection:  # noqa: ARG002 - every task of a service has the same
        """Return the job directory of today's settings."""
        return EmbeddedConnection(root=str(self.settings.root.expanduser().absolute()))

    def create(self, task: Task[ConfigT], ctx: Context[JobDirectory]) -> EmbeddedJob:
        """Start the job, or find the one that was started under this key."""
        name = ctx.key.name()
        ctx.client.create(name, self.specify(task, name, ctx.client, ctx.output_prefix))
        return EmbeddedJob(id=name)

    def get_many(
        self, jobs: Sequence[EmbeddedJob], ctx: AccountContext[JobDirectory]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return the jobs as their directories show them."""
        return {job.id: self._look(job, ctx.client) for job in jobs}

    def find(self, task: Task[ConfigT], key: Key, ctx: Context[JobDirectory]) -> Sequence[EmbeddedJob]:  # noqa: ARG002
        """Return the job of a key, if there is one."""
        return [] if ctx.client.snapshot(key.name()) is None else [EmbeddedJob(id=key.name())]

    def cancel(self, job: EmbeddedJob, ctx: Context[JobDirectory]) -> None:
        """Ask the job's process group to end; what does not within its grace is killed."""
        ctx.client.cancel(job.id)

    def logs(self, job: EmbeddedJob, ctx: Context[JobDirectory], *, cursor: str | None, limit: int) -> LogPage:
        """Return lines of the job's output, standard output before standard error."""
        return read_lines(ctx.client, job.id, cursor, limit)

    def metrics(
        self,
        job: EmbeddedJob,
        ctx: Context[JobDirectory],
        *,
        names: Sequence[str],
        start: datetime | None,
        end: datetime | None,
    ) -> Sequence[MetricSeries]:
        """Return the memory and CPU time of the job's processes, sampled by its runner."""
        samples = [each for each in ctx.client.metrics(job.id, start) if end is None or each.time <= end]
        series = (
            MetricSeries(name="memory", unit="bytes", points=[(each.time, float(each.rss_bytes)) for each in samples]),
            MetricSeries(name="cpu_time", unit="s", points=[(each.time, each.cpu_seconds) for each in samples]),
        )
        return [each for each in series if not names or each.name in names]

    def _look(self, job: EmbeddedJob, root: JobDirectory) -> Status | Missing | AgentError:
        try:
            snapshot = root.snapshot(job.id)
            return Missing() if snapshot is None else self._status(snapshot, root)
        except AgentError as error:
            return error  # one unreadable directory hides no other job

    def _status(self, snapshot: JobSnapshot, root: JobDirectory) -> Status:
        if snapshot.state is JobState.SUCCEEDED:
            return self.succeed(snapshot, root)
        failure = self.explain(snapshot, root) if snapshot.state.has_ended else None
        return Status(
            state=snapshot.state.value,
            message=_progress(snapshot),
            failure=failure,
            usage=usage_of(snapshot),
            custom_info=facts_of(snapshot, root),
        )


def facts_of(snapshot: JobSnapshot, root: JobDirectory) -> dict[str, Any]:
    """Return what a console shows about a job: where it lives, and how it ended."""
    facts = {
        "directory": str(root.root / snapshot.name),
        "exit_code": snapshot.exit_code,
        "signal": snapshot.signal,
        "peak_memory_bytes": snapshot.peak_rss_bytes,
    }
    return {name: value for name, value in facts.items() if value is not None}


def usage_of(snapshot: JobSnapshot) -> Usage | None:
    """Return what a job that ended consumed; None before that, and where nobody measured."""
    if snapshot.ended_at is None or snapshot.started_at is None:
        return None
    spent = {} if snapshot.cpu_seconds is None else {"cpu_s": Decimal(str(snapshot.cpu_seconds))}
    return Usage(duration=snapshot.ended_at - snapshot.started_at, billed=spent, source="the job's runner")


def _progress(snapshot: JobSnapshot) -> str:
    progress = snapshot.progress
    if progress is None or snapshot.state.has_ended:
        return ""
    percent = "" if progress.percent is None else f"{progress.percent:.0f} %"
    return ", ".join(part for part in (progress.message, percent) if part)

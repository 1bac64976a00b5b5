"""Agents: the classes that authors write.

Four kinds, and for each a plain-function twin for SDKs that block:

==================  ====================  =======================================================
async               blocking              what it does
==================  ====================  =======================================================
`AsyncAgent`        `BlockingAgent`       starts a job, reports on it, cancels it
`SyncAgent`         `BlockingSyncAgent`   answers at once
`Sensor`            `BlockingSensor`      looks whether something is there yet
==================  ====================  =======================================================

The methods of a class are either all `async def` or all plain; a blocking class runs in a bounded pool of its own.
What a class must have is checked when it is created (see `contracts`), with an error that says what to write.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from outboard.agent.callbacks import Callback, Callbacks
from outboard.agent.config import TaskConfig
from outboard.agent.context import AccountContext, Context
from outboard.agent.contracts import check_agent_class
from outboard.agent.jobs import Connection, JobRef
from outboard.agent.platform import Platform
from outboard.agent.submission import Submission
from outboard.domain.keys import Key
from outboard.domain.secret_refs import SecretRef
from outboard.domain.states import StateMap
from outboard.domain.statuses import Failure, Link, LogPage, MetricSeries, Missing, Status
from outboard.domain.tasks import Task, TaskType
from outboard.errors import AgentError, Unsupported

ConfigT = TypeVar("ConfigT", bound=TaskConfig)
JobT = TypeVar("JobT", bound=JobRef)
ClientT = TypeVar("ClientT")


class OutputSource(str, Enum):
    """Where an agent's outputs come from.

    `INLINE`: the agent returns them. `FILES`: the job writes `outputs.pb` or `error.pb` at the output prefix. `NONE`:
    there are none. `EITHER`: whatever the agent returns, unchecked, and where it returns none the engine looks for the files;
    as flytekit's connectors have it, which do not say beforehand.
    """

    INLINE = "inline"
    FILES = "files"
    NONE = "none"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class After:
    """A sensor's "not yet": nothing will change for `delay`."""

    delay: timedelta


class Agent:
    """What all kinds share.

    Attributes:
        name: The agent's name; it travels in handles, so it never changes (`aliases` keep old ones readable).
        task_types: What it serves.
        secrets: What it reads through `ctx.secrets`; looked up before a method runs.
        is_sync: Whether it answers at once.
        is_blocking: Whether its methods are plain functions that may block.
        pool_size: Threads of a blocking agent.
        config_model: The task's configuration, taken from the type arguments.
    """

    name: ClassVar[str]
    task_types: ClassVar[Sequence[TaskType]]
    aliases: ClassVar[Sequence[str]] = ()
    secrets: ClassVar[Sequence[SecretRef]] = ()
    is_sync: ClassVar[bool] = False
    is_blocking: ClassVar[bool] = False
    pool_size: ClassVar[int] = 16
    config_model: ClassVar[type[BaseModel]]

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_agent_class(cls, abstract=abstract)

    def __init__(self, platform: Platform[Any, Any]) -> None:
        self.platform = platform

    def connection(self, task: Task[Any]) -> Connection:
        """Return where and as whom this task's job runs: a pure function of task and settings, secrets by reference."""
        return self.platform.connection_model.model_validate({})

    def model_for(self, version: int) -> type[BaseModel]:
        """Return the configuration model of a task type version."""
        for task_type in self.task_types:
            if task_type.version == version and task_type.config is not None:
                return task_type.config
        return self.config_model


class PolledAgent(Agent, abstract=True):
    """What agents share whose tasks engines poll; not subclassed directly.

    Polls are answered from memory where they can be, and the platform is asked for many jobs at once where it can be.

    Attributes:
        poll_interval: A poll that comes sooner after an answer than this is answered from memory. The interval grows
            with the job's age, up to `max_staleness`.
        max_staleness: How old an answer may be that was fetched ahead of the poll that gets it.
        status_calls: How many status calls may be under way at once for one connection; of a blocking agent's threads, two
            are left to creates and cancels.
        is_batching: Whether `get_many` is defined.
        batch_size: How many jobs one `get_many` may ask for.
    """

    poll_interval: ClassVar[timedelta] = timedelta(milliseconds=250)
    max_staleness: ClassVar[timedelta] = timedelta(seconds=5)
    status_calls: ClassVar[int] = 16
    is_batching: ClassVar[bool] = False
    batch_size: ClassVar[int] = 1


class JobAgent(PolledAgent, Generic[ConfigT, JobT, ClientT], abstract=True):
    """What `AsyncAgent` and `BlockingAgent` share; not subclassed directly.

    Attributes:
        submission: How the platform keeps a job from being started twice.
        outputs: Where the outputs come from.
        states: From the platform's states to phases.
        visibility: How long after its creation a job may be missing from the platform's answers.
        cancel_finished: Whether `cancel` is also called for jobs that are over (an endpoint that must be torn down).
        late_links: Names of links that only a status brings. A job that is younger than a minute is INITIALIZING rather
            than RUNNING until they are all there, since Flyte shows links on a change of phase only.
        callbacks: Who may call back when a job changes, so that it is asked about at once (see `called_back`); None is nobody.
        native_handles: Whether engines keep another software's bytes for these jobs (`JobRef.native`, `read_native`), so that
            it can follow them too. CreateTask then waits for the job as long as its caller does.
    """

    submission: ClassVar[Submission]
    outputs: ClassVar[OutputSource] = OutputSource.INLINE
    states: ClassVar[StateMap]
    visibility: ClassVar[timedelta] = timedelta(seconds=60)
    cancel_finished: ClassVar[bool] = False
    late_links: ClassVar[Sequence[str]] = ()
    callbacks: ClassVar[Callbacks | None] = None
    native_handles: ClassVar[bool] = False
    job_model: ClassVar[type[JobRef]]

    def links(self, job: JobT, connection: Any) -> Sequence[Link]:
        """Return the links that need no call; they go into the first answer, the only one whose links Flyte always shows.

        Args:
            job: The job.
            connection: What `connection` returned for its task.
        """
        return ()

    def judge(self, status: Status) -> Failure | None:
        """Return why a job that is over failed, where the status tells more than the state map."""
        return status.failure

    def outputs_of(self, job: JobT, status: Status) -> OutputSource:
        """Return where the outputs of a job come from that succeeded: `outputs`, unless the agent starts jobs of several kinds.

        Pure.
        """
        return self.outputs

    def called_back(self, callback: Callback) -> Sequence[str]:
        """Return the ids (`JobRef.id`) of the jobs that a verified callback is about; none where it is about nothing of ours.

        Pure. Needed with `callbacks`. The host asks about these jobs at once; what the callback says of them is
        not believed, so there is nothing else to read from it.
        """
        raise Unsupported(f"agent {self.name} takes no callbacks")

    def read_flytekit(
        self,
        meta: Mapping[str, Any],
        task_type: TaskType,
    ) -> tuple[Connection, JobT] | None:
        """Return where and which the job is that flytekit's own connector service started; None for one not understood.

        Asked where the operator replaced that service while jobs were under way (`accept_flytekit_handles`). Pure.

        Args:
            meta: The JSON object that flytekit's connector wrote as its handle. Anybody can write such: take ids from it,
                never an endpoint that credentials are sent to, and no secret.
            task_type: As the engine names it.
        """
        return None

    def read_native(self, encoded: bytes) -> JobT | None:
        """Return the job in bytes that engines keep for it (`native_handles`); None for bytes that are not of this agent. Pure.

        Raises:
            UnreadableHandle: The operator does not allow to read such bytes.
        """
        return None


class AsyncAgent(JobAgent[ConfigT, JobT, ClientT], abstract=True):
    """Starts jobs on a platform with an asynchronous client. Define `get` or `get_many`, and `create` and `cancel`."""

    @abstractmethod
    async def create(self, task: Task[ConfigT], ctx: Context[ClientT]) -> JobT:
        """Start the job and return what finds it again.

        A pure function of task, key, prefix, labels and connection: the host may call it again with the same ones where
        `submission` makes that safe. Errors are mapped by the platform's `errors`; write no try/except.
        """

    async def get(self, job: JobT, ctx: Context[ClientT]) -> Status | Missing:
        """Return the job's state and facts."""
        raise NotImplementedError

    async def get_many(
        self, jobs: Sequence[JobT], ctx: AccountContext[ClientT]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return statuses by `job.id` for up to `batch_size` jobs of one connection; an absent id is "no news"."""
        raise NotImplementedError

    @abstractmethod
    async def cancel(self, job: JobT, ctx: Context[ClientT]) -> None:
        """Ask the platform to stop the job; return once it accepted. Never wait for the end: the host confirms."""

    async def find(self, task: Task[ConfigT], key: Key, ctx: Context[ClientT]) -> Sequence[JobT]:
        """Return the jobs that carry a key, oldest first; needed by `Lookup`."""
        raise Unsupported(f"agent {self.name} cannot look jobs up by their key")

    async def fetch_outputs(self, job: JobT, ctx: Context[ClientT]) -> Mapping[str, Any]:
        """Return the outputs of a job that succeeded; called once, when a status said `DEFERRED`."""
        raise Unsupported(f"agent {self.name} has no outputs to fetch")

    async def logs(self, job: JobT, ctx: Context[ClientT], *, cursor: str | None, limit: int) -> LogPage:
        """Return up to `limit` log lines after `cursor`."""
        raise Unsupported(f"agent {self.name} offers no logs")

    async def metrics(
        self, job: JobT, ctx: Context[ClientT], *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        """Return metrics of the job between two times; no names means all."""
        raise Unsupported(f"agent {self.name} offers no metrics")


class BlockingAgent(JobAgent[ConfigT, JobT, ClientT], abstract=True):
    """The same as `AsyncAgent` in plain functions, for SDKs that block; runs in a bounded pool of its own.

    Build SDK clients with a read time-out below `ctx.timeout_s`, and switch the SDK's own retries off for
    submissions.
    """

    is_blocking = True

    @abstractmethod
    def create(self, task: Task[ConfigT], ctx: Context[ClientT]) -> JobT:
        """See `AsyncAgent.create`."""

    def get(self, job: JobT, ctx: Context[ClientT]) -> Status | Missing:
        """See `AsyncAgent.get`."""
        raise NotImplementedError

    def get_many(
        self, jobs: Sequence[JobT], ctx: AccountContext[ClientT]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """See `AsyncAgent.get_many`."""
        raise NotImplementedError

    @abstractmethod
    def cancel(self, job: JobT, ctx: Context[ClientT]) -> None:
        """See `AsyncAgent.cancel`."""

    def find(self, task: Task[ConfigT], key: Key, ctx: Context[ClientT]) -> Sequence[JobT]:
        """See `AsyncAgent.find`."""
        raise Unsupported(f"agent {self.name} cannot look jobs up by their key")

    def fetch_outputs(self, job: JobT, ctx: Context[ClientT]) -> Mapping[str, Any]:
        """See `AsyncAgent.fetch_outputs`."""
        raise Unsupported(f"agent {self.name} has no outputs to fetch")

    def logs(self, job: JobT, ctx: Context[ClientT], *, cursor: str | None, limit: int) -> LogPage:
        """See `AsyncAgent.logs`."""
        raise Unsupported(f"agent {self.name} offers no logs")

    def metrics(
        self, job: JobT, ctx: Context[ClientT], *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        """See `AsyncAgent.metrics`."""
        raise Unsupported(f"agent {self.name} offers no metrics")


class AnsweringAgent(Agent, Generic[ConfigT, ClientT], abstract=True):
    """What `SyncAgent` and `BlockingSyncAgent` share; not subclassed directly.

    Attributes:
        timeout: The longest an answer may take, where the caller's deadline allows more.
        repeatable: Whether asking twice does no harm; only then are throttled and unavailable platforms asked again.
    """

    is_sync = True
    timeout: ClassVar[timedelta] = timedelta(seconds=60)
    repeatable: ClassVar[bool] = False


class SyncAgent(AnsweringAgent[ConfigT, ClientT], abstract=True):
    """Answers at once."""

    @abstractmethod
    async def do(self, task: Task[ConfigT], ctx: Context[ClientT]) -> Mapping[str, Any]:
        """Return the outputs by name as native Python values; raise an error of `outboard.errors` for anything else."""


class BlockingSyncAgent(AnsweringAgent[ConfigT, ClientT], abstract=True):
    """The same as `SyncAgent` in a plain function."""

    is_blocking = True

    @abstractmethod
    def do(self, task: Task[ConfigT], ctx: Context[ClientT]) -> Mapping[str, Any]:
        """See `SyncAgent.do`."""


class WatchingAgent(PolledAgent, Generic[ConfigT, ClientT], abstract=True):
    """What `Sensor` and `BlockingSensor` share; not subclassed directly."""

    poll_interval: ClassVar[timedelta] = timedelta(0)

    def read_flytekit(
        self,
        meta: Mapping[str, Any],
        task_type: TaskType,
    ) -> Task[ConfigT] | None:
        """Return the task that a sensor of flytekit's own connector service pokes with; None for one not understood.

        See `JobAgent.read_flytekit`. The task's inputs need their types in its interface; `connection` is asked
        afterwards, so what it refuses is refused here too.
        """
        return None


class Sensor(WatchingAgent[ConfigT, ClientT], abstract=True):
    """Looks whether something is there yet. It has no job: the host keeps the task and pokes when the engine asks."""

    @abstractmethod
    async def poke(self, task: Task[ConfigT], ctx: Context[ClientT]) -> bool | After:
        """Return True once it is there, False or `After(delay)` while it is not."""


class BlockingSensor(WatchingAgent[ConfigT, ClientT], abstract=True):
    """The same as `Sensor` in a plain function."""

    is_blocking = True

    @abstractmethod
    def poke(self, task: Task[ConfigT], ctx: Context[ClientT]) -> bool | After:
        """See `Sensor.poke`."""

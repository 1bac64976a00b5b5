"""A platform for tests: jobs are rows in memory, and every fault that a real one has can be switched on.

It keeps the truth (what was really started and cancelled) apart from what it answers, so tests count jobs and not calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from outboard.agent import (
    DEFERRED,
    AccountContext,
    After,
    AsyncAgent,
    BlockingAgent,
    BlockingSyncAgent,
    Connection,
    Context,
    ErrorMap,
    Failure,
    JobRef,
    Link,
    LogLine,
    LogPage,
    Missing,
    Named,
    Phase,
    Platform,
    SecretRef,
    Sensor,
    StateMap,
    Status,
    Submission,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)
from outboard.domain.identity import ExecutionIdentity
from outboard.errors import Rejected, Throttled
from outboard.host import HostSettings
from outboard.host.invocation import deadline as asyncio_timeout


@dataclass
class Ledger:
    """What the platform really has, and how it behaves.

    Attributes:
        jobs: State by job id.
        starts: How often each job was really started.
        cancels: Ids of jobs that were asked to stop.
        faults: By operation: an exception to raise, or a function to call, before the operation takes effect.
        after: The same, after it took effect.
        outputs: What a job that succeeded gives.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    cancels: list[str] = field(default_factory=list)
    faults: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] | None = None
    opened: int = 0
    closed: int = 0
    polls: int = 0
    fetches: int = 0
    contexts: list[Any] = field(default_factory=list)

    async def at(self, table: str, operation: str) -> None:
        fault = getattr(self, table).get(operation)
        if isinstance(fault, BaseException):
            raise fault
        if fault is not None:
            answer = fault()
            if asyncio.iscoroutine(answer):
                await answer


class LedgerConfig(TaskConfig):
    seconds: float = 0.0
    fail: bool = False


class LedgerConnection(Connection):
    region: str = "here"
    login: SecretRef | None = None


class LedgerJob(JobRef):
    pass


class LedgerPlatform(Platform[LedgerConnection, Ledger]):
    """Agents over one ledger; choose their classes."""

    name = "ledger"
    errors = ErrorMap({"BAD": Rejected, "SLOW": Throttled})

    def __init__(self, ledger: Ledger | None = None, *classes: Callable[[Any], Any]) -> None:
        super().__init__()
        self.ledger = ledger or Ledger()
        self.classes = classes or (LedgerAgent, Greeter, Lookout)

    def agents(self) -> Sequence[Any]:
        return [agent(self) for agent in self.classes]

    @asynccontextmanager
    async def _client(self) -> Any:
        await self.ledger.at("faults", "open")
        self.ledger.opened += 1
        yield self.ledger
        self.ledger.closed += 1

    def open(self, connection: Any, secrets: Any, http: Any) -> Any:
        return self._client()


STATES = StateMap(
    {
        "QUEUED": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "OK": succeeded(),
        "BROKEN": failed(Failure(code="Broken", message="it broke")),
        "STOPPED": failed(Failure(code="Stopped")),
    },
    documented=frozenset({"QUEUED", "RUNNING", "OK", "BROKEN", "STOPPED"}),
    source="tests/ledgers.py",
)


class LedgerAgent(AsyncAgent[LedgerConfig, LedgerJob, Ledger]):
    name = "ledger"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("ledger"), TaskType("ledger", 2))
    submission = Named()
    states = STATES
    visibility = timedelta(0)
    poll_interval = timedelta(0)

    async def create(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> LedgerJob:
        ledger = ctx.client
        ledger.contexts.append(ctx)
        await ledger.at("faults", "create")
        name = ctx.key.name()
        ledger.starts[name] = ledger.starts.get(name, 0) + 1
        ledger.jobs.setdefault(name, "RUNNING")
        await ledger.at("after", "create")
        return LedgerJob(id=name)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status | Missing:
        ledger = ctx.client
        ledger.polls += 1
        await ledger.at("faults", "get")
        state = ledger.jobs.get(job.id)
        if state is None:
            return Missing()
        return Status(state=state, outputs=DEFERRED if ledger.outputs is not None else None)

    async def cancel(self, job: LedgerJob, ctx: Context[Ledger]) -> None:
        await ctx.client.at("faults", "cancel")
        ctx.client.cancels.append(job.id)
        if ctx.client.jobs.get(job.id) in {"RUNNING", "QUEUED"}:
            ctx.client.jobs[job.id] = "STOPPED"
        await ctx.client.at("after", "cancel")

    async def fetch_outputs(self, job: LedgerJob, ctx: Context[Ledger]) -> Mapping[str, Any]:
        ctx.client.fetches += 1
        await ctx.client.at("faults", "fetch")
        return ctx.client.outputs or {}

    async def logs(self, job: LedgerJob, ctx: Context[Ledger], *, cursor: str | None, limit: int) -> LogPage:
        start = int(cursor or 0)
        lines = [LogLine(message=f"line {n} of {job.id}") for n in range(5)][start : start + min(limit, 2)]
        end = start + len(lines)
        return LogPage(lines=lines, next_cursor=str(end), ended=end >= 5)

    def links(self, job: LedgerJob, connection: Any) -> Sequence[Link]:
        return [Link(name="Console", url=f"https://ledger.example/{job.id}")]


class BatchingAgent(LedgerAgent):
    name = "batching"
    task_types = (TaskType("batching"),)
    batch_size = 100

    async def get_many(self, jobs: Sequence[LedgerJob], ctx: AccountContext[Ledger]) -> Mapping[str, Any]:
        ctx.client.polls += 1
        await ctx.client.at("faults", "get")
        return {job.id: Status(state=ctx.client.jobs[job.id]) for job in jobs if job.id in ctx.client.jobs}


class BlockingLedgerAgent(BlockingAgent[LedgerConfig, LedgerJob, Ledger]):
    name = "blocking"
    task_types = (TaskType("blocking"),)
    submission: ClassVar[Submission] = Named()
    states = STATES
    pool_size = 2
    poll_interval = timedelta(0)

    def create(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> LedgerJob:
        if "create" in ctx.client.faults:
            ctx.client.faults["create"]()
        ctx.client.jobs[ctx.key.name()] = "RUNNING"
        return LedgerJob(id=ctx.key.name())

    def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status | Missing:
        time.sleep(task_seconds(ctx))
        return Status(state=ctx.client.jobs[job.id])

    def cancel(self, job: LedgerJob, ctx: Context[Ledger]) -> None:
        ctx.client.jobs[job.id] = "STOPPED"


def task_seconds(ctx: Context[Ledger]) -> float:
    return float(ctx.client.faults.get("get_seconds", 0.0))


class Greeter(SyncAgent[LedgerConfig, Ledger]):
    name = "greeter"
    task_types = (TaskType("greeter"),)
    timeout = timedelta(seconds=5)

    async def do(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> Mapping[str, Any]:
        ctx.client.starts["do"] = ctx.client.starts.get("do", 0) + 1
        await ctx.client.at("faults", "do")
        return {"text": f"hello {task.inputs['name']}"}


class BlockingGreeter(BlockingSyncAgent[LedgerConfig, Ledger]):
    name = "blocking greeter"
    task_types = (TaskType("blocking_greeter"),)
    repeatable = True

    def do(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> Mapping[str, Any]:
        return {"text": "hello"}


class Lookout(Sensor[LedgerConfig, Ledger]):
    name = "lookout"
    task_types = (TaskType("lookout"),)

    async def poke(self, task: Task[LedgerConfig], ctx: Context[Ledger]) -> bool | After:
        ctx.client.polls += 1
        if task.config.seconds:
            return After(timedelta(seconds=task.config.seconds))
        return task.inputs["path"] in ctx.client.jobs


def ledger_task(kind: str = "ledger", *, node: str = "n0", config: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A task of one of the agents above, under an identity and a prefix of its own per node."""
    identity = ExecutionIdentity(project="p", domain="d", execution="exec", node=node)
    fields = {"identity": identity, "output_prefix": f"memory://out/exec/{node}/0", **fields}
    return Task(type=kind, config=config or {}, **fields)


QUICK = HostSettings(cancel_wait=timedelta(seconds=0.2), status_limit=timedelta(seconds=0.2))
"""Settings under which a test waits for nobody."""


async def until(condition: Callable[[], Any], *, within_s: float = 10.0) -> None:
    """Wait until `condition()` is true; it may be a coroutine function."""
    async with asyncio_timeout(within_s):
        while True:  # what is awaited changes in places that know nothing of tests
            holds = condition()
            if await holds if asyncio.iscoroutine(holds) else holds:
                return
            await asyncio.sleep(0.002)

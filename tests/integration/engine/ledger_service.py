"""A service and its platform in memory, as an endpoint: what really runs, and what the engine gets to hear.

What reaches it takes effect although the caller dies or gives up (`outside`). Calls take time, so that something can happen
while they are in flight; each phase of a call is a moment that a scenario can wait for, stall, or shut the platform at. The key
of a job is its output prefix, one per attempt, as it is a part of every real submission key.

With intents, CreateTask answers after a second at most and the submission goes on behind it, and a DeleteTask is refused at most
three times before it is taken over: what a host with submission records does. Without, errors reach the engine as they are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from outboard.domain.endpoints import AgentInfo
from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure, LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import EndpointUnreachable, InvalidTask, Retry, Unavailable
from outboard.testing.processes import outside

T = TypeVar("T")
TYPE: Final = TaskType("ledger")
PATIENCE_S: Final = 1.0
HOST_ERRORS_PER_DELETE: Final = 3
_LIMITS_S: Final = {"list": 10.0, "create": 30.0, "get": 10.0, "delete": 30.0}


@dataclass
class Job:
    """A job as the platform has it."""

    node: str
    is_alive: bool = True
    end: Phase = Phase.SUCCEEDED
    deletes: int = 0
    told_over: bool = False


@dataclass
class LedgerService:
    """The endpoint, and the truth.

    Attributes:
        with_intents: Behave as a host that keeps submission records.
        call_s: How long each leg of a call takes.
        heeds_from: Which cancel of a job is the first that it heeds.
        ends_after_s: When jobs end by themselves; None is never.
        failing: Nodes, or keys of jobs, that the service calls RETRYABLE_FAILED, though they run on.
        down_until, deletes_down_until: When the platform can be reached again, and when it takes cancels again.
        stalls: By moment: how much longer that leg takes, the first time.
        reached: Events by moment; set when the moment comes.
        second_jobs: Jobs started while another job of the task was alive and not cancelled.
        starts: Jobs started, by key.
        unwanted_since: When somebody cancelled everything; `late` are the jobs that were first asked for after that.
    """

    with_intents: bool = False
    call_s: float = 0.2
    heeds_from: int = 1
    ends_after_s: float | None = None
    failing: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    stalls: dict[str, float] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    deletes: int = 0
    second_jobs: int = 0
    down_until: float = 0.0
    deletes_down_until: float = 0.0
    cancelled_keys: set[str] = field(default_factory=set)
    unwanted_since: float | None = None
    late: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    delete_errors: Counter[str] = field(default_factory=Counter)
    submissions: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def alive(self) -> set[str]:
        """The keys of jobs that run."""
        return {key for key, job in self.jobs.items() if job.is_alive}

    def event(self, moment: str) -> asyncio.Event:
        """Return what is set when a moment comes."""
        return self.reached.setdefault(moment, asyncio.Event())

    async def _leg(self, moment: str) -> None:
        self.event(moment).set()
        await asyncio.sleep(self.call_s + self.stalls.pop(moment, 0.0))

    def _check_up(self, until: float = 0.0) -> None:
        if time.monotonic() < max(until, self.down_until):
            raise Unavailable("the platform is down")

    async def _call(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run a call in the world outside, as long as its deadline."""

        async def run() -> T:
            return await work()

        try:
            return await asyncio.wait_for(outside(run()), _LIMITS_S[operation])
        except (asyncio.TimeoutError, TimeoutError):
            raise Unavailable(f"the service did not answer {operation} in time") from None

    async def list_agents(self) -> Sequence[AgentInfo]:
        async def work() -> Sequence[AgentInfo]:
            await self._leg("before create")
            return [AgentInfo(name="ledger", task_types=[TYPE])]

        return await self._call("list", work)

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        key, node = task.output_prefix, task.identity.node

        async def work() -> bytes:
            if node in self.rejected:
                raise InvalidTask("the platform refuses this task")
            if self.unwanted_since is not None and key not in self.asked:
                self.late.add(key)
            self.asked.add(key)
            if self.with_intents:
                submission = self.submissions.get(key)
                if submission is None:
                    submission = self.submissions[key] = asyncio.ensure_future(self._submit_until_done(key, node))
                await asyncio.wait({submission}, timeout=PATIENCE_S)
            else:
                await self._submit(key, node)
            return key.encode()

        return await self._call("create", work)

    async def _submit(self, key: str, node: str) -> None:
        await self._leg("create sent")
        self._check_up()
        self._start(key, node)
        await self._leg("create in flight")
        self._check_up()

    async def _submit_until_done(self, key: str, node: str) -> None:
        while key not in self.cancelled_keys:
            try:
                await self._submit(key, node)
            except Unavailable:
                await asyncio.sleep(5)
            else:
                break
        if key in self.cancelled_keys:  # it landed after all
            self._cancel(key)

    def _start(self, key: str, node: str) -> None:
        if key in self.jobs:
            return
        others = [job for job in self.jobs.values() if job.node == node and job.is_alive and not job.deletes]
        self.second_jobs += len(others)
        self.starts[key] += 1
        self.jobs[key] = Job(node=node)
        if self.ends_after_s is not None:
            asyncio.get_running_loop().call_later(self.ends_after_s, self.finish, key)

    async def started(self, count: int) -> None:
        """Wait until so many jobs were started."""
        while len(self.jobs) < count:  # noqa: ASYNC110 - in virtual time, where looking costs nothing
            await asyncio.sleep(1)

    def finish(self, key: str) -> None:
        """Let a job end by itself."""
        self.jobs[key].is_alive = False

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        async def work() -> TaskStatus:
            await self._leg("polling")
            if not self.with_intents:
                self._check_up()
            return self._status(handle.decode())

        return await self._call("get", work)

    def _status(self, key: str) -> TaskStatus:
        job = self.jobs.get(key)
        if job is None:
            is_cancelled = key in self.cancelled_keys and self.submissions[key].done()
            return TaskStatus(phase=Phase.ABORTED if is_cancelled else Phase.INITIALIZING)
        if time.monotonic() < self.down_until:
            return TaskStatus(phase=Phase.RUNNING, message="cannot reach the platform")
        if not job.is_alive:
            error = Failure(code="Cancelled") if job.end is Phase.ABORTED else None
            return TaskStatus(phase=job.end, outputs={} if job.end is Phase.SUCCEEDED else None, error=error)
        if job.node in self.failing or key in self.failing:
            job.told_over = True
            gone = Failure(code="RecordGone", message="record gone", retry=Retry.YES)
            return TaskStatus(phase=Phase.RETRYABLE_FAILED, error=gone)
        return TaskStatus(phase=Phase.RUNNING)

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        key = handle.decode()

        async def work() -> None:
            self.deletes += 1
            await self._leg("deleting")
            self.cancelled_keys.add(key)
            try:
                self._check_up(self.deletes_down_until)
            except Unavailable:
                self.delete_errors[key] += 1
                if not self.with_intents or self.delete_errors[key] <= HOST_ERRORS_PER_DELETE:
                    raise
                asyncio.get_running_loop().call_at(max(self.down_until, self.deletes_down_until) + 1, self._cancel, key)
                return
            self._cancel(key)
            await self._leg("delete in flight")

        await self._call("delete", work)

    def _cancel(self, key: str) -> None:
        job = self.jobs.get(key)
        if job is None:
            return
        job.deletes += 1
        if job.is_alive and job.deletes >= self.heeds_from:
            job.is_alive, job.end = False, Phase.ABORTED

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        raise EndpointUnreachable("nothing here answers at once", endpoint="svc")

    async def task_logs(
        self, handle: bytes, *, task_type: TaskType, cursor: str | None = None, limit: int = 0
    ) -> AsyncIterator[LogPage]:
        yield LogPage(lines=(), ended=True)

    async def task_metrics(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        names: Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[MetricSeries]:
        return ()

"""A platform for the service's tests: jobs in memory that are driven by what their configuration says; and tasks for it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from outboard.agent import (
    AsyncAgent,
    Connection,
    Context,
    Failure,
    JobRef,
    Link,
    LogLine,
    LogPage,
    MetricSeries,
    Named,
    Phase,
    Platform,
    StateMap,
    Status,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.tasks import Inputs, RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.errors import Rejected, Throttled
from outboard.service import ServiceSettings

SETTINGS = ServiceSettings(port=0, drain_s=5, stream_patience_s=0.3, max_receive_bytes=1024 * 1024)
NOON = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)


class ProbeConfig(TaskConfig):
    """How a job behaves."""

    mode: str
    size: int = 0


class ProbeJob(JobRef):
    """A job and how it behaves."""

    mode: str = ""
    size: int = 0


class UnspeakableError(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise TypeError


class Gate:
    """Lets a test see that a create has begun, and say when it may end."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.entered.set()
        await self.opened.wait()


class ProbeAgent(AsyncAgent[ProbeConfig, ProbeJob, None]):
    """Runs jobs that exist only here."""

    name = "probe"
    task_types = (TaskType("probe"), TaskType("probe", 2))
    submission = Named()
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded(), "BROKEN": failed(Failure(code="E42", message="it broke"))},
        documented=frozenset({"RUNNING", "DONE", "BROKEN"}),
        source="this file",
    )

    def __init__(self, platform: Platform[Connection, None], gate: Gate | None = None) -> None:
        super().__init__(platform)
        self.gate = gate
        self.cancelled: list[str] = []
        self._numbers = itertools.count(1)

    async def create(self, task: Task[ProbeConfig], ctx: Context[None]) -> ProbeJob:
        match task.config.mode:
            case "rejected":
                raise Rejected("the platform wants another shape", code="SHAPE")
            case "throttled":
                raise Throttled("slow down", retry_after=timedelta(seconds=7))
            case "exits":
                sys.exit(3)
            case "cancels itself":
                raise asyncio.CancelledError
            case "crashes":
                raise ZeroDivisionError("password=hunter2 dapi0123456789abcdef0123456789abcdef")
            case "unspeakable":
                raise UnspeakableError
            case "gated" if self.gate is not None:
                await self.gate.pass_through()
        return ProbeJob(id=str(next(self._numbers)), mode=task.config.mode, size=task.config.size)

    async def get(self, job: ProbeJob, ctx: Context[None]) -> Status:
        match job.mode:
            case "done":
                return Status(state="DONE", message="finished", outputs={"o0": int(job.id)})
            case "large":
                return Status(state="RUNNING", message="x" * job.size)
            case "broken":
                return Status(state="BROKEN")
        return Status(state="RUNNING", message="working", custom_info={"step": 1})

    async def cancel(self, job: ProbeJob, ctx: Context[None]) -> None:
        self.cancelled.append(job.id)

    def links(self, job: ProbeJob, connection: Any) -> Sequence[Link]:
        return (Link(name="Console", url=f"https://console.example.com/{job.id}"),)

    async def logs(self, job: ProbeJob, ctx: Context[None], *, cursor: str | None, limit: int) -> LogPage:
        start = int(cursor or 0)
        stop = min(start + limit, 1200)
        lines = [
            LogLine(message=f"line {n}", at=NOON + timedelta(seconds=n), originator="user") for n in range(start, stop)
        ]
        return LogPage(lines=lines, next_cursor=str(stop), ended=stop == 1200)

    async def metrics(
        self, job: ProbeJob, ctx: Context[None], *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        unit = "x" * job.size or "GiB"
        return [MetricSeries(name=name, points=((start or NOON, 1.5),), unit=unit) for name in names or ("memory",)]


class AskAgent(SyncAgent[ProbeConfig, None]):
    """Answers at once."""

    name = "ask"
    task_types = (TaskType("ask"),)

    async def do(self, task: Task[ProbeConfig], ctx: Context[None]) -> Mapping[str, Any]:
        match task.config.mode:
            case "exits":
                sys.exit(3)
            case "crashes":
                raise ZeroDivisionError("no")
        return {"o0": task.inputs["x"] * 2}


class ProbePlatform(Platform[Connection, None]):
    """The platform of both."""

    name = "probes"

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        self.probe = ProbeAgent(self, gate)

    def agents(self) -> Sequence[Any]:
        return (self.probe, AskAgent(self))


def make_task(task_type: str = "probe", mode: str = "run", *, node: str = "n0", **fields: Any) -> RawTask:
    """A task as an engine would send it, with one input and one output."""
    task: RawTask = Task(
        type=task_type,
        config={"mode": mode},
        identity=ExecutionIdentity(project="p", domain="d", execution="e1", node=node),
        output_prefix=f"memory://bucket/e1/{node}/0",
        inputs=Inputs({"x": 21}),
        interface=Interface({"x": SimpleType.INTEGER}, {"o0": SimpleType.INTEGER}),
    )
    return replace(task, **fields)

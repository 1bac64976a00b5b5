"""A service as small as one can be: jobs in a dictionary that all its replicas share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outboard.domain.endpoints import AgentInfo
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, Task, TaskType


@dataclass
class World:
    """What is shared: the jobs, and what happens around every operation."""

    jobs: dict[str, Phase] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    trail: list[str] = field(default_factory=list)
    before: dict[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    after: dict[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)

    async def meet(self, table: dict[str, Callable[[], Coroutine[Any, Any, None]]], operation: str) -> None:
        if operation in table:
            await table[operation]()


class SmallService:
    """Starts a job under the task's output prefix, without any care for doing it once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: set[str] = set()

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        world = self.world
        world.calls["create_task"] += 1
        try:
            await world.meet(world.before, "create_task")
            world.jobs[task.output_prefix] = Phase.RUNNING
            self.seen.add(task.output_prefix)
            await world.meet(world.after, "create_task")
        except asyncio.CancelledError:
            world.trail.append("cancelled")
            raise
        finally:
            world.trail.append("tidied up")
        return f"{task.output_prefix}#{world.calls['create_task']}".encode()

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        self.world.calls["get_task"] += 1
        await self.world.meet(self.world.before, "get_task")
        return TaskStatus(phase=self.world.jobs[output_prefix])

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        self.world.calls["delete_task"] += 1
        await self.world.meet(self.world.before, "delete_task")
        self.world.jobs[handle.decode().rpartition("#")[0]] = Phase.ABORTED

    async def list_agents(self) -> Sequence[AgentInfo]:
        return [AgentInfo(name="small", task_types=[TaskType("small")])]

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        return TaskStatus(phase=Phase.SUCCEEDED)

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
        return []

    async def drain(self) -> None:
        await self.world.meet(self.world.before, "drain")
        self.world.trail.append("drained")

    async def close(self) -> None:
        self.world.trail.append("closed")


def small_task(node: str = "n0") -> RawTask:
    identity = ExecutionIdentity(project="p", domain="d", execution="e", node=node)
    return Task(type="small", config={}, identity=identity, output_prefix=f"memory://out/{node}")


def pausing(seconds: float) -> Callable[[], Coroutine[Any, Any, None]]:
    async def pause() -> None:
        await asyncio.sleep(seconds)

    return pause


def failing(error: Exception, times: int = 1_000_000) -> Callable[[], Coroutine[Any, Any, None]]:
    left = [times]

    async def fail() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise error

    return fail

"""A ledger of jobs under replicas, for tests of what becomes of cancels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from typing_extensions import Self

from outboard.agent import Context, Registry, TaskType
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.host import Host, HostSettings
from outboard.testing.faults import FaultPlan
from outboard.testing.job_agents import FindableTokenAgent, LedgerJobRef
from outboard.testing.ledger import Ledger, LedgerRules
from outboard.testing.ledger_agents import LEDGER_AGENTS, LedgerPlatform, sample_task
from outboard.testing.ledger_client import JobApi
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores

SETTINGS = HostSettings(installation="tests")


class Endpoint(FindableTokenAgent):
    """A job that is its own product: `cancel` tears it down also when it is over."""

    name = "endpoint"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("endpoint"),)
    cancel_finished = True


class Odd(FindableTokenAgent):
    """An agent whose `cancel` raises what a test says, the first times."""

    name = "odd"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("odd"),)
    raises: ClassVar[list[BaseException]] = []

    async def cancel(self, job: LedgerJobRef, ctx: Context[JobApi]) -> None:
        if self.raises:
            raise self.raises.pop()
        await super().cancel(job, ctx)


class Sky:
    """A ledger, a store, and replicas over both."""

    def __init__(self, replicas: int = 2, *, rules: LedgerRules | None = None, latency_s: float = 0.02) -> None:
        self.ledger, self.faults, self.stores = Ledger(rules), FaultPlan(), MemoryStores()
        self._latency = timedelta(seconds=latency_s)
        self.fleet: Fleet[Host] = Fleet(replicas, self.make_host)

    def make_host(self) -> Host:
        agents = (*LEDGER_AGENTS.values(), Endpoint, Odd)
        platform = LedgerPlatform(self.ledger, self.faults, latency=self._latency, stores=self.stores, agents=agents)
        return Host(Registry([platform]), SETTINGS, stores=self.stores)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fleet.kill()

    async def create(self, task: RawTask) -> bytes:
        return await self.fleet.create_task(task, timeout_s=10)

    async def delete(self, handle: bytes, task: RawTask, timeout_s: float = 10) -> int:
        """Send DeleteTask as FlytePropeller does, until it is answered with success; return the errors before."""
        for errors in range(20):
            try:
                await self.fleet.delete_task(handle, task_type=task.task_type, timeout_s=timeout_s)
            except OutboardError:
                await asyncio.sleep(1.5)
            else:
                return errors
        return 20

    async def phase(self, handle: bytes, task: RawTask) -> Phase:
        status = await self.fleet.get_task(
            handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10
        )
        return status.phase

    @property
    def cancels(self) -> int:
        """How many cancels the platform was sent."""
        return self.faults.calls["cancel"]


def forever(kind: str, **config: Any) -> RawTask:
    return sample_task(kind, running_s=None, **config)


def outage(sky: Sky, seconds: float) -> None:
    sky.faults.cut_off(time.time(), time.time() + seconds)

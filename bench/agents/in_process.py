"""The platform of pages without a network, for virtual time: what `bench/virtual.py` owns is asked directly.

Its quota is spent through the context, as an SDK's calls are, and it refuses what comes beyond it, as a platform does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

from noop import NoopConfig

from outboard.agent import (
    NONE,
    AccountContext,
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Missing,
    Named,
    Phase,
    Platform,
    Quotas,
    Rate,
    StateMap,
    Status,
    Task,
    TaskType,
    succeeded,
)
from outboard.errors import AgentError, Throttled

RATE, BURST = 10.0, 10
"""Calls per second that the platform allows, and how many at once after a pause."""


class MeteredJob(JobRef):
    """Its number."""


class MeteredPlatform(Platform[Connection, None]):
    """Jobs that end at given times on the monotonic clock, and a bucket of calls.

    Attributes:
        ends: When each job ends, by number.
        calls: When each call came, and whether it was refused.
    """

    name = "metered"
    quotas = Quotas({"jobs.list": Rate(per_second=RATE, burst=BURST, source="bench/agents/in_process.py")})

    def __init__(self) -> None:
        super().__init__()
        self.ends: Sequence[float] = ()
        self.calls: list[tuple[float, bool]] = []
        self._chance = random.Random(1)  # noqa: S311 - the same answers take the same time in every run
        self._left, self._counted_at = float(BURST), time.monotonic()

    def agents(self) -> Sequence[MeteredAgent]:
        return (MeteredAgent(self),)

    async def states(self, jobs: Sequence[JobRef]) -> dict[str, str]:
        """Return the states of a page of jobs, 50 to 200 ms after they were asked for."""
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._counted_at) * RATE)
        self._counted_at = now
        is_refused = self._left < 1 - 1e-6
        self.calls.append((now, is_refused))
        if is_refused:
            raise Throttled("too many calls")
        self._left -= 1
        await asyncio.sleep(self._chance.uniform(0.05, 0.2))
        now = time.monotonic()
        return {job.id: "DONE" if now >= self.ends[int(job.id)] else "RUNNING" for job in jobs}


class MeteredAgent(AsyncAgent[NoopConfig, MeteredJob, None]):
    """Follows jobs by pages."""

    name = "metered"
    task_types = (TaskType("metered"),)
    submission = Named()
    outputs = NONE
    batch_size = 100
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded()},
        documented=frozenset({"RUNNING", "DONE"}),
        source="bench/agents/in_process.py",
    )

    def __init__(self, platform: MeteredPlatform) -> None:
        super().__init__(platform)
        self._platform = platform

    async def create(self, task: Task[NoopConfig], ctx: Context[None]) -> MeteredJob:  # noqa: ARG002 - a no-op
        return MeteredJob(id="00000000")

    async def get_many(
        self, jobs: Sequence[MeteredJob], ctx: AccountContext[None]
    ) -> Mapping[str, Status | Missing | AgentError]:
        async with ctx.spend("jobs.list"):
            states = await self._platform.states(jobs)
        return {name: Status(state=state, message="running") for name, state in states.items()}

    async def cancel(self, job: MeteredJob, ctx: Context[None]) -> None:
        pass

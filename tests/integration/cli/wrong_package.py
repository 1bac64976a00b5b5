"""An agent that somebody wrote, with a case, as `outboard check` finds them in the working directory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outboard.agent import Agent, Context, Task, TaskType
from outboard.testing.conformance import Case, Site, StandIn, jobs_of
from outboard.testing.faults import FaultPlan
from outboard.testing.job_agents import FindableTokenAgent, JobConfig, LedgerJobRef, NamedAgent, request_fields
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerPlatform, sample_task
from outboard.testing.ledger_client import JobApi


class Right(NamedAgent):
    name = "right"
    task_types = (TaskType("right"),)


class Wrong(FindableTokenAgent):
    name = "wrong"
    task_types = (TaskType("wrong"),)

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        view = await ctx.client.create(token=secrets.token_hex(8), **request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class Both(LedgerPlatform):
    name = "both"

    @classmethod
    def configure(cls, settings: object) -> Both:
        return cls(agents=[Right, Wrong])


def case_of(agent: type[Agent]) -> Case:
    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        ledger, faults = Ledger(), FaultPlan()

        yield StandIn(
            platform=lambda: LedgerPlatform(ledger, faults, agents=[agent]),
            jobs=lambda: jobs_of(ledger),
            faults=faults,
            quick=sample_task(agent.name),
            long=sample_task(agent.name, running_s=None),
        )

    return Case(agent, stand_in)


RIGHT = case_of(Right)
WRONG = case_of(Wrong)
NOT_ONE = object()

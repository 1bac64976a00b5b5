"""Cases over the ledger, for the suite's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from outboard.agent import Agent
from outboard.domain.types import Interface
from outboard.testing.conformance import AgentReport, Case, Finding, Outcome, Site, StandIn, check_case, jobs_of
from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import ANSWER, LedgerPlatform, sample_task


def ledger_case(
    agent: type[Agent],
    *checks: str,
    is_at_boundary: bool = False,
    long: dict[str, Any] | None = None,
    platform: type[LedgerPlatform] = LedgerPlatform,
    interface: Interface = ANSWER,
    **options: Any,
) -> Case:
    """Return the case of an agent over the ledger; `long` says more about the long task."""
    kind = agent.task_types[0].name

    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        ledger, faults = Ledger(), FaultPlan()
        yield StandIn(
            platform=lambda: platform(ledger, faults, stores=site.stores, agents=[agent]),
            jobs=lambda: jobs_of(ledger),
            faults=None if is_at_boundary else faults,
            quick=sample_task(kind, login="password", interface=interface),
            long=sample_task(kind, login="password", running_s=None, **(long or {})),
            failing=sample_task(kind, login="password", outcome="LOST", outputs=None),
        )

    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:
        return stand_in(site)

    return Case(agent, make, checks=checks, **options)


def failed(report: AgentReport) -> dict[str, Finding]:
    """Return the failed findings by check."""
    return {finding.check: finding for finding in report.having(Outcome.FAILED)}


def failures(case: Case) -> Iterable[str]:
    """Run a case and return the names of the checks that failed."""
    return list(failed(check_case(case)))

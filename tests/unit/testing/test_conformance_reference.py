"""The kit's reference agents pass every check that is asked of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from outboard.agent import Agent, Context, Task, TaskType
from outboard.testing.conformance import (
    AgentReport,
    Case,
    Clock,
    Outcome,
    Site,
    StandIn,
    check_case,
    check_class,
    jobs_of,
)
from outboard.testing.faults import FAULTS
from outboard.testing.job_agents import JobConfig, LedgerJobRef, request_fields
from outboard.testing.ledger_agents import LEDGER_AGENTS, LedgerLookupAgent, LedgerNamedAgent, sample_task
from outboard.testing.platform_server import PlatformServer
from outboard.testing.rest_agents import (
    BlockingRestPlatform,
    RestBlockingAgent,
    RestNamedAgent,
    RestPlatform,
    RestSettings,
)
from outboard.testing.rest_clients import BlockingRestClient
from unit.testing.conformance_cases import ledger_case


def told(report: AgentReport) -> list[str]:
    bad = [*report.having(Outcome.FAILED), *report.having(Outcome.NOT_RUN)]
    return [f"{finding.check}: {finding.message}" for finding in bad]


@pytest.mark.parametrize("name", LEDGER_AGENTS)
def test_every_kind_of_submission_passes_over_a_platform_in_process(name: str) -> None:
    report = check_case(ledger_case(LEDGER_AGENTS[name]))
    assert told(report) == []
    assert len(report.having(Outcome.PASSED)) > 50


@pytest.mark.parametrize("agent", [LedgerNamedAgent, LedgerLookupAgent])
def test_faults_may_strike_at_the_agents_boundary(agent: type[Agent]) -> None:
    assert told(check_case(ledger_case(agent, is_at_boundary=True))) == []


def rest_case(agent: type[Agent], platform: Any, *checks: str, clock: Clock = Clock.VIRTUAL) -> Case:
    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        kind, running_s = agent.name, 10.0 if clock is Clock.VIRTUAL else 0.2
        async with PlatformServer() as server:
            yield StandIn(
                platform=lambda: platform(RestSettings(url=server.url)),
                jobs=lambda: jobs_of(server.ledger),
                faults=server.faults,
                quick=sample_task(kind, running_s=running_s),
                long=sample_task(kind, running_s=None),
                failing=sample_task(kind, running_s=running_s, outcome="FAILED", outputs=None),
            )

    return Case(agent, stand_in, clock=clock, checks=checks)


def test_an_agent_over_http_passes_in_virtual_time() -> None:
    assert told(check_case(rest_case(RestNamedAgent, RestPlatform))) == []


def test_a_blocking_agent_passes_in_real_time() -> None:
    checks = ("runs", "started-once/reply-lost", "started-once/replica-dies-after", "find", "adopt", "answers")
    case = rest_case(RestBlockingAgent, BlockingRestPlatform, *checks, clock=Clock.REAL)
    assert told(check_case(case)) == []


class PatientAgent(RestBlockingAgent):
    """It waits ten minutes for an answer, whatever its deadline is."""

    name = "patient"
    task_types = (TaskType("patient"),)

    def create(self, task: Task[JobConfig], ctx: Context[BlockingRestClient]) -> LedgerJobRef:
        view = ctx.client.create(token=ctx.key.token(), timeout_s=600, **request_fields(task, ctx))
        return LedgerJobRef(id=view.id)


class PatientPlatform(BlockingRestPlatform):
    def agents(self) -> list[Agent]:
        return [PatientAgent(self)]


def test_a_blocking_agent_without_time_limits_is_found() -> None:
    report = check_case(rest_case(PatientAgent, PatientPlatform, "deadlines", clock=Clock.REAL))
    (finding,) = report.having(Outcome.FAILED)
    assert (finding.check, finding.message) == ("deadlines/kept", "create ran on after the deadline")


def test_every_fault_of_the_kit_is_met_by_creates() -> None:
    report = check_case(ledger_case(LedgerNamedAgent, "started-once"))
    names = {finding.check for finding in report.findings}
    assert {f"started-once/{name.replace(' ', '-')}" for name in FAULTS} <= names


def test_a_report_is_plain_json_values_under_stable_names() -> None:
    report = check_case(ledger_case(LedgerNamedAgent, "runs", "declared")).to_json()
    assert report["agent"] == "ledger_named"
    assert report["source"] == "outboard.testing.ledger_agents:LedgerNamedAgent"
    assert report["has_case"] is True
    assert {finding["check"] for finding in report["findings"]} >= {"runs/succeeds", "declared/states"}
    assert all(set(each) == {"check", "outcome", "message", "remedy", "seconds"} for each in report["findings"])


def test_without_a_case_declarations_are_checked_and_the_rest_says_what_to_write() -> None:
    report = check_class(LedgerNamedAgent)
    assert report.is_conforming
    assert {finding.check for finding in report.having(Outcome.PASSED)} >= {"declared/states", "declared/submission"}
    unrun = {finding.check: finding for finding in report.having(Outcome.NOT_RUN)}
    assert {"runs", "started-once", "find", "adopt", "cancel", "unreachable", "deadlines", "handles"} <= set(unrun)
    assert "CASE = Case(MyAgent" in unrun["started-once"].remedy


def test_a_case_whose_modules_are_not_installed_is_not_run() -> None:
    case = ledger_case(LedgerNamedAgent, requires=("no_such_module",))
    report = check_case(case)
    assert report.is_conforming
    unrun = {finding.check: finding for finding in report.having(Outcome.NOT_RUN)}
    assert unrun["started-once"].message == "the case needs no_such_module"


def test_late_visibility_within_what_is_declared_is_no_fault() -> None:
    """The ledger shows jobs after 20 s, the agent declares 30 s."""
    from outboard.testing.ledger import Ledger, LedgerRules
    from outboard.testing.ledger_agents import LedgerPlatform

    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        ledger = Ledger(LedgerRules(visible_after=timedelta(seconds=20)))
        yield StandIn(
            platform=lambda: LedgerPlatform(ledger),
            jobs=lambda: jobs_of(ledger),
            quick=sample_task("ledger_lookup"),
            long=sample_task("ledger_lookup", running_s=None),
        )

    case = Case(LedgerLookupAgent, stand_in, checks=("started-once", "find", "adopt", "cancel"))
    assert told(check_case(case)) == []

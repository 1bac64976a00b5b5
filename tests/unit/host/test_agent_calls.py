"""Agents' calls and their budget: what is known of a call without being passed on, and what "slow down" does to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledgers import Ledger as PlainLedger
from ledgers import LedgerAgent, LedgerConfig, LedgerJob, LedgerPlatform, ledger_task
from outboard.agent import BlockingAgent, Registry, Status, TaskType, Token
from outboard.agent.spending import CURRENT_CALL, AgentCall, Rank, current_call
from outboard.domain.phases import Phase
from outboard.domain.quotas import Quotas, Rate
from outboard.errors import Throttled
from outboard.host import Host
from outboard.host.budgets.budgets import AccountBudget
from outboard.testing.virtual_time import virtually


class Witness(PlainLedger):
    """Notes which call it was asked in, and who outlived it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[AgentCall | None] = []
        self.left_behind: list[asyncio.Task[AgentCall | None]] = []


async def later() -> AgentCall | None:
    await asyncio.sleep(30)
    return current_call()


class Watched(LedgerAgent):
    async def get(self, job: LedgerJob, ctx: Any) -> Any:
        ctx.client.calls.append(current_call())
        ctx.client.left_behind.append(asyncio.ensure_future(later()))
        return await super().get(job, ctx)


class Blocking(BlockingAgent[LedgerConfig, LedgerJob, Any]):
    name = "blocking"
    task_types = (TaskType("blocking"),)
    submission = Token(valid_for=timedelta(hours=1))
    states = LedgerAgent.states
    poll_interval = timedelta(0)

    def connection(self, task: Any) -> Any:
        return self.platform.connection_model()

    def create(self, task: Any, ctx: Any) -> LedgerJob:
        ctx.client.calls.append(current_call())
        return LedgerJob(id="1")

    def get(self, job: LedgerJob, ctx: Any) -> Status:
        ctx.client.calls.append(current_call())
        with ctx.spend("jobs/get"):
            return Status(state="RUNNING")

    def cancel(self, job: LedgerJob, ctx: Any) -> None:
        """Nothing."""


def watched(ledger: PlainLedger, *agents: Any, quotas: Quotas | None = None) -> Host:
    class Limited(LedgerPlatform):
        pass

    Limited.quotas = quotas if quotas is not None else Quotas()
    return Host(Registry([Limited(ledger, *agents)]))


def budget_of(host: Host) -> AccountBudget:
    (budget,) = host._exchange._budgets._accounts.values()
    return budget


@virtually
async def test_a_platform_call_knows_its_rank_and_deadline_in_coroutines_and_threads_until_the_call_is_over() -> None:
    ledger = Witness()
    async with watched(ledger, Watched, Blocking) as host:
        for kind in ("ledger", "blocking"):
            handle = await host.create_task(ledger_task(kind, node=kind))
            await host.get_task(handle)
        polled, created, threaded = ledger.calls
        assert polled is not None
        assert created is not None
        assert threaded is not None
        assert [call.rank for call in (polled, created, threaded)] == [Rank.STATUS, Rank.SUBMISSION, Rank.STATUS]
        assert [call.agent for call in (polled, created, threaded)] == ["ledger", "blocking", "blocking"]
        assert polled.deadline <= time.monotonic() + 60
        assert all(call.is_over for call in (polled, created, threaded))
        assert CURRENT_CALL.get() is None
        assert await ledger.left_behind[0] is None


@virtually
async def test_an_agent_that_never_spends_is_slowed_when_it_raises_throttled() -> None:
    ledger = PlainLedger()
    async with watched(ledger, LedgerAgent) as host:
        handle = await host.create_task(ledger_task())
        ledger.faults["get"] = Throttled("slow down", code="SLOW", retry_after=timedelta(seconds=30))
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        polls = ledger.polls
        other = await host.create_task(ledger_task(node="n1"))
        await asyncio.sleep(10)
        assert (await host.get_task(other)).phase is Phase.RUNNING
        assert ledger.polls == polls  # another job's status is not asked for either
        del ledger.faults["get"]
        await asyncio.sleep(60)
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        assert (await host.get_task(other)).phase is Phase.SUCCEEDED


@virtually
async def test_a_create_that_is_throttled_waits_and_is_sent_again_within_its_window() -> None:
    ledger = PlainLedger()
    began = time.monotonic()

    def refuse() -> None:
        if time.monotonic() - began < 200:
            raise Throttled("slow down", code="SLOW", retry_after=timedelta(seconds=20))

    ledger.faults["create"] = refuse
    async with watched(ledger, LedgerAgent) as host:
        handle = await host.create_task(ledger_task())
        await asyncio.sleep(400)
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        assert sum(ledger.starts.values()) == 1


class Batch(LedgerAgent):
    async def get_many(self, jobs: Sequence[LedgerJob], ctx: Any) -> Mapping[str, Any]:
        ctx.client.polls += 1
        return {job.id: Throttled("slow down", code="SLOW", retry_after=timedelta(seconds=30)) for job in jobs}


@virtually
async def test_a_throttled_among_the_answers_of_a_batch_slows_too() -> None:
    ledger = PlainLedger()
    async with watched(ledger, Batch) as host:
        handle = await host.create_task(ledger_task())
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        assert budget_of(host).guarded == {"get_many"}
        assert 20 < budget_of(host).status_wait_s() <= 31


@virtually
async def test_the_board_learns_from_the_budget_how_long_a_status_would_wait() -> None:
    quotas = Quotas({"jobs/get": Rate(per_second=0.1)})
    async with watched(Witness(), Blocking, quotas=quotas) as host:
        handle = await host.create_task(ledger_task("blocking"))
        live = host._live_jobs.find(handle)
        assert host._exchange.calls.status_wait_s(live) == 0
        await host.get_task(handle)
        wait_s = host._exchange.calls.status_wait_s(live)
        assert 5 < wait_s <= 10
        await asyncio.sleep(wait_s)
        assert host._exchange.calls.status_wait_s(live) == 0


@given(st.sampled_from(["create", "get", "logs", "metrics", "find", "poke"]))
def test_every_method_has_a_rank(method: str) -> None:
    assert AgentCall("agent", method, 0.0).rank in Rank

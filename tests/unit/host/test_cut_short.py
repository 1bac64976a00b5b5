"""Work that is cut short: callers that give up, slow fetches, hung parts at shutdown, requests that are sent again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ledgers import QUICK, Greeter, Ledger, LedgerAgent, LedgerJob, LedgerPlatform, Lookout, ledger_task, until
from outboard.agent import Context, Link, Registry, Status, TaskType
from outboard.domain.phases import Phase
from outboard.domain.tasks import Inputs
from outboard.domain.types import Interface, MapType, SimpleType
from outboard.errors import AgentError, InvalidTask, Sent, Throttled, Unavailable
from outboard.host import Host
from outboard.testing.virtual_time import virtually


def _host(ledger: Ledger, *agents: Any, **settings: Any) -> Host:
    platform = LedgerPlatform(ledger, *(agents or (LedgerAgent, Greeter, Lookout)))
    return Host(Registry([platform]), QUICK.model_copy(update=settings))


async def test_a_cancel_goes_on_although_its_caller_gives_up() -> None:
    ledger, began, proceed = Ledger(), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        began.set()
        await proceed.wait()

    async with _host(ledger) as host:
        handle = await host.create_task(ledger_task())
        ledger.faults["cancel"] = hold
        caller = asyncio.ensure_future(host.delete_task(handle))
        await began.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        again = [asyncio.ensure_future(host.delete_task(handle)) for _ in range(3)]
        await asyncio.sleep(0)
        proceed.set()
        await asyncio.gather(*again)
        assert list(ledger.jobs.values()) == ["STOPPED"]
        assert len(ledger.cancels) == 1


async def test_a_cancel_that_takes_longer_than_its_caller_has_says_that_it_goes_on() -> None:
    ledger, proceed = Ledger(), asyncio.Event()
    async with _host(ledger) as host:
        handle = await host.create_task(ledger_task())
        ledger.faults["cancel"] = proceed.wait
        with pytest.raises(Unavailable, match="still being asked"):
            await host.delete_task(handle, timeout_s=0.05)
        proceed.set()
        await host.drain()
        assert len(ledger.cancels) == 1


class ComeBackLater(LedgerAgent):
    name = "later"
    task_types = (TaskType("later"),)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Any:
        status: Any = await super().get(job, ctx)
        return replace(status, poll_after=timedelta(hours=1))


async def test_a_cancel_asks_for_the_state_although_a_poll_would_be_too_soon() -> None:
    ledger = Ledger()
    async with _host(ledger, ComeBackLater) as host:
        handle = await host.create_task(ledger_task("later"))
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        assert (await host.get_task(handle)).phase is Phase.RUNNING
        await host.delete_task(handle)
        assert not ledger.cancels


async def test_a_job_that_is_gone_counts_as_cancelled() -> None:
    ledger = Ledger()
    async with _host(ledger) as host:
        handle = await host.create_task(ledger_task())
        ledger.jobs.clear()
        ledger.faults["cancel"] = AgentError("404: no such job", sent=Sent.NO)
        await host.delete_task(handle)
        ledger.faults["cancel"] = Unavailable("who knows")
        other = await host.create_task(ledger_task(node="other"))
        ledger.jobs.clear()
        with pytest.raises(Unavailable):
            await host.delete_task(other)


class Slow(LedgerAgent):
    name = "slow"
    task_types = (TaskType("slow"),)

    async def fetch_outputs(self, job: LedgerJob, ctx: Context[Ledger]) -> Mapping[str, Any]:
        ctx.client.fetches += 1
        await ctx.client.at("faults", "fetch")
        assert ctx.timeout_s > 1
        return {"rows": 1}


async def test_outputs_that_take_longer_than_a_poll_are_fetched_once_and_arrive() -> None:
    ledger, proceed = Ledger(outputs={}), asyncio.Event()
    ledger.faults["fetch"] = proceed.wait
    async with _host(ledger, Slow) as host:
        interface = Interface(outputs={"rows": SimpleType.INTEGER})
        handle = await host.create_task(ledger_task("slow", interface=interface))
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        for _ in range(3):
            assert (await host.get_task(handle, timeout_s=0.02)).phase is Phase.RUNNING
        proceed.set()
        ended = await asyncio.gather(*(host.get_task(handle) for _ in range(3)))
        assert {each.phase for each in ended} == {Phase.SUCCEEDED}
        assert ended[0].outputs == {"rows": 1}
        assert ledger.fetches == 1


class Deaf(LedgerAgent):
    """Takes no notice of being cancelled."""

    name = "deaf"
    task_types = (TaskType("deaf"),)

    async def create(self, task: Any, ctx: Context[Ledger]) -> LedgerJob:
        while "hear" not in ctx.client.faults:
            try:
                await ctx.client.faults["create"].wait()
            except asyncio.CancelledError:
                ctx.client.polls += 1
        return LedgerJob(id="1")


async def test_a_drain_does_not_wait_for_ever_for_an_agent_that_ignores_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outboard.host.host._DRAIN_MARGIN_S", 0.05)
    ledger = Ledger()
    ledger.faults["create"] = asyncio.Event()
    host = _host(ledger, Deaf, submission_limit=timedelta(seconds=0.05))
    caller = asyncio.ensure_future(host.create_task(ledger_task("deaf")))
    await until(lambda: ledger.opened)
    await asyncio.wait_for(host.drain(), 30)
    assert ledger.polls >= 1
    ledger.faults["hear"] = True
    ledger.faults["create"].set()
    await asyncio.gather(caller, return_exceptions=True)
    await host.close()


async def test_a_request_that_is_sent_again_with_its_maps_in_another_order_is_the_same_request() -> None:
    async with _host(Ledger()) as host:
        interface = Interface(inputs={"m": MapType(SimpleType.INTEGER)})
        handles = {
            await host.create_task(
                ledger_task(config={"x": dict(order)}, inputs=Inputs({"m": dict(order)}), interface=interface)
            )
            for order in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)])
        }
        assert len(handles) == 1


@pytest.mark.parametrize("other", [{"settings": {"seconds": "2"}}, {"inputs": Inputs({"m": {"a": 2}})}])
async def test_a_request_that_differs_anywhere_is_another_one(other: dict[str, Any]) -> None:
    async with _host(Ledger()) as host:
        await host.create_task(ledger_task(inputs=Inputs({"m": {"a": 1}})))
        with pytest.raises(InvalidTask, match="give each task its own"):
            await host.create_task(ledger_task(**{"inputs": Inputs({"m": {"a": 1}}), **other}))


async def test_large_answers_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outboard.host.answers._KEPT_BYTES", 10_000)
    ledger = Ledger()
    async with _host(ledger) as host:
        for number in range(20):
            await host.execute_task(ledger_task("greeter", node=f"n{number}", inputs=Inputs({"name": "x" * 1000})))
        assert host._answers._flights._weight <= 10_000


async def test_outputs_that_are_refused_are_asked_for_once_per_poll() -> None:
    ledger = Ledger(outputs={})
    async with _host(ledger) as host:
        handle = await host.create_task(ledger_task())
        ledger.jobs = dict.fromkeys(ledger.jobs, "OK")
        ledger.faults["fetch"] = Unavailable("not yet")
        for polls in (1, 2, 3):
            assert (await host.get_task(handle)).phase is Phase.RUNNING
            assert ledger.fetches == polls
        ledger.faults.clear()
        assert (await host.get_task(handle)).phase is Phase.SUCCEEDED


@virtually
async def test_who_was_asked_for_longest_ago_goes_first_when_there_is_no_room() -> None:
    ledger = Ledger()
    async with _host(ledger, remembered=3) as host:
        handles = [await host.create_task(ledger_task(node=f"n{number}")) for number in range(4)]
        ledger.jobs = dict.fromkeys(ledger.jobs, "BROKEN")
        ends = []
        for handle in (*handles[:3], handles[0], handles[3]):
            await asyncio.sleep(60)
            ends.append(await host.get_task(handle))
        assert len(host._live_jobs) == 3
        assert host.recall_task(handles[0]) is ends[0]
        assert host.recall_task(handles[1]) is None


@virtually
async def test_a_job_is_forgotten_ten_minutes_after_its_last_poll() -> None:
    async with _host(Ledger()) as host:
        kept, idle = [await host.create_task(ledger_task(node=node)) for node in ("kept", "idle")]
        await host.get_task(idle)
        for _ in range(4):
            await host.get_task(kept)
            await asyncio.sleep(140)
        assert len(host._live_jobs) == 2
        await host.get_task(kept)
        await asyncio.sleep(110)
        assert [live.encoded for live in host._live_jobs] == [kept]
        await asyncio.sleep(600)
        assert len(host._live_jobs) == 0


async def test_a_phase_does_not_go_backwards_through_a_silence() -> None:
    ledger = Ledger()
    async with _host(ledger, unreachable_after=timedelta(0)) as host:
        handle = await host.create_task(ledger_task())
        await host.get_task(handle)
        ledger.faults["get"] = ConnectionResetError()
        assert (await host.get_task(handle)).phase is Phase.WAITING_FOR_RESOURCES
        ledger.faults.clear()
        ledger.jobs = dict.fromkeys(ledger.jobs, "QUEUED")
        assert (await host.get_task(handle)).phase is Phase.RUNNING


async def test_a_platform_that_says_come_back_tomorrow_is_asked_today() -> None:
    ledger = Ledger()
    async with _host(ledger) as host:
        handle = await host.create_task(ledger_task())
        ledger.faults["get"] = Throttled("later", retry_after=timedelta(days=1))
        await host.get_task(handle)
        live = host._live_jobs.find(handle)
        assert live.rest_until - asyncio.get_running_loop().time() <= 300


class LateLinked(LedgerAgent):
    name = "late"
    task_types = (TaskType("late"),)
    late_links = ("Logs",)

    async def get(self, job: LedgerJob, ctx: Context[Ledger]) -> Status:
        links = [Link(name="Logs", url="https://x/logs")] if ctx.client.faults.get("linked") else []
        return Status(state="RUNNING", links=links)


async def test_a_young_job_is_not_running_before_its_late_links_are_there() -> None:
    ledger = Ledger()
    async with _host(ledger, LateLinked) as host:
        handle = await host.create_task(ledger_task("late"))
        assert (await host.get_task(handle)).phase is Phase.INITIALIZING
        ledger.faults["linked"] = True
        status = await host.get_task(handle)
        assert status.phase is Phase.RUNNING
        assert {link.name for link in status.links} == {"Console", "Logs"}

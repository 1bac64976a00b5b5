"""Cancels: durable, confirmed, never of finished work, and never more than three errors towards an engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.host import Host
from outboard.testing.faults import FORBIDDEN, INVALID, Cut, Refuse, Stall, Unreachable, When
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import Propeller, PropellerSettings
from outboard.testing.replicas import CLEAR, Call, Fleet, Passage
from outboard.testing.virtual_time import virtually
from unit.host.cancelled_jobs import SETTINGS, Odd, Sky, forever, outage

KINDS = ("ledger_token", "ledger_named", "ledger_lookup", "ledger_nothing")


@virtually
async def test_a_task_that_was_refused_has_no_job_to_cancel_even_where_finished_ones_are_torn_down() -> None:
    async with Sky() as sky:
        sky.faults.add(INVALID, "create")
        task = forever("endpoint")
        handle = await sky.create(task)
        for replica in sky.fleet.replicas:
            replica.restart()
        assert await sky.delete(handle, task) == 0
        await asyncio.sleep(2_000)
        assert sky.cancels == 0


@pytest.mark.parametrize("fault", [Refuse(), FORBIDDEN, Stall(when=When.BEFORE)], ids=["500", "403", "hangs"])
@pytest.mark.parametrize("running_s", [1.0])
def test_work_that_succeeded_is_not_cancelled_because_its_outputs_cannot_be_fetched(
    fault: Any, running_s: float
) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            task = sample_task("ledger_named", running_s=running_s)
            handle = await sky.create(task)
            await asyncio.sleep(3_600)
            sky.faults.add(fault, "fetch")
            assert await sky.delete(handle, task) == 0
            await asyncio.sleep(2_000)
            assert sky.cancels == 0

    play()


@virtually
async def test_work_that_succeeded_is_not_cancelled_because_the_store_with_its_files_is_down() -> None:
    async with Sky() as sky:
        task = sample_task("ledger_files", running_s=1.0)
        handle = await sky.create(task)
        await asyncio.sleep(5)
        assert await sky.phase(handle, task) is Phase.SUCCEEDED  # the files are there
        await asyncio.sleep(3_600)
        for replica in sky.fleet.replicas:
            replica.restart()
        sky.stores.down = True
        assert await sky.delete(handle, task) <= 3
        sky.stores.down = False
        await asyncio.sleep(2_000)
        assert sky.cancels == 0
        assert await sky.phase(handle, task) is Phase.SUCCEEDED


@pytest.mark.parametrize("fault", [Refuse(), FORBIDDEN, Unreachable()], ids=["500", "403", "unreachable"])
def test_work_that_succeeded_is_not_cancelled_because_one_question_about_it_failed(fault: Any) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            task = sample_task("ledger_named", running_s=1.0)
            handle = await sky.create(task)
            await asyncio.sleep(3_600)
            sky.faults.add(fault, "get", times=1)
            assert await sky.delete(handle, task) == 0
            await asyncio.sleep(2_000)
            assert sky.cancels == 0

    play()


@virtually
async def test_a_job_whose_record_was_gone_is_cancelled_when_it_turns_up_again() -> None:
    async with Sky(1) as sky:
        task = forever("ledger_token")
        handle = await sky.create(task)
        (job,) = sky.ledger.live()
        job.is_forgotten = True
        phases = set()
        for _ in range(30):
            await asyncio.sleep(30)
            phases.add(await sky.phase(handle, task))
        assert phases == {Phase.RUNNING, Phase.RETRYABLE_FAILED}
        job.is_forgotten = False
        assert await sky.delete(handle, task) == 0
        await asyncio.sleep(60)
        assert sky.ledger.live() == []


@virtually
async def test_a_cancel_of_an_intent_is_confirmed_although_the_record_cannot_be_read_meanwhile() -> None:
    async with Sky() as sky:
        sky.faults.add(Stall(when=When.AFTER, seconds=5), "create", times=1)
        task = forever("ledger_lookup", deaf_to=1)
        handle = await sky.create(task)
        await asyncio.sleep(10)
        sky.fleet.network = lambda call: CLEAR
        deleting = asyncio.ensure_future(sky.delete(handle, task))
        await sky.ledger.effects.reaches("cancelled", 1)
        sky.stores.reads_down = True
        assert await deleting <= 3
        await asyncio.sleep(120)
        assert sky.ledger.live() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_task_that_was_cancelled_while_the_store_was_down_is_never_started_later(kind: str, replicas: int) -> None:
    @virtually
    async def play() -> None:
        async with Sky(replicas) as sky:
            sky.faults.add(Unreachable(), "create", within=(0, time.time() + 300))
            task = forever(kind)
            handle = await sky.create(task)
            await asyncio.sleep(5)
            sky.stores.down = True
            assert await sky.delete(handle, task) <= 3
            await asyncio.sleep(120)
            sky.stores.down = False
            await asyncio.sleep(1_500)
            again = await sky.create(task)
            await asyncio.sleep(300)
            assert await sky.phase(again, task) is Phase.ABORTED
            assert await sky.phase(handle, task) is Phase.ABORTED
            assert sky.ledger.live() == []

    play()


@pytest.mark.parametrize("is_readable", [True, False])
def test_three_replicas_answer_three_errors_although_they_cannot_count_together(is_readable: bool) -> None:
    @virtually
    async def play() -> None:
        async with Sky(3) as sky:
            task = forever("ledger_named")
            handle = await sky.create(task)
            outage(sky, 600)
            sky.stores.writes_down, sky.stores.reads_down = True, not is_readable
            assert await sky.delete(handle, task) == 3
            sky.stores.down = False
            await asyncio.sleep(700)
            assert sky.ledger.live() == []

    play()


@virtually
async def test_without_any_record_store_three_replicas_answer_three_errors() -> None:
    async with Sky(3) as sky:
        task = sample_task("ledger_named", running_s=None, output_prefix="")
        handle = await sky.create(task)
        outage(sky, 600)
        assert await sky.delete(handle, task) == 3
        await asyncio.sleep(700)
        assert sky.ledger.live() == []


@virtually
async def test_a_mark_that_takes_longer_than_a_round_becomes_durable_nevertheless() -> None:
    async with Sky() as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        sky.stores.latency_s = 4.0
        assert await sky.delete(handle, task) <= 3
        await asyncio.sleep(60)
        sky.stores.latency_s = 0.0
        assert len([uri for uri in sky.stores.uris() if "/ob-exec-" in uri]) == 1
        again = await sky.create(task)
        assert await sky.phase(again, task) is Phase.FAILED
        assert sky.ledger.live() == []
        assert sky.ledger.second_jobs() == []


@virtually
async def test_a_cancel_with_hardly_any_time_is_carried_out_behind_its_answer() -> None:
    async with Sky() as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        assert await sky.delete(handle, task, timeout_s=0.001) <= 3
        await asyncio.sleep(60)
        assert sky.ledger.live() == []


@pytest.mark.parametrize(
    "error", [TypeError("a slip"), KeyError("id"), SystemExit(1), asyncio.CancelledError(), RecursionError()], ids=repr
)
def test_an_agent_whose_cancel_breaks_is_asked_again(error: BaseException) -> None:
    @virtually
    async def play() -> None:
        Odd.raises = [error, error, error]
        async with Sky() as sky:
            task = forever("odd")
            handle = await sky.create(task)
            assert await sky.delete(handle, task) == 3
            await asyncio.sleep(300)
            assert sky.ledger.live() == []

    play()


@pytest.mark.parametrize("kind", KINDS)
def test_two_cancels_at_once_on_two_replicas_end_one_job(kind: str) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            task = forever(kind)
            handle = await sky.create(task)
            assert list(await asyncio.gather(sky.delete(handle, task), sky.delete(handle, task))) == [0, 0]
            assert sky.ledger.live() == []

    play()


def _first_answer_lost(call: Call) -> Passage:
    return Passage(reply_lost=True) if call.operation == "create_task" and call.number == 0 else CLEAR


@pytest.mark.parametrize("kind", ["ledger_named", "ledger_lookup", "ledger_token_find", "ledger_token"])
def test_a_job_whose_handle_was_lost_ends_with_the_attempt_that_was_to_adopt_it(kind: str) -> None:
    @virtually
    async def play() -> None:
        async with Sky() as sky:
            sky.fleet.network = _first_answer_lost
            outage_at = time.time() + 5
            sky.faults.cut_off(outage_at, outage_at + 120)
            await Propeller(sky.fleet, PropellerSettings(retries=1)).run(forever(kind), abort_at_s=20)
            assert len(sky.ledger.jobs) == 1
            await asyncio.sleep(600)
            assert sky.ledger.live() == []
            assert len(sky.ledger.jobs) == 1

    play()


@virtually
async def test_a_cancel_outlasts_an_outage_of_six_hours() -> None:
    async with Sky() as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        outage(sky, 6 * 3_600)
        assert await sky.delete(handle, task) == 3
        await asyncio.sleep(6 * 3_600 + 600)
        assert sky.ledger.live() == []


@virtually
async def test_hundreds_of_cancels_at_once_are_carried_out_and_leave_nothing_in_memory() -> None:
    count = 200
    async with Sky(1, latency_s=0.0) as sky:
        tasks = [sample_task("ledger_named", node=f"n{n}", running_s=None) for n in range(count)]
        handles = await asyncio.gather(*(sky.create(task) for task in tasks))
        outage(sky, 300)
        await asyncio.gather(*(sky.delete(handle, task) for handle, task in zip(handles, tasks, strict=True)))
        await asyncio.sleep(600)
        assert sky.ledger.live() == []
        cancellations: Any = sky.fleet.replicas[0].host._cancellations
        assert cancellations._pursuits == {}


@virtually
async def test_a_rolling_upgrade_forgets_no_cancel() -> None:
    async with Sky() as sky:
        task, other = forever("ledger_named"), sample_task("ledger_named", node="n1", running_s=900)
        handle, others = await sky.create(task), await sky.create(other)
        outage(sky, 300)
        assert await sky.delete(handle, task) == 3
        for replica in sky.fleet.replicas:
            await replica.terminate()
            replica.restart()
        await sky.phase(others, other)  # whatever is asked next names the bucket
        await asyncio.sleep(3_600)
        assert sky.ledger.live() == []


@virtually
async def test_a_handle_that_no_replica_can_read_is_answered_three_errors_at_most() -> None:
    async with Sky() as sky:
        task = forever("ledger_named")
        handle = await sky.create(task)
        sky.make_host = lambda: Host(Registry(), SETTINGS, stores=sky.stores)  # type: ignore[method-assign]  # the agent is gone
        sky.fleet = Fleet(2, sky.make_host)
        assert await sky.delete(handle, task) <= 3


@virtually
async def test_a_cancel_where_nobody_knows_whether_there_is_a_job_is_not_called_confirmed() -> None:
    async with Sky(1, latency_s=2) as sky:
        sky.faults.add(Cut(when=When.AFTER), "create")
        task = forever("ledger_nothing")
        before = _unconfirmed("ledger_nothing")
        handle = await sky.create(task)
        await sky.delete(handle, task)
        await asyncio.sleep(1_800)
        assert len(sky.ledger.live()) == 1
        assert _unconfirmed("ledger_nothing") == before + 1


def _unconfirmed(agent: str) -> float:
    return REGISTRY.get_sample_value("outboard_cancel_unconfirmed_total", {"agent": agent}) or 0.0

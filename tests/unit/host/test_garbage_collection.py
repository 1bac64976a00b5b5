"""DeleteTask of an engine that collects garbage: what is finished stays, and it is told the truth until it is answered OK."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError, Unavailable, UnreadableHandle
from outboard.host import Host
from outboard.testing.faults import FORBIDDEN, Refuse, Unreachable
from outboard.testing.ledger_agents import sample_task
from outboard.testing.virtual_time import virtually
from unit.host.cancelled_jobs import SETTINGS, Sky, forever

HOUR_S = 3_600.0


async def delete(sky: Sky, handle: bytes, task: RawTask) -> None:
    (replica,) = sky.fleet.replicas
    await replica.ask(
        lambda: replica.host.delete_task(handle, task_type=task.task_type, timeout_s=10, collects_garbage=True)
    )


async def collect(sky: Sky, handle: bytes, task: RawTask) -> int:
    """Send DeleteTask as Flyte 2 does: every ten seconds until it is answered OK; return the errors before."""
    for errors in range(100):
        try:
            await delete(sky, handle, task)
        except OutboardError:
            await asyncio.sleep(10)
        else:
            return errors
    return 100


@pytest.mark.parametrize("kind", ["ledger_token", "ledger_named", "ledger_lookup", "ledger_nothing", "endpoint"])
@pytest.mark.parametrize("is_remembered", [True, False])
def test_work_that_succeeded_is_left_alone_even_where_finished_work_is_torn_down(
    kind: str, is_remembered: bool
) -> None:
    @virtually
    async def play() -> None:
        async with Sky(1) as sky:
            task = sample_task(kind, running_s=1.0)
            handle = await sky.create(task)
            await asyncio.sleep(5)
            assert await sky.phase(handle, task) is Phase.SUCCEEDED
            await asyncio.sleep(HOUR_S)
            if not is_remembered:
                sky.fleet.replicas[0].restart()
            assert await collect(sky, handle, task) == 0
            await asyncio.sleep(HOUR_S)
            assert sky.cancels == 0
            assert await sky.phase(handle, task) is Phase.SUCCEEDED

    play()


def test_an_engine_that_does_not_collect_still_tears_down_what_is_finished() -> None:
    @virtually
    async def play() -> None:
        async with Sky(1) as sky:
            task = sample_task("endpoint", running_s=1.0)
            handle = await sky.create(task)
            await asyncio.sleep(HOUR_S)
            assert await sky.delete(handle, task) == 0
            assert sky.cancels > 0

    play()


@pytest.mark.parametrize("fault", [Refuse(), FORBIDDEN, Unreachable()], ids=["500", "403", "unreachable"])
def test_finished_work_is_not_torn_down_while_its_state_is_not_known(fault: Any) -> None:
    @virtually
    async def play() -> None:
        async with Sky(1) as sky:
            task = sample_task("endpoint", running_s=1.0)
            handle = await sky.create(task)
            await asyncio.sleep(HOUR_S)
            sky.fleet.replicas[0].restart()
            sky.faults.add(fault, "get", within=(0, time.time() + 300))
            assert await collect(sky, handle, task) > 3
            await asyncio.sleep(HOUR_S)
            assert sky.cancels == 0

    play()


@virtually
async def test_a_process_that_goes_on_where_another_ended_tears_down_nothing_either() -> None:
    async with Sky(1) as sky:
        task = sample_task("endpoint", running_s=1.0)
        handle = await sky.create(task)
        await asyncio.sleep(HOUR_S)
        sky.fleet.replicas[0].restart()
        sky.faults.add(Unreachable(), "get", within=(0, time.time() + 60))
        with pytest.raises(Unavailable):
            await delete(sky, handle, task)
        await asyncio.sleep(30)
        sky.fleet.replicas[0].restart()
        await asyncio.sleep(60)
        assert await sky.phase(handle, task) is Phase.SUCCEEDED
        await asyncio.sleep(HOUR_S)
        assert sky.cancels == 0
        assert await collect(sky, handle, task) == 0
        assert sky.cancels == 0


@pytest.mark.parametrize("kind", ["ledger_token", "endpoint"])
def test_a_cancel_that_cannot_be_handed_over_is_answered_an_error_for_as_long_as_that_lasts(kind: str) -> None:
    @virtually
    async def play() -> None:
        async with Sky(1) as sky:
            task = forever(kind)
            handle = await sky.create(task)
            await asyncio.sleep(5)
            sky.faults.add(Unreachable(), within=(0, time.time() + 300))
            assert await collect(sky, handle, task) > 10
            await asyncio.sleep(60)
            assert sky.ledger.live() == []

    play()


@virtually
async def test_a_handle_that_this_replica_cannot_read_is_answered_an_error_each_time() -> None:
    async with Sky(1) as sky:
        task = forever("odd")
        handle = await sky.create(task)
        async with Host(Registry([]), SETTINGS, stores=sky.stores) as without_the_agent:
            for _ in range(10):
                with pytest.raises(UnreadableHandle):
                    await without_the_agent.delete_task(handle, task_type=task.task_type, collects_garbage=True)


@virtually
async def test_bytes_that_are_nobodys_handle_are_answered_ok() -> None:
    async with Sky(1) as sky:
        await delete(sky, b"somebody else's", forever("odd"))

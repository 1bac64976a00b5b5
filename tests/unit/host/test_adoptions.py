"""Attempt k takes over what the attempts before it have left running, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from outboard.domain.phases import Phase
from outboard.errors import OutboardError
from outboard.testing.faults import REPLY_LOST, Stall, When
from outboard.testing.ledger_jobs import CANCELLING
from outboard.testing.replicas import CLEAR, Call, Passage
from outboard.testing.virtual_time import virtually
from unit.host.started_once import KINDS, PREFIX, Once, attempt, cancelled, created, ended, polled

FINDABLE = ("ledger_token_find", "ledger_named", "ledger_lookup", "ledger_files")


def deaf(call: Call) -> Passage:
    """Lose the reply of every CreateTask."""
    return Passage(reply_lost=True) if call.operation == "create_task" else CLEAR


async def unheard(once: Once, kind: str, numbers: range, **config: Any) -> None:
    """Send the CreateTasks of some attempts to a service of which nobody hears the answers."""
    async with once.fleet(2, network=deaf) as fleet:
        for number in numbers:
            with pytest.raises(OutboardError):
                await fleet.create_task(attempt(kind, number, **config), timeout_s=10)


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_ten_attempts_whose_answers_were_lost_have_one_job(kind: str) -> None:
    once = Once()
    await unheard(once, kind, range(10), running_s=1_000)
    async with once.fleet(2) as fleet:
        task = attempt(kind, 10, running_s=1_000)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", FINDABLE)
@pytest.mark.parametrize(("number", "jobs"), [(10, 1), (11, 2)])
@virtually
async def test_no_more_than_ten_attempts_are_looked_back(kind: str, number: int, jobs: int) -> None:
    once = Once()
    await unheard(once, kind, range(1), running_s=1_000)
    async with once.fleet(2) as fleet:
        task = attempt(kind, number, running_s=1_000)
        assert (await ended(fleet, await created(fleet, task), task)).phase is Phase.SUCCEEDED
    assert once.jobs == jobs


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_a_cancelled_attempt_is_not_adopted_although_its_job_takes_long_to_die(kind: str) -> None:
    once = Once()
    async with once.fleet(2) as fleet:
        first = attempt(kind, running_s=None, cancelling_s=300)
        handle = await created(fleet, first)
        await cancelled(fleet, handle, first)
        second = attempt(kind, 1, running_s=60)
        status = await ended(fleet, await created(fleet, second), second)
        assert (once.jobs, status.phase) == (2, Phase.SUCCEEDED)
        assert [job.cancels != [] for job in once.ledger.jobs.values()] == [True, False]


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_a_job_that_its_platform_is_stopping_is_not_adopted(kind: str) -> None:
    once = Once()
    await unheard(once, kind, range(1), running_s=None)
    (job,) = once.ledger.jobs.values()
    once.ledger.settle(job.id, CANCELLING)
    async with once.fleet(2) as fleet:
        task = attempt(kind, 1, running_s=60)
        assert (await ended(fleet, await created(fleet, task), task)).phase is Phase.SUCCEEDED
    assert once.jobs == 2


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_a_job_that_succeeded_meanwhile_is_adopted_with_its_outputs(kind: str) -> None:
    once = Once()
    await unheard(once, kind, range(1), running_s=5)
    async with once.fleet(2) as fleet:
        task = attempt(kind, 1, running_s=5)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)
    if kind == "ledger_files":
        assert once.stores.peek(f"{PREFIX}/1/outputs.pb") == once.stores.peek(f"{PREFIX}/0/outputs.pb") is not None
    else:
        assert status.outputs == {"answer": 42}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcome", ["FAILED", "LOST"])
@virtually
async def test_a_job_that_failed_is_what_the_next_attempt_is_a_retry_of(kind: str, outcome: str) -> None:
    once = Once()
    await unheard(once, kind, range(1), running_s=5, outcome=outcome)
    await asyncio.sleep(10)
    async with once.fleet(2) as fleet:
        task = attempt(kind, 1, running_s=5)
        assert (await ended(fleet, await created(fleet, task), task)).phase is Phase.SUCCEEDED
    assert once.jobs == 2


@virtually
async def test_a_job_of_files_that_succeeded_with_an_error_file_is_not_adopted() -> None:
    once = Once()
    await unheard(once, "ledger_files", range(1), running_s=5, error="no disk")
    await asyncio.sleep(10)
    async with once.fleet(2) as fleet:
        task = attempt("ledger_files", 1, running_s=5)
        assert (await ended(fleet, await created(fleet, task), task)).phase is Phase.SUCCEEDED
    assert once.jobs == 2


@pytest.mark.parametrize("kind", ["ledger_token", "ledger_lookup"])
@virtually
async def test_an_attempt_that_a_dead_replica_was_submitting_is_finished_and_adopted(kind: str) -> None:
    once = Once.visible_after(20)
    once.faults.add(Stall(when=When.BEFORE, seconds=15), "create", times=1)
    async with once.fleet(2) as fleet:
        first = asyncio.ensure_future(fleet.replicas[0].ask(lambda: fleet.replicas[0].host.create_task(attempt(kind))))
        await asyncio.sleep(0.5)
        fleet.replicas[0].kill()
        with pytest.raises(OutboardError):
            await first
        task = attempt(kind, 1, running_s=300)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", ["ledger_named", "ledger_token_find", "ledger_files"])
@virtually
async def test_a_create_that_a_dead_replica_had_sent_without_a_record_is_waited_for(kind: str) -> None:
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=15), "create", times=1)
    async with once.fleet(2) as fleet:
        first = asyncio.ensure_future(fleet.replicas[0].ask(lambda: fleet.replicas[0].host.create_task(attempt(kind))))
        await asyncio.sleep(0.5)
        fleet.replicas[0].kill()
        with pytest.raises(OutboardError):
            await first
        task = attempt(kind, 1, running_s=300)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_a_request_that_arrives_after_the_next_attempt_began_starts_nothing(kind: str) -> None:
    """The server stood still, or the network did; the engine gave up and went on with the next attempt."""
    once = Once()

    def late(call: Call) -> Passage:
        return Passage(delay_before_s=100) if (call.operation, call.number) == ("create_task", 0) else CLEAR

    async with once.fleet(2, network=late) as fleet:
        with pytest.raises(OutboardError):
            await fleet.create_task(attempt(kind, running_s=400), timeout_s=10)
        task = attempt(kind, 1, running_s=400)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@virtually
async def test_an_attempt_of_which_nobody_can_tell_is_not_followed_by_a_second_job() -> None:
    """The engine's retry is not the author's consent."""
    once = Once()
    once.faults.add(REPLY_LOST, "create", times=1)
    await unheard(once, "ledger_nothing", range(1), running_s=400)
    async with once.fleet(2) as fleet:
        task = attempt("ledger_nothing", 1, running_s=400)
        status = await ended(fleet, await created(fleet, task), task)
    assert once.jobs == 1
    assert status.phase is Phase.FAILED
    assert status.error is not None
    assert status.error.code == "OutcomeUnknown"


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_attempts_that_overtake_each_other_end_with_one_job_that_lives(kind: str) -> None:
    """Attempts 0 to 3 are all under way on different replicas when the first create is answered at last."""
    once = Once()
    once.latency = timedelta(milliseconds=400)
    once.faults.add(Stall(when=When.BEFORE, seconds=25), "create", times=1)
    async with once.fleet(3, network=deaf) as fleet:
        sent = []
        for number in range(4):
            task = attempt(kind, number, running_s=600)
            sent.append(asyncio.ensure_future(fleet.create_task(task, timeout_s=10)))
            await asyncio.sleep(2)
        await asyncio.gather(*sent, return_exceptions=True)
        fleet.network = lambda _: CLEAR
        handle = await created(fleet, task)
        await asyncio.sleep(200)
        assert (await polled(fleet, handle, task)).phase is Phase.RUNNING
        assert len(once.ledger.live()) == 1
        assert (await ended(fleet, handle, task)).phase is Phase.SUCCEEDED
    assert once.jobs == 1

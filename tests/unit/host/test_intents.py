"""Intents: any replica says where a submission stands; a dead claimant is followed by one heir, whatever the store is like."""

from __future__ import annotations

import asyncio

import pytest

from outboard.domain.phases import Phase
from outboard.testing.faults import REPLY_LOST, Stall, Unreachable, When
from outboard.testing.processes import current_process
from outboard.testing.stores import Fault, random_faults
from outboard.testing.virtual_time import virtually
from unit.host.started_once import BLIND, KINDS, Once, attempt, created, ended, is_right, polled

CERTAIN = [kind for kind in KINDS if kind not in BLIND]


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_an_intent_is_answered_as_initializing_by_every_replica_and_later_as_its_job(kind: str) -> None:
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=30), "create", times=1)
    async with once.fleet(3) as fleet:
        task = attempt(kind, running_s=300)
        handle = await created(fleet, task)
        assert {(await polled(fleet, handle, task)).phase for _ in range(3)} == {Phase.INITIALIZING}
        await asyncio.sleep(40)
        assert {(await polled(fleet, handle, task)).phase for _ in range(3)} == {Phase.RUNNING}
        assert (await ended(fleet, handle, task)).phase is Phase.SUCCEEDED
    assert once.jobs == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latency_s", [0.1, 1.5, 2.5])
@virtually
async def test_a_slow_record_store_keeps_nobody_from_taking_over(kind: str, latency_s: float) -> None:
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=20), "create", times=1)
    async with once.fleet(2) as fleet:
        task = attempt(kind, running_s=100)
        handle = await created(fleet, task)
        await asyncio.sleep(5)
        once.stores.latency_s = latency_s
        fleet.replicas[0].kill()
        status = await ended(fleet, handle, task)
    assert once.jobs == 1
    assert is_right(kind, status)


@pytest.mark.parametrize("kind", CERTAIN)
@virtually
async def test_of_many_heirs_one_submits_although_the_store_loses_their_answers(kind: str) -> None:
    once = Once()
    once.faults.add(Unreachable(), "create", times=4)
    once.stores.schedule = random_faults(7, reply_lost=0.2, repeated=0.2)
    async with once.fleet(5) as fleet:
        task = attempt(kind, running_s=600)
        handle = await created(fleet, task)
        await asyncio.sleep(1)
        fleet.replicas[0].kill()
        ends = await asyncio.gather(*(ended(fleet, handle, task) for _ in range(8)))
    assert once.jobs == 1
    assert {status.phase for status in ends} == {Phase.SUCCEEDED}


@pytest.mark.parametrize("kind", ["ledger_lookup", "ledger_nothing", "ledger_nothing_retry"])
@virtually
async def test_a_process_that_died_while_it_could_not_claim_has_started_nothing(kind: str) -> None:
    """The store was away, and nothing may be sent without a claim; whether a record was deleted nobody can tell."""
    once = Once()
    once.stores.down = True
    async with once.fleet(2) as fleet:
        task = attempt(kind, running_s=100)
        handle = await created(fleet, task)
        await asyncio.sleep(20)
        fleet.replicas[0].kill()
        once.stores.down = False
        status = await ended(fleet, handle, task)
    assert once.jobs == 0
    assert status.error is not None
    assert status.error.code == "OutcomeUnknown"


@pytest.mark.parametrize("kind", CERTAIN)
@virtually
async def test_a_claimant_that_is_cut_off_from_the_store_and_lives_is_not_doubled(kind: str) -> None:
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=8), "create", times=1)

    def cut_off(operation: str, uri: str) -> Fault:
        process = current_process()
        is_cut = process is not None and process.name == "replica-0" and is_away
        return Fault.LOST if is_cut else Fault.NONE

    is_away = False
    once.stores.schedule = cut_off
    async with once.fleet(2) as fleet:
        task = attempt(kind, running_s=900)
        handle = await created(fleet, task)
        is_away = True
        await asyncio.sleep(300)
        is_away = False
        status = await ended(fleet, handle, task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("skew_s", [-3_600.0, 3_600.0])
@pytest.mark.parametrize("kind", ["ledger_token", "ledger_lookup"])
@virtually
async def test_an_heir_whose_clock_is_an_hour_off_still_finds_what_a_dead_replica_started(
    kind: str, skew_s: float
) -> None:
    once = Once()
    once.faults.add(REPLY_LOST, "create", times=1)
    once.faults.add(Unreachable(), "create", times=3)
    once.faults.add(Unreachable(), "find", times=6)
    async with once.fleet(2, wall_skews_s=[0.0, skew_s]) as fleet:
        task = attempt(kind, running_s=600)
        handle = await created(fleet, task)
        fleet.replicas[0].kill()
        status = await ended(fleet, handle, task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)

"""Submissions: refusals are shared, patience is not failure, claims are exclusive whatever the store loses, handles are small."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from datetime import timedelta

import pytest
from pydantic import SecretStr

from outboard.domain.keys import submission_key
from outboard.domain.phases import Phase
from outboard.domain.records import RecordCodec
from outboard.domain.seals import ServiceKey
from outboard.errors import ForeignHandle, OutboardError, UnreadableHandle
from outboard.testing.faults import (
    FORBIDDEN,
    INVALID,
    REPLY_LOST,
    UNAUTHORIZED,
    Fault,
    Refuse,
    Stall,
    Unreachable,
    When,
    throttled,
)
from outboard.testing.processes import current_process
from outboard.testing.replicas import CLEAR, Call, Passage
from outboard.testing.stores import Fault as StoreFault
from outboard.testing.virtual_time import virtually
from unit.host.started_once import BLIND, KINDS, PREFIX, Once, attempt, cancelled, created, ended, polled

SERVICE_KEY = SecretStr(base64.b64encode(bytes(range(32))).decode())
NOT_FOUND = Refuse(status=404, code="NOT_FOUND", words="no such queue")
TEAPOT = Refuse(status=418, code="TEAPOT", words="unheard of")
LIMIT = 512


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        (INVALID, Phase.FAILED),
        (UNAUTHORIZED, Phase.RETRYABLE_FAILED),
        (FORBIDDEN, Phase.RETRYABLE_FAILED),
        (NOT_FOUND, Phase.RETRYABLE_FAILED),
        (TEAPOT, Phase.RETRYABLE_FAILED),
    ],
)
@virtually
async def test_a_refusal_is_one_verdict_for_all_replicas_and_repeated_requests(
    kind: str, fault: Refuse, phase: Phase
) -> None:
    once = Once()
    once.faults.add(fault, "create", times=2)  # refused credentials are tried twice by the first replica itself
    async with once.fleet(3) as fleet:
        task = attempt(kind)
        handles = [await created(fleet, task) for _ in range(4)]
        for handle in handles:
            for _ in range(3):
                status = await polled(fleet, handle, task)
                assert (status.phase, fault.words in status.message) == (phase, True)
    assert once.jobs == 0


@virtually
async def test_the_platforms_words_take_at_most_256_bytes_of_a_handle() -> None:
    once = Once()
    once.faults.add(Refuse(status=400, code="INVALID_ARGUMENT", words="zu gro\u00df: " * 500), "create")
    async with once.fleet(2) as fleet:
        task = attempt("ledger_named")
        handle = await created(fleet, task)
        ending = fleet.replicas[0].host.codec.decode(handle).ending
        assert ending is not None
        assert len(handle) <= LIMIT
        assert 200 < len(ending.message.encode()) <= 256


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [throttled(), throttled(timedelta(seconds=45)), Unreachable()])
@virtually
async def test_slow_down_and_refused_connections_end_no_task_within_fifteen_minutes(kind: str, fault: Fault) -> None:
    once = Once()
    async with once.fleet(2) as fleet:
        once.faults.add(fault, "create", within=(0.0, time.time() + 800))
        task = attempt(kind, running_s=60)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", ["ledger_token", "ledger_token_find", "ledger_named", "ledger_lookup", "ledger_files"])
@virtually
async def test_a_replica_that_drains_gives_back_what_may_have_arrived_and_the_heir_waits_for_it_to_show(
    kind: str,
) -> None:
    once = Once.visible_after(25)
    once.faults.add(REPLY_LOST, "create", times=1)
    async with once.fleet(2) as fleet:
        task = attempt(kind, running_s=300)
        first = asyncio.ensure_future(fleet.create_task(task, timeout_s=10))
        await asyncio.sleep(3)
        assert await fleet.replicas[0].terminate()
        with pytest.raises(OutboardError):
            await fleet.replicas[0].ask(lambda: fleet.replicas[0].host.create_task(task))
        handle = await first
        status = await ended(fleet, handle, task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@virtually
async def test_a_claim_whose_renewal_was_written_unheard_ends_when_others_think_so() -> None:
    """The store does not answer the origin for 80 s; the heir counts from the write, and so must the origin."""
    once = Once.visible_after(0)
    once.faults.add(throttled(), "create", times=1)
    once.faults.add(Stall(when=When.BEFORE, seconds=50), "create", times=1)
    renewals: list[float] = []

    def unheard(operation: str, uri: str) -> StoreFault:
        process = current_process()
        if process is None or process.name != "replica-0" or operation != "replace":
            return StoreFault.NONE
        renewals.append(time.monotonic())
        if len(renewals) == 1:
            return StoreFault.REPLY_LOST
        return StoreFault.LOST if time.monotonic() < renewals[0] + 70 else StoreFault.NONE

    random.seed(0)
    once.stores.schedule = unheard
    async with once.fleet(2) as fleet:
        task = attempt("ledger_lookup", running_s=600)
        handle = await created(fleet, task)
        heir = fleet.replicas[1]
        for _ in range(200):
            await heir.ask(lambda: heir.host.get_task(handle, task_type=task.task_type))
            await asyncio.sleep(1)
        assert (await ended(fleet, handle, task)).phase is Phase.SUCCEEDED
    assert renewals[-1] - renewals[0] > 70
    assert once.jobs == 1


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind not in BLIND],
)
@pytest.mark.parametrize("skew_s", [-3_600.0, 3_600.0])
@virtually
async def test_clocks_that_disagree_by_an_hour_neither_end_nor_double_a_request_that_is_sent_again(
    kind: str, skew_s: float
) -> None:
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=20), "create", times=1)

    def deaf(call: Call) -> Passage:
        return Passage(reply_lost=True) if (call.operation, call.number) == ("create_task", 0) else CLEAR

    async with once.fleet(2, wall_skews_s=[0.0, skew_s], network=deaf) as fleet:
        task = attempt(kind, running_s=100)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", ["ledger_named", "ledger_token_find", "ledger_files"])
@virtually
async def test_a_caller_who_is_gone_at_once_leaves_a_submission_that_others_can_see(kind: str) -> None:
    """The connection broke within the patience; the engine's next attempt reaches another replica."""
    once = Once()
    once.faults.add(Stall(when=When.BEFORE, seconds=40), "create", times=1)
    async with once.fleet(2) as fleet:
        first = asyncio.ensure_future(fleet.create_task(attempt(kind, running_s=300), timeout_s=10))
        await asyncio.sleep(0.4)
        first.cancel()
        await asyncio.sleep(1.5)
        task = attempt(kind, 1, running_s=300)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@virtually
async def test_an_earlier_create_that_may_have_arrived_is_not_forgotten_when_a_later_one_is_refused() -> None:
    """The reply was lost, and then the credentials expired for two minutes."""
    once = Once()
    once.faults.add(REPLY_LOST, "create", times=1)
    once.faults.add(UNAUTHORIZED, "create", times=6)
    async with once.fleet(2) as fleet:
        task = attempt("ledger_token", running_s=2_000)
        status = await ended(fleet, await created(fleet, task), task)
    assert (once.jobs, status.phase) == (1, Phase.SUCCEEDED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sealed", [False, True])
@virtually
async def test_no_handle_is_larger_than_512_bytes_with_long_names_and_prefixes(kind: str, *, sealed: bool) -> None:
    once = Once(service_keys=(SERVICE_KEY,) if sealed else ())
    prefix = "s3://a-bucket-with-a-name-of-sixty-three-characters-as-s3-allows-it/metadata/propeller/" + "/".join(
        f"project-development-f{n:019x}/n{n}/data" for n in range(3)
    )
    task = attempt(kind, prefix=prefix, running_s=60, region="r" * 40)
    again = attempt(kind, 1, prefix=prefix, running_s=60, region="r" * 40)
    once.faults.add(Stall(when=When.AFTER, seconds=5), "create", times=1)
    async with once.fleet(2, network=lambda call: CLEAR) as fleet:
        handles = [await created(fleet, task), await created(fleet, again)]
        await asyncio.sleep(20)
        handles += [await created(fleet, task), await created(fleet, again)]
        assert max(map(len, handles)) <= LIMIT
        assert fleet.replicas[0].host.codec.decode(handles[0]).is_intent
    assert once.jobs == 1


@virtually
async def test_a_record_is_sealed_and_opens_at_its_own_keys_place_alone() -> None:
    once = Once(service_keys=(SERVICE_KEY,))
    task, other = attempt("ledger_lookup"), attempt("ledger_lookup", prefix="s3://flyte/exec/n1/data")
    async with once.fleet(1) as fleet:
        await created(fleet, task)
    (place,) = [uri for uri in once.stores.uris() if ".outboard" in uri]
    sealed = once.stores.peek(place)
    assert sealed is not None
    assert b"ledger" not in sealed
    mine, others = (submission_key("test", each.identity, each.output_prefix) for each in (task, other))
    codec = RecordCodec([ServiceKey.parse(SERVICE_KEY.get_secret_value())])
    assert codec.decode(sealed, mine).key == mine
    with pytest.raises(ForeignHandle):
        codec.decode(sealed, others)
    with pytest.raises((ForeignHandle, UnreadableHandle)):
        RecordCodec().decode(sealed, mine)


@virtually
async def test_a_record_that_was_put_in_another_keys_place_starts_nothing_and_stops_nothing() -> None:
    once = Once(service_keys=(SERVICE_KEY,))
    async with once.fleet(2) as fleet:
        task, other = attempt("ledger_lookup"), attempt("ledger_lookup", prefix="s3://flyte/exec/n1/data")
        await created(fleet, task)
        key = submission_key("test", other.identity, other.output_prefix)
        (place,) = [uri for uri in once.stores.uris() if ".outboard" in uri]
        once.stores.plant(f"{other.output_prefix}/.outboard/{key}", once.stores.peek(place) or b"")
        status = await ended(fleet, await created(fleet, other), other)
    assert status.phase is Phase.RETRYABLE_FAILED
    assert once.jobs == 1


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_the_same_request_sent_to_all_replicas_at_once_has_one_job(kind: str) -> None:
    once = Once()
    once.stores.latency_s = 0.05
    async with once.fleet(3) as fleet:
        task = attempt(kind, running_s=100)
        handles = await asyncio.gather(*(created(fleet, task) for _ in range(9)))
        ends = await asyncio.gather(*(ended(fleet, handle, task) for handle in handles))
    assert once.jobs == 1
    assert {status.phase for status in ends} == {Phase.SUCCEEDED}


@pytest.mark.parametrize("kind", KINDS)
@virtually
async def test_a_request_that_comes_after_its_cancel_starts_nothing(kind: str) -> None:
    once = Once()
    async with once.fleet(3) as fleet:
        task = attempt(kind, running_s=None)
        await cancelled(fleet, await created(fleet, task), task)
        for replica in fleet.replicas:
            replica.restart()
        for _ in range(3):
            assert (await polled(fleet, await created(fleet, task), task)).phase is not Phase.RUNNING
        await asyncio.sleep(100)
        assert not once.ledger.live()
    assert once.jobs == 1
    assert PREFIX in task.output_prefix

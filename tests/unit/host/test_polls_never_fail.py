"""GetTask answers an error only for bytes that are not ours, whatever is missing, broken, late or foreign behind it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import pytest

from outboard.agent import Registry
from outboard.domain.handles import HandleCodec
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record, RecordCodec, Stage
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.errors import ForeignHandle
from outboard.host import Host, HostSettings
from outboard.testing.faults import FAULTS, FaultPlan, Refuse, Stall, Unreachable, When
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import LedgerPlatform, sample_task
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import run_virtually, virtually

LIVE: Final = {Phase.QUEUED, Phase.INITIALIZING, Phase.RUNNING, Phase.WAITING_FOR_RESOURCES}
ANSWER: Final = Interface(outputs={"answer": SimpleType.INTEGER})


class Sky:
    """Two replicas over a ledger and a store."""

    def __init__(self) -> None:
        self.ledger, self.faults, self.stores = Ledger(), FaultPlan(), MemoryStores()
        self.fleet: Fleet[Host] = Fleet(2, self.make_host)

    def make_host(self) -> Host:
        platform = LedgerPlatform(self.ledger, self.faults, stores=self.stores)
        return Host(Registry([platform]), HostSettings(), stores=self.stores)

    def mend_stores(self) -> None:
        self.stores.down = False

    async def create(self, task: RawTask) -> bytes:
        return await self.fleet.create_task(task, timeout_s=10)

    async def poll(self, handle: bytes, task: RawTask, *, hours: float) -> list[Phase]:
        """Poll every half minute over both replicas, until the end or for so long; no poll fails."""
        phases = []
        give_up = time.monotonic() + hours * 3_600
        while time.monotonic() < give_up:
            status = await self.fleet.get_task(
                handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10
            )
            phases.append(status.phase)
            if status.phase.is_terminal:
                break
            await asyncio.sleep(30)
        return phases


@pytest.mark.parametrize("seconds", [60, 3_600], ids=["a minute", "an hour"])
def test_a_store_that_is_down_when_a_job_succeeds_delays_the_end_and_nothing_else(seconds: float) -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_files", running_s=100)
        handle = await sky.create(task)
        await asyncio.sleep(90)
        sky.stores.down = True
        asyncio.get_running_loop().call_later(seconds, sky.mend_stores)
        return await sky.poll(handle, task, hours=3)

    phases = run_virtually(play)
    assert phases[-1] is Phase.SUCCEEDED
    assert set(phases[:-1]) <= LIVE
    assert len(phases) >= seconds / 30


@pytest.mark.parametrize(
    ("garbage", "phase"),
    [(b"", Phase.FAILED), (b"\xff\x00 garbage", Phase.RETRYABLE_FAILED), (b"\x0a\x05short", Phase.RETRYABLE_FAILED)],
    ids=["empty", "garbage", "cut short"],
)
def test_an_error_file_counts_before_success_however_it_reads(garbage: bytes, phase: Phase) -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_files", running_s=10)
        sky.stores.plant(f"{task.output_prefix}/error.pb", garbage)
        return await sky.poll(await sky.create(task), task, hours=1)

    assert run_virtually(play)[-1] is phase


def test_a_job_without_its_outputs_is_worth_another_attempt() -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_files", running_s=10)
        handle = await sky.create(task)
        (job,) = sky.ledger.jobs.values()
        job.has_written = True  # it says so
        return await sky.poll(handle, task, hours=1)

    assert run_virtually(play)[-1] is Phase.RETRYABLE_FAILED


def test_outputs_that_come_late_are_waited_for() -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_named", running_s=10)
        sky.faults.add(Stall(when=When.AFTER, seconds=25), "fetch", times=1)
        return await sky.poll(await sky.create(task), task, hours=1)

    phases = run_virtually(play)
    assert phases[-1] is Phase.SUCCEEDED
    assert set(phases[:-1]) <= LIVE


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("operation", ["get", "fetch"])
def test_no_fault_of_the_platform_fails_a_poll_or_ends_a_job(name: str, operation: str) -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_named", running_s=100)
        handle = await sky.create(task)
        sky.faults.add(FAULTS[name], operation, within=(0, time.time() + 3_600))
        return await sky.poll(handle, task, hours=3)

    phases = run_virtually(play)
    assert phases[-1] is Phase.SUCCEEDED
    assert set(phases[:-1]) <= LIVE


def _record(stage: Stage, key: Key, **fields: Any) -> bytes:
    return RecordCodec().encode(Record(key=key, stage=stage, **fields))


BROKEN_RECORDS: Final[dict[str, Any]] = {
    "empty": lambda key: b"",
    "garbage": lambda key: b"{}",
    "of another key": lambda key: _record(Stage.SUBMITTED, Key("ob-x-n9-0-" + "a" * 26), handle=b"x"),
    "of the future": lambda key: b"\xffOR\x7f" + b"x" * 40,
    "with a foreign handle": lambda key: _record(Stage.SUBMITTED, key, handle=b"not ours"),
    "without a handle": lambda key: _record(Stage.SUBMITTED, key),
    "ended without an end": lambda key: _record(Stage.ENDED, key),
    "gone": None,
}


@pytest.mark.parametrize("name", BROKEN_RECORDS)
def test_an_intent_whose_record_is_broken_fails_no_poll(name: str) -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        sky.faults.add(Unreachable(), "create")
        task = sample_task("ledger_lookup")
        handle = await sky.create(task)
        for replica in sky.fleet.replicas:
            replica.restart()
        (place,) = sky.stores.uris()
        make = BROKEN_RECORDS[name]
        if make is None:
            await sky.stores.delete(place)
        else:
            sky.stores.plant(place, make(HandleCodec().decode(handle).key))
        phases = await sky.poll(handle, task, hours=1)
        sky.fleet.kill()
        return phases

    phases = run_virtually(play)
    assert set(phases[:-1]) <= LIVE
    assert phases[-1] in {*LIVE, Phase.FAILED}


@virtually
async def test_bytes_that_are_not_ours_are_the_one_error() -> None:
    sky = Sky()
    task = sample_task("ledger_named")
    for foreign in (
        b"",
        b"x",
        b"\xffOB",
        b"{}",
        HandleCodec().encode(HandleCodec().decode(await sky.create(task)))[:-2],
    ):
        with pytest.raises(ForeignHandle):
            await sky.fleet.get_task(foreign, task_type=task.task_type)
    sky.fleet.kill()


@pytest.mark.parametrize("fault", [Refuse(status=404, code="NOT_FOUND"), Refuse(status=400, code="INVALID_ARGUMENT")])
def test_a_job_whose_outputs_are_gone_for_good_does_not_hang_for_ever(fault: Any) -> None:
    async def play() -> list[Phase]:
        sky = Sky()
        task = sample_task("ledger_named", running_s=10)
        handle = await sky.create(task)
        sky.faults.add(fault, "fetch")
        return await sky.poll(handle, task, hours=24)

    assert run_virtually(play)[-1].is_terminal

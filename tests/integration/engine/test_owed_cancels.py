"""Cancels that outlive the attempt, or the outcome, they belong to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from integration.engine.journal_in_memory import JournalFile
from integration.engine.ledger_platform import task
from integration.engine.ledger_service import LedgerService
from outboard.domain.phases import Phase
from outboard.engine import Engine, EngineSettings, Journal
from outboard.engine.journal_records import Step
from outboard.testing.virtual_time import virtually

SETTINGS = EngineSettings(output_base="memory://roads")
FIRST, SECOND = "memory://roads/run/n0/0", "memory://roads/run/n0/1"


@pytest.fixture
def file() -> Iterator[JournalFile]:
    file = JournalFile(random.Random(0))  # noqa: S311 - a scenario's dice
    yield file
    file.close()


def engine_of(service: LedgerService, journal: Journal) -> Engine:
    return Engine({"svc": service}, journal=journal, settings=SETTINGS)


@virtually
async def _run_of_two_attempts(file: JournalFile, *, job_s: float, refused_s: float) -> None:
    service = LedgerService(ends_after_s=None, failing={FIRST})
    service.deletes_down_until = time.monotonic() + refused_s
    journal, _ = file.open()
    async with engine_of(service, journal) as engine:
        running = asyncio.ensure_future(engine.run_many([task(retries=1)], run_id="run"))
        await service.started(2)
        assert [(owed.task_id, owed.attempt) for owed in await journal.owed("run")] == [("n0", 0)]
        assert service.alive == {FIRST, SECOND}
        await asyncio.sleep(job_s)
        service.finish(SECOND)
        (outcome,) = await running
    assert outcome.is_success
    (run,) = await journal.runs()
    if job_s > refused_s:
        assert (outcome.left_running, service.alive, run.owed) == (None, set(), 0)
        return
    assert outcome.left_running is not None
    assert outcome.left_running.handle == FIRST.encode()
    assert (service.alive, run.unfinished, run.owed, run.is_open) == ({FIRST}, 0, 1, True)
    assert await journal.prune(datetime.max.replace(tzinfo=timezone.utc)) == []
    await asyncio.sleep(refused_s)
    journal, _ = file.open()
    async with engine_of(service, journal) as engine:
        (outcome,) = await engine.resume("run")
    assert (outcome.is_success, outcome.left_running, service.alive) == (True, None, set())
    assert await journal.owed("run") == []
    assert len(service.starts) == 2


def test_a_refused_cancel_of_an_earlier_attempt_is_repeated_while_its_run_lives(file: JournalFile) -> None:
    _run_of_two_attempts(file, job_s=900, refused_s=300)


def test_a_refused_cancel_of_an_earlier_attempt_is_told_kept_and_taken_up_by_a_resume(file: JournalFile) -> None:
    _run_of_two_attempts(file, job_s=60, refused_s=3600)


def test_a_task_that_was_told_as_left_ends_once_its_job_has_while_its_run_lives(file: JournalFile) -> None:
    @virtually
    async def scenario() -> None:
        service = LedgerService()
        journal, _ = file.open()
        async with engine_of(service, journal) as engine, await engine.begin(run_id="run") as run:
            wanted, other = await run.submit_many([task(), task()])
            await service.started(2)
            service.deletes_down_until = time.monotonic() + 600
            outcome = await wanted.cancel()
            assert (outcome.phase, outcome.is_final) == (Phase.ABORTED, False)
            await asyncio.sleep(900)
            (record, _) = await journal.tasks("run")
            assert (record.step, record.phase) == (Step.ENDED, Phase.ABORTED)
            assert run.outcomes["n0"].is_final
            assert engine.left_running == []
            assert not other.finished.done()
            service.finish("memory://roads/run/n1/0")
        assert service.alive == set()

    scenario()


def test_a_resume_of_some_tasks_only_leaves_the_others_alone(file: JournalFile) -> None:
    @virtually
    async def scenario() -> None:
        service = LedgerService()
        journal, _ = file.open()
        async with engine_of(service, journal) as engine:
            running = asyncio.ensure_future(engine.run_many([task(), task()], run_id="run"))
            await service.started(2)
            engine.interrupt()
            engine.interrupt()  # as good as killed: both are left
            await running
        file.forget_cancels()
        journal, _ = file.open()
        async with engine_of(service, journal) as engine:
            (outcome,) = await engine.resume("run", cancel=True, only={"n1"})
        assert (outcome.task_id, outcome.phase, outcome.is_final) == ("n1", Phase.ABORTED, True)
        assert service.alive == {FIRST}
        assert await journal.open_ids("run") == ["n0"]

    scenario()


def test_fail_fast_is_kept_by_a_resumed_run(file: JournalFile) -> None:
    @virtually
    async def scenario() -> None:
        service = LedgerService(rejected={"n0"})
        journal, _ = file.open()
        async with engine_of(service, journal) as engine:
            await engine.run_many([task(), task()], run_id="run", fail_fast=True, max_live=1)
        file.reopen("n1")  # killed before the other one's end was written
        journal, _ = file.open()
        async with engine_of(service, journal) as engine:
            outcomes = await engine.resume("run")
        assert [outcome.phase for outcome in outcomes] == [Phase.FAILED, Phase.ABORTED]
        assert not service.starts

    scenario()

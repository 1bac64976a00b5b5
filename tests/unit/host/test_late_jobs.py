"""Blocking creates that come back after everybody has given up on them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from ledgers import BlockingLedgerAgent, Ledger, LedgerJob, LedgerPlatform, ledger_task, until
from outboard.agent import Lookup, Nothing, Registry, Submission, TaskType
from outboard.domain.phases import Phase
from outboard.host import Host, HostSettings

QUICK = HostSettings(submission_limit=timedelta(seconds=0.2), cancel_wait=timedelta(seconds=0.2))


class Slow(BlockingLedgerAgent):
    """Starts a job at every call of `create`, and the first call takes its time."""

    name = "slow"
    task_types = (TaskType("slow"),)
    submission: ClassVar[Submission] = Nothing()
    proceed = threading.Event()

    def create(self, task: Any, ctx: Any) -> LedgerJob:
        number = len(ctx.client.contexts)
        ctx.client.contexts.append(ctx)
        if number == 0:
            self.proceed.wait(10)
        job = LedgerJob(id=f"{ctx.key.name()}-{number}")
        ctx.client.jobs[job.id] = "RUNNING"
        return job

    def cancel(self, job: LedgerJob, ctx: Any) -> None:
        ctx.client.cancels.append(job.id)
        super().cancel(job, ctx)


class Searched(Slow):
    """The same, on a platform where jobs are found by their key."""

    name = "searched"
    task_types = (TaskType("searched"),)
    submission: ClassVar[Submission] = Lookup(visible_within=timedelta(0), retained_for=timedelta(days=1))

    def find(self, task: Any, key: Any, ctx: Any) -> list[LedgerJob]:
        return [LedgerJob(id=job) for job in ctx.client.jobs if job.startswith(key.name())]


@pytest.fixture
def ledger() -> Ledger:
    Slow.proceed.clear()
    return Ledger()


async def test_a_job_that_turns_up_after_its_task_was_given_up_is_stopped(ledger: Ledger) -> None:
    """Nobody can tell whether the create arrived, so the task ends; its job must not go on alone."""
    async with Host(Registry([LedgerPlatform(ledger, Slow)]), QUICK) as host:
        intent = await host.create_task(ledger_task("slow"), timeout_s=0.1)

        async def is_over() -> bool:
            status = await host.get_task(intent)
            return status.phase is Phase.FAILED and "unknown" in status.message

        await until(is_over)
        Slow.proceed.set()
        await until(lambda: list(ledger.jobs.values()) == ["STOPPED"])
        assert len(ledger.cancels) == 1


async def test_a_job_that_turns_up_while_it_is_looked_for_is_the_tasks_job(ledger: Ledger) -> None:
    async with Host(Registry([LedgerPlatform(ledger, Searched)]), QUICK) as host:
        intent = await host.create_task(ledger_task("searched"), timeout_s=0.1)
        await until(lambda: ledger.contexts)
        Slow.proceed.set()

        async def runs() -> bool:
            return (await host.get_task(intent)).phase is Phase.RUNNING

        await until(runs)
        assert len(ledger.jobs) == 1
        assert ledger.cancels == []

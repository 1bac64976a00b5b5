"""Jobs that nobody asks for show."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from ledgers import Ledger, LedgerPlatform, ledger_task
from outboard.agent import Registry
from outboard.host import Host
from outboard.testing.virtual_time import virtually


def _count() -> float:
    return REGISTRY.get_sample_value("outboard_jobs_unclaimed_total", {"agent": "ledger"}) or 0.0


@virtually
async def test_a_job_that_nobody_asks_for_is_counted_once_and_others_are_not() -> None:
    before = _count()
    async with Host(Registry([LedgerPlatform(Ledger())])) as host:
        await host.create_task(ledger_task())
        polled = await host.create_task(ledger_task(node="polled"))
        cancelled = await host.create_task(ledger_task(node="cancelled"))
        await host.get_task(polled)
        await host.delete_task(cancelled)
        await asyncio.sleep(500)
        assert _count() == before
        await asyncio.sleep(3_600)
        assert _count() == before + 1

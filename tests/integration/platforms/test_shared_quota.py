"""Two replicas and a platform that answers 429 above its quota: nothing fails, and who declares the quota keeps it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from aiohttp import web

from ledgers import ledger_task
from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.domain.quotas import Quotas, Rate
from outboard.host import Host, HostSettings
from outboard.testing.platform_server import PlatformServer, Refusal
from outboard.testing.rest_agents import RestPlatform, RestSettings
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import virtually
from outboard.testing.wire_faults import refuse

PER_SECOND, BURST = 10, 10
JOBS = 24
WARM_UP_S = 5.0


class StrictServer(PlatformServer):
    """Refuses what comes above its quota: no second may see more than the rate and a burst."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[float] = []
        self.served: deque[float] = deque()

    def admit(self, request: web.Request, method: str) -> None:
        now = time.monotonic()
        while self.served and now - self.served[0] > 1.0:
            self.served.popleft()
        if len(self.served) >= PER_SECOND + BURST:
            self.refused.append(now)
            raise Refusal(refuse(429, "TOO_MANY_REQUESTS", "slow down"))
        self.served.append(now)


class Declared(RestPlatform):
    """Says what the server allows."""

    quotas = Quotas({"*": Rate(per_second=PER_SECOND, burst=BURST, source="StrictServer")})


async def follow(hosts: list[Host], handle: bytes) -> tuple[Phase, int]:
    """Poll a job through the replicas in turn until it ends; return its end and how often it was polled."""
    polls = 0
    while True:
        status = await hosts[polls % len(hosts)].get_task(handle)
        polls += 1
        if status.phase.is_terminal:
            return status.phase, polls
        assert status.phase is not Phase.WAITING_FOR_RESOURCES
        await asyncio.sleep(1)


async def run(server: StrictServer, platform: type[RestPlatform]) -> float:
    """Run a row of jobs whose polls alone ask for four times the quota; return when they began."""
    stores: Any = MemoryStores()
    settings = HostSettings(replicas=2)
    hosts = [Host(Registry([platform(RestSettings(url=server.url))]), settings, stores=stores) for _ in range(2)]
    began = time.monotonic()
    tasks = [ledger_task("rest_token", node=f"n{number}", config={"running_s": 20.0}) for number in range(JOBS)]
    try:
        handles = await asyncio.gather(*(hosts[n % 2].create_task(task) for n, task in enumerate(tasks)))
        ends = await asyncio.gather(*(follow(hosts, handle) for handle in handles))
        assert {phase for phase, _ in ends} == {Phase.SUCCEEDED}
        assert len(server.ledger.jobs) == JOBS
    finally:
        for host in hosts:
            await host.close()
    return began


@virtually
async def test_replicas_that_know_the_quota_never_exceed_it() -> None:
    async with StrictServer() as server:
        await run(server, Declared)
        assert server.refused == []
        assert server.calls.total() > 3 * JOBS


@virtually
async def test_replicas_that_learn_the_quota_from_refusals_fail_nothing_and_are_refused_ever_less() -> None:
    async with StrictServer() as server:
        began = await run(server, RestPlatform)
        late = [at for at in server.refused if at - began > WARM_UP_S]
        assert server.refused
        assert len(late) < 0.05 * server.calls.total()

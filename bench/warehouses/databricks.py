"""1,000 Databricks runs at the documented quota, in virtual time: calls made, calls refused, lag.

The workspace is the test kit's, and refuses what exceeds the published rates: 35 submissions and 100 look-ups a second; listings,
which have none published, are held to 30 a second. Every run is polled each 10 s, as FlytePropeller does, and takes
between 1 and 5 minutes. The lag counts from a run's end at the platform to the answer that says so.

    python bench/warehouses/databricks.py [runs]
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.databricks.platform import Databricks
from outboard.testing.cases.databricks import function_task, settings_for
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks import DatabricksServer
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import run_virtually

RATES = {"create": 35, "get": 100, "get_many": 30}
TOKEN = "flyte_databricks_access_token"  # noqa: S105 - a name
_POLL_S = 10.0
_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run of the bench saw."""

    runs: int
    submitted_s: float
    ended_s: float
    calls: dict[str, int]
    refused: int
    lags_s: list[float]
    phases: dict[str, int]

    def __str__(self) -> str:
        lags = sorted(self.lags_s)
        spent = ", ".join(f"{name} {count:,}" for name, count in self.calls.items() if count)
        alone = self.runs * (self.ended_s / _POLL_S) / 2
        return (
            f"{self.runs:,} runs: {self.phases}; handles after {self.submitted_s:.0f} s, all ended after {self.ended_s:.0f} s\n"
            f"calls: {spent}; answered 429: {self.refused} (one look-up per poll would be about {alone:,.0f})\n"
            f"lag: median {lags[len(lags) // 2]:.1f} s, p95 {lags[int(len(lags) * 0.95)]:.1f} s, longest {lags[-1]:.1f} s"
        )


async def measure(runs: int) -> Seen:
    """Run them all."""
    dice = random.Random(_SEED)  # noqa: S311 - no secret
    courses = {f"r{n}": Course(queued_s=dice.uniform(5, 30), running_s=dice.uniform(60, 300)) for n in range(runs)}
    server = DatabricksServer(courses, rates=RATES)
    secrets = SecretSettings(overrides={TOKEN: SecretStr("dapi-test")})
    async with server:
        settings = HostSettings(installation="bench", secrets=secrets)
        stores: Any = MemoryStores()
        async with Host(Registry([Databricks(settings_for(server.url))]), settings, stores=stores) as host:
            began = time.monotonic()
            handles = await asyncio.gather(*(_create(host, f"r{n}") for n in range(runs)))
            submitted_s = time.monotonic() - began
            ends = await asyncio.gather(*(_follow(host, handle) for handle in handles))
            ended_s = time.monotonic() - began
        by_name = {str(body["run_name"]).partition(" ")[0]: run_id for run_id, body in server.bodies.items()}
        lags = [at - server.ledger.jobs[f"job-{by_name[f'r{n}']}"].ended_at() for n, (_, at) in enumerate(ends)]
        phases: dict[str, int] = {}
        for phase, _ in ends:
            phases[phase] = phases.get(phase, 0) + 1
        calls = {name: server.faults.calls[name] for name in ("create", "get", "get_many", "find", "output", "cancel")}
        return Seen(
            runs=runs,
            submitted_s=submitted_s,
            ended_s=ended_s,
            calls=calls,
            refused=server.refused,
            lags_s=lags,
            phases=phases,
        )


async def _create(host: Host, name: str) -> bytes:
    identity = ExecutionIdentity(project="p", domain="d", execution="bench", node=name)
    task = replace(function_task(name), identity=identity, output_prefix=f"memory://out/{name}/0")
    return await host.create_task(task)


async def _follow(host: Host, handle: bytes) -> tuple[str, float]:
    while True:
        status = await host.get_task(handle)
        if status.phase.is_terminal:
            return status.phase.value, time.time()
        await asyncio.sleep(_POLL_S)


if __name__ == "__main__":
    print(run_virtually(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)))

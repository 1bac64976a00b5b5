"""A host over the fake Athena, and an engine that polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.athena.platform import Athena
from outboard.platforms.athena.settings import AthenaSettings
from outboard.testing.platforms.athena import SECRET
from outboard.testing.stores import MemoryStores

KEY = "athena-key"


@asynccontextmanager
async def host_for(
    settings: AthenaSettings, secrets: Mapping[str, str] | None = None, **more: Any
) -> AsyncIterator[Host]:
    """Serve the platform; with the fake's secret access key unless told otherwise."""
    overrides = {name: SecretStr(value) for name, value in ({KEY: SECRET} if secrets is None else secrets).items()}
    stores: Any = more.pop("stores", MemoryStores())
    host_settings = HostSettings(installation="test", secrets=SecretSettings(overrides=overrides), **more)
    async with Host(Registry([Athena(settings)]), host_settings, stores=stores) as host:
        yield host


def sent(task: RawTask, node: str = "n0", attempt: int = 0, prefix: str = "memory://out") -> RawTask:
    """Return a task as an engine sends it."""
    identity = ExecutionIdentity(project="shop", domain="production", execution="f1", node=node, attempt=attempt)
    return replace(task, identity=identity, output_prefix=f"{prefix}/f1/{node}/data/{attempt}")


async def follow(
    host: Host, handle: bytes, task: RawTask, *, every_s: float = 1.0, provided: Provided = NOTHING
) -> list[TaskStatus]:
    """Poll a job until it ends; return what was answered, equal answers once."""
    seen: list[TaskStatus] = []
    while not seen or not seen[-1].phase.is_terminal:
        status = await host.get_task(handle, task_type=task.task_type, provided=provided, timeout_s=10)
        if not seen or (status.phase, status.message) != (seen[-1].phase, seen[-1].message):
            seen.append(status)
        if not status.phase.is_terminal:
            await asyncio.sleep(every_s)
    return seen


async def run(host: Host, task: RawTask, *, node: str = "n0", **options: Any) -> TaskStatus:
    """Run a task to its end."""
    whole = sent(task, node=node)
    return (await follow(host, await host.create_task(whole, timeout_s=10), whole, **options))[-1]

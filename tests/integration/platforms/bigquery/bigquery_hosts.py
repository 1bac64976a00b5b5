"""A host over the fake BigQuery, and an engine that polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry, TaskType
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.testing.platforms.bigquery import FakeBigQuery
from outboard.testing.stores import MemoryStores

TYPE = TaskType("bigquery_query_job_task")


def settings_for(server: FakeBigQuery | str, **more: Any) -> BigQuerySettings:
    """Return settings that lead everything to a server; without a login unless told."""
    url = server if isinstance(server, str) else server.url
    fields = {"endpoint": url, "iam_endpoint": url, "token_uri": f"{url}/token", "login": "none", **more}
    return BigQuerySettings.model_validate(fields)


@asynccontextmanager
async def host_for(
    settings: BigQuerySettings, secrets: Mapping[str, str] | None = None, **more: Any
) -> AsyncIterator[Host]:
    """Serve the platform."""
    overrides = {name: SecretStr(value) for name, value in (secrets or {}).items()}
    stores: Any = more.pop("stores", MemoryStores())
    host_settings = HostSettings(installation="test", secrets=SecretSettings(overrides=overrides), **more)
    async with Host(Registry([BigQuery(settings)]), host_settings, stores=stores) as host:
        yield host


def rotate(host: Host, name: str, value: str) -> None:
    """Give a secret another value while the host uses it."""
    overrides: Any = host.settings.secrets.overrides
    overrides[name] = SecretStr(value)


def sent(task: RawTask, node: str = "n0", attempt: int = 0) -> RawTask:
    """Return a task as an engine sends it."""
    identity = ExecutionIdentity(project="shop", domain="production", execution="f1", node=node, attempt=attempt)
    return replace(task, identity=identity, output_prefix=f"memory://out/f1/{node}/data/{attempt}")


async def follow(host: Host, handle: bytes, *, every_s: float = 1.0, provided: Provided = NOTHING) -> list[TaskStatus]:
    """Poll a job until it ends; return what was answered, equal answers once."""
    seen: list[TaskStatus] = []
    while not seen or not seen[-1].phase.is_terminal:
        status = await host.get_task(handle, task_type=TYPE, provided=provided, timeout_s=10)
        if not seen or (status.phase, status.message) != (seen[-1].phase, seen[-1].message):
            seen.append(status)
        if not status.phase.is_terminal:
            await asyncio.sleep(every_s)
    return seen


async def run(host: Host, task: RawTask, **options: Any) -> TaskStatus:
    """Run a task to its end."""
    return (await follow(host, await host.create_task(sent(task), timeout_s=10), **options))[-1]

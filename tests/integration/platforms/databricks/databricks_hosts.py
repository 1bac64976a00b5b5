"""A host before a Databricks workspace of the test kit, and what the tests here ask of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.databricks.platform import Databricks
from outboard.platforms.databricks.settings import DatabricksSettings
from outboard.testing.cases.databricks import HOST, settings_for
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer
from outboard.testing.stores import MemoryStores

TOKEN = "flyte_databricks_access_token"  # noqa: S105 - a name
NODES = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A workspace, a host before it, and where outputs lie."""

    server: DatabricksSqlServer
    host: Host
    stores: MemoryStores
    secrets: SecretSettings

    def replace_secret(self, name: str, value: str) -> None:
        """Give a secret another value, as its rotation does."""
        overrides: Any = self.secrets.overrides
        overrides[name] = SecretStr(value)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[Site]:
        """Set another host up before the same workspace, which shares no store with this one."""
        settings = HostSettings(installation="tests", secrets=self.secrets)
        stores = MemoryStores()
        async with Host(Registry([Databricks(settings_for(self.server.url))]), settings, stores=stores) as host:
            yield replace(self, host=host, stores=stores)

    async def start(self, task: RawTask, **identity: Any) -> bytes:
        """Start a task under an identity of its own, with its arguments rendered as an engine does."""
        return await self.host.create_task(self.sent(task, **identity))

    def sent(self, task: RawTask, **identity: Any) -> RawTask:
        """Return a task as an engine sends it."""
        return as_sent(task, **identity)

    async def end(self, handle: bytes, task: RawTask | None = None, every_s: float = 1.0) -> TaskStatus:
        """Poll until the task has ended."""
        while True:
            status = await self.host.get_task(handle)
            if status.phase.is_terminal:
                return status
            await asyncio.sleep(every_s)


def as_sent(task: RawTask, **identity: Any) -> RawTask:
    """Return a task as an engine sends it: under an identity of its own, its arguments rendered."""
    known = {"project": "p", "domain": "development", "execution": "f7", "node": f"n{next(NODES)}", **identity}
    prefix = f"memory://out/{known['node']}/{known.get('attempt', 0)}"
    container = task.container
    if container is not None:
        arguments = [each.replace("{{.outputPrefix}}", prefix) for each in container.args]
        container = replace(container, args=tuple(arguments))
    return replace(task, identity=ExecutionIdentity(**known), output_prefix=prefix, container=container)


@asynccontextmanager
async def host_at(url: str, token: str = "dapi-test") -> AsyncIterator[Host]:  # noqa: S107 - made up
    """Serve the platform over a workspace that somebody else runs."""
    settings = HostSettings(installation="tests", secrets=SecretSettings(overrides={TOKEN: SecretStr(token)}))
    async with Host(Registry([Databricks(settings_for(url))]), settings, stores=MemoryStores()) as host:
        yield host


@asynccontextmanager
async def site(
    *,
    settings: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    server: DatabricksSqlServer | None = None,
    **host_settings: Any,
) -> AsyncIterator[Site]:
    """Set a workspace and a host up."""
    stores = MemoryStores()
    served = server if server is not None else DatabricksSqlServer(stores=stores)
    values = {name: SecretStr(value) for name, value in (secrets or {TOKEN: "dapi-test"}).items()}
    async with served:
        made = settings_for(served.url, **(settings or {}))
        known = HostSettings(installation="tests", secrets=SecretSettings(overrides=values), **host_settings)
        async with Host(Registry([Databricks(made)]), known, stores=stores) as host:
            yield Site(server=served, host=host, stores=stores, secrets=known.secrets)


def settings_of(server: DatabricksSqlServer, **more: Any) -> DatabricksSettings:
    """Return settings by which a server is reached as `HOST`."""
    return settings_for(server.url, **more)


__all__ = ["HOST", "TOKEN", "Site", "Task", "as_sent", "host_at", "settings_of", "site"]

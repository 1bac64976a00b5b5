"""Hosts before databases, and what the tests here ask of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry, Sql, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import Inputs, RawTask
from outboard.domain.types import Interface, SimpleType, StructuredDatasetType
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.sql.platform import SqlAnywhere
from outboard.platforms.sql.settings import SqlSettings
from sql_servers import PASSWORD

NODES = itertools.count()
PATIENCE_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A host whose workers live below a folder, and whose outputs do."""

    host: Host
    folder: Path
    settings: SqlSettings
    machine: str = "a"

    @property
    def jobs(self) -> Path:
        return self.settings.root / "jobs"

    async def start(self, task: RawTask, **identity: Any) -> bytes:
        return await self.host.create_task(self.sent(task, **identity))

    def sent(self, task: RawTask, **identity: Any) -> RawTask:
        node = identity.pop("node", f"n{next(NODES)}")
        known = ExecutionIdentity(project="shop", domain="production", execution="f7", node=node, **identity)
        prefix = str(self.folder / "out" / node / str(known.attempt))
        return replace(task, identity=known, output_prefix=prefix)

    async def end(self, handle: bytes, *, patience_s: float = PATIENCE_S) -> TaskStatus:
        return await until(self, handle, lambda status: status.phase.is_terminal, patience_s=patience_s)

    async def run(self, task: RawTask, *, patience_s: float = PATIENCE_S) -> TaskStatus:
        return await self.end(await self.start(task), patience_s=patience_s)

    @asynccontextmanager
    async def elsewhere(self) -> AsyncIterator[Site]:
        """Yield another replica, on another machine as far as workers go: it shares outputs and database, nothing else."""
        async with site(self.folder, self.settings.connections, machine="b") as other:
            yield other


async def until(where: Site, handle: bytes, is_there: Any, *, patience_s: float = PATIENCE_S) -> TaskStatus:
    give_up = time.monotonic() + patience_s
    while not is_there(status := await where.host.get_task(handle)):
        assert time.monotonic() < give_up, status
        await asyncio.sleep(0.02)
    return status


@asynccontextmanager
async def site(
    folder: Path, connections: Mapping[str, Any], *, machine: str = "a", secret: str | None = PASSWORD, **more: Any
) -> AsyncIterator[Site]:
    settings = SqlSettings.model_validate({"root": folder / machine, "connections": dict(connections), **more})
    secrets = SecretSettings(overrides={} if secret is None else {"sql_checks": SecretStr(secret)})
    async with Host(Registry([SqlAnywhere(settings)]), HostSettings(installation="tests", secrets=secrets)) as host:
        yield Site(host=host, folder=folder, settings=settings, machine=machine)


def task(sql: str, inputs: Mapping[str, Any] | None = None, *, table: bool = False, **config: Any) -> RawTask:
    outputs: dict[str, Any] = {"rows": SimpleType.INTEGER}
    if table:
        outputs["table"] = StructuredDatasetType()
    return Task(
        type="sql",
        config={"connection": "checks", **config},
        sql=Sql(statement=sql),
        inputs=Inputs(inputs or {}),
        interface=Interface(outputs=outputs),
    )

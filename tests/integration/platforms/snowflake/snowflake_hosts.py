"""A host before a Snowflake account of the test kit, and what the tests here ask of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.snowflake.platform import Snowflake
from outboard.testing.cases.snowflake import ANSWERS, settings_for
from outboard.testing.platforms.snowflake import Answer, Engine, FakeSnowflake
from outboard.testing.stores import MemoryStores

NODES = itertools.count()


@cache
def key_pair() -> tuple[str, Any]:
    """Return a private key in PEM and its public key; one for all tests, since they take a while to make."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode(), key.public_key()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An account, and a host before it."""

    server: FakeSnowflake
    host: Host

    async def start(self, task: RawTask, **identity: Any) -> bytes:
        """Start a task under an identity of its own."""
        return await self.host.create_task(self.sent(task, **identity))

    def sent(self, task: RawTask, **identity: Any) -> RawTask:
        """Return a task as an engine sends it."""
        return sent(task, **identity)

    async def end(self, handle: bytes, every_s: float = 1.0, **more: Any) -> TaskStatus:
        """Poll until the task has ended."""
        while True:
            status = await self.host.get_task(handle, **more)
            if status.phase.is_terminal:
                return status
            await asyncio.sleep(every_s)

    async def run(self, task: RawTask, **identity: Any) -> TaskStatus:
        """Start a task and return how it ended."""
        return await self.end(await self.start(task, **identity))

    @property
    def only(self) -> dict[str, Any]:
        """The body of the one statement that there is."""
        (body,) = self.server.asked.values()
        return body


def sent(task: RawTask, **identity: Any) -> RawTask:
    """Return a task as an engine sends it."""
    known = {"project": "p", "domain": "development", "execution": "f7", "node": f"n{next(NODES)}", **identity}
    return replace(
        task,
        identity=ExecutionIdentity(**known),
        output_prefix=f"memory://out/{known['node']}/{known.get('attempt', 0)}",
    )


@asynccontextmanager
async def site(
    answers: Mapping[str, Answer] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    rates: Mapping[str, int] | None = None,
    kind: type[FakeSnowflake] = FakeSnowflake,
    **host_settings: Any,
) -> AsyncIterator[Site]:
    """Set an account and a host up; they share a key pair unless `secrets` are given."""
    pem, public = key_pair()
    values = {name: SecretStr(value) for name, value in (secrets or {"snowflake_private_key": pem}).items()}
    async with kind({**ANSWERS, **(answers or {})}, engine=engine, rates=rates) as server:
        server.access.keys["FLYTE"] = public
        made = settings_for(server.url, **{"auth": "key_pair", **(settings or {})})
        known = HostSettings(installation="tests", secrets=SecretSettings(overrides=values), **host_settings)
        async with Host(Registry([Snowflake(made)]), known, stores=MemoryStores()) as host:
            yield Site(server=server, host=host)

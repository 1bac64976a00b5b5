"""A ping of Athena as moto serves it: our call is one that an independent server answers."""

from __future__ import annotations

from integration.platforms.athena.athena_hosts import host_for
from integration.platforms.athena.athena_moto import moto
from outboard.errors import Unavailable
from outboard.host.pings import Ping
from outboard.platforms.athena.platform import Athena
from outboard.testing.cases.athena import settings_for
from outboard.testing.lifecycle_proxy import Life
from outboard.testing.platforms.athena_shape import AthenaProxy
from real_parts import environment


async def pinged(url: str) -> Ping:
    platform = Athena(settings_for(url))
    ((_, connection),) = platform.connections().items()
    async with host_for(settings_for(url)) as host:
        return await host.examination.ping(platform, connection, timeout_s=30)


async def test_a_server_of_somebody_else_answers_the_ping() -> None:
    with moto(environment("athena")) as url:
        async with AthenaProxy(url, Life()) as proxy:  # moto knows no BatchGetQueryExecution
            found = await pinged(proxy.url)
        assert found.error is None, found.error
    assert isinstance((await pinged(url)).error, Unavailable), "once nobody listens there"

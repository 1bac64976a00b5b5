"""A ping of a real database: the login is taken or refused, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.errors import MissingSecret, Unauthorized
from outboard.host import Host, HostSettings
from outboard.host.pings import Ping
from outboard.host.settings import SecretSettings
from outboard.platforms.sql.platform import SqlAnywhere
from outboard.platforms.sql.settings import SqlSettings
from outboard.testing.stores import MemoryStores
from sql_servers import PASSWORD, DatabaseServer


async def pinged(server: DatabaseServer, root: Path, password: str | None) -> Ping:
    made: Any = {"connections": {"checks": server.connection()}, "root": root}
    platform = SqlAnywhere(SqlSettings.model_validate(made))
    secrets = {} if password is None else {"sql_checks": SecretStr(password)}
    settings = HostSettings(installation="tests", secrets=SecretSettings(overrides=secrets))
    async with Host(Registry([platform]), settings, stores=MemoryStores()) as host:
        ((_, connection),) = platform.connections().items()
        return await host.examination.ping(platform, connection, timeout_s=20)


async def test_a_database_takes_the_login_or_refuses_it(server: DatabaseServer, tmp_path: Path) -> None:
    good = await pinged(server, tmp_path, PASSWORD)
    assert good.error is None, good.error
    assert "takes the login of checks" in good.words
    bad = await pinged(server, tmp_path, "another-password")
    assert isinstance(bad.error, Unauthorized), bad.error
    assert "another-password" not in bad.error.message
    assert isinstance((await pinged(server, tmp_path, None)).error, MissingSecret)

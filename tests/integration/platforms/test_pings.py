"""A ping tells that a platform answers and takes our credentials, and neither starts nor changes anything."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from integration.platforms.snowflake.snowflake_hosts import key_pair
from outboard.agent import AccountContext, Agent, Connection, Platform, Registry
from outboard.errors import Forbidden, InvalidSettings, MissingSecret, Unauthorized, Unavailable, Unsupported
from outboard.host import Host, HostSettings
from outboard.host.accounts import Reach
from outboard.host.pings import Ping
from outboard.host.settings import SecretSettings
from outboard.platforms.athena.platform import Athena
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.platforms.databricks.platform import Databricks
from outboard.platforms.embedded.platform import Embedded
from outboard.platforms.embedded.settings import EmbeddedSettings
from outboard.platforms.files.platform import Files
from outboard.platforms.files.settings import FilesSettings
from outboard.platforms.snowflake.platform import Snowflake
from outboard.platforms.sql.platform import SqlAnywhere
from outboard.platforms.sql.settings import SqlSettings
from outboard.testing.cases import athena, databricks, snowflake
from outboard.testing.platforms.athena import SECRET, FakeAthena
from outboard.testing.platforms.bigquery import FakeBigQuery
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer
from outboard.testing.platforms.snowflake import FakeSnowflake
from outboard.testing.stores import MemoryStores

LIMIT_S = 10.0


@asynccontextmanager
async def host_of(platform: Platform[Any, Any], secrets: Mapping[str, str] | None = None) -> Any:
    overrides = {name: SecretStr(value) for name, value in (secrets or {}).items()}
    settings = HostSettings(installation="tests", secrets=SecretSettings(overrides=overrides))
    async with Host(Registry([platform]), settings, stores=MemoryStores()) as host:
        yield host


async def pinged(
    platform: Platform[Any, Any], secrets: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> Ping:
    """Ping the one connection that the settings name."""
    ((_, connection),) = platform.connections().items()
    async with host_of(platform, secrets) as host:
        found: Ping = await host.examination.ping(platform, connection, timeout_s=limit_s)
        report = host.accounts.find(platform.name, found.account)
        if found.error is None:
            assert report is not None
            assert report.reach is Reach.REACHABLE, "the account is known to answer"
        return found


async def test_bigquery_estimates_a_query_and_starts_none() -> None:
    async with FakeBigQuery() as server:
        settings = {"endpoint": server.url, "login": "none", "allowed_projects": ["acme-data", "acme-*"]}
        found = await pinged(BigQuery(BigQuerySettings.model_validate(settings)))
        assert found.error is None
        assert found.account == "bigquery:acme-data"
        assert "acme-data" in found.words
        assert not server.ledger.jobs, "a dry run leaves no job"
        assert server.calls["jobs.insert"] == 1


async def test_snowflake_wakes_no_warehouse_and_tells_a_key_that_the_user_has_not() -> None:
    pem, public = key_pair()
    async with FakeSnowflake(snowflake.ANSWERS) as server:
        accounts = {snowflake.ACCOUNT: {"url": server.url, "user": "FLYTE"}}
        made = snowflake.settings_for(server.url, auth="key_pair", accounts=accounts)
        server.access.keys["FLYTE"] = public
        good = await pinged(Snowflake(made), {"snowflake_private_key": pem})
        assert good.error is None
        assert "FLYTE" in good.words
        assert server.woken == 0
        assert not server.asked
        del server.access.keys["FLYTE"]
        bad = await pinged(Snowflake(made), {"snowflake_private_key": pem})
        assert isinstance(bad.error, Unauthorized)


def test_snowflake_names_no_connection_where_tasks_name_the_user() -> None:
    made = snowflake.settings_for("https://x.example.com", auth="key_pair")
    assert Snowflake(made).connections() == {}


async def test_databricks_lists_a_run_and_tells_a_token_that_is_none() -> None:
    async with DatabricksSqlServer() as server:
        platform = Databricks(databricks.settings_for(server.url))
        assert list(platform.connections()) == [databricks.HOST]
        good = await pinged(platform, {"flyte_databricks_access_token": "dapi-test"})
        assert good.error is None
        assert databricks.HOST in good.words
        server.access.tokens = {"dapi-other"}
        bad = await pinged(platform, {"flyte_databricks_access_token": "dapi-test"})
        assert isinstance(bad.error, (Unauthorized, Forbidden))
        assert not server.ledger.jobs


async def test_athena_asks_for_nothing_and_tells_keys_that_are_wrong() -> None:
    async with FakeAthena(athena.QUERIES) as server:
        platform = Athena(athena.settings_for(server.url))
        good = await pinged(platform, {"athena-key": SECRET})
        assert good.error is None
        assert "takes the keys" in good.words
        bad = await pinged(platform, {"athena-key": "x" * 40})
        assert isinstance(bad.error, (Unauthorized, Forbidden))
        assert "x" * 40 not in bad.error.message


async def test_sql_looks_for_the_file_of_duckdb(tmp_path: Path) -> None:
    def platform(file: Path) -> SqlAnywhere:
        connections = {"local": {"kind": "duckdb", "database": str(file)}}
        return SqlAnywhere(SqlSettings.model_validate({"connections": connections, "root": tmp_path}))

    assert (await pinged(platform(tmp_path / "a.duckdb"))).words.endswith("will be made")
    lost = await pinged(platform(tmp_path / "nowhere" / "a.duckdb"))
    assert isinstance(lost.error, Unavailable)
    assert not (tmp_path / "a.duckdb").exists()


async def test_sql_tells_a_database_that_nobody_listens_for(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    connections = {"wh": {"kind": "postgresql", "host": "127.0.0.1", "port": 9, "user": "u", "tls": "disable"}}
    platform = SqlAnywhere(SqlSettings.model_validate({"connections": connections, "root": tmp_path}))
    found = await pinged(platform)
    assert isinstance(found.error, Unavailable)


async def test_files_looks_into_its_roots(tmp_path: Path) -> None:
    assert (await pinged(Files(FilesSettings(roots=(str(tmp_path),))))).error is None
    lost = await pinged(Files(FilesSettings(roots=(str(tmp_path), str(tmp_path / "gone")))))
    assert lost.error is not None
    assert "gone" in lost.error.message


async def test_embedded_tells_how_much_room_there_is(tmp_path: Path) -> None:
    found = await pinged(Embedded(EmbeddedSettings(root=tmp_path / "jobs" / "deep")))
    assert found.error is None
    assert "GiB free" in found.words
    assert not (tmp_path / "jobs").exists(), "looking makes nothing"
    (tmp_path / "file").write_text("in the way")
    blocked = await pinged(Embedded(EmbeddedSettings(root=tmp_path / "file" / "jobs")))
    assert isinstance(blocked.error, Unavailable)


async def test_a_missing_secret_is_told_by_name() -> None:
    async with DatabricksSqlServer() as server:
        found = await pinged(Databricks(databricks.settings_for(server.url)), {"another": "x"})
        assert isinstance(found.error, MissingSecret)
        assert "flyte_databricks_access_token" in found.error.message
        assert found.account == ""


async def test_the_clock_of_a_platform_is_compared_with_ours() -> None:
    class FastClock(DatabricksSqlServer):
        async def _set_date(self, request: web.Request, response: web.StreamResponse) -> None:
            response.headers["Date"] = formatdate(time.time() + 420, usegmt=True)

    async with FastClock() as server:
        found = await pinged(
            Databricks(databricks.settings_for(server.url)), {"flyte_databricks_access_token": "dapi-test"}
        )
        assert found.clock_skew is not None
        assert abs(found.clock_skew - timedelta(minutes=7)) <= timedelta(seconds=2)


class _Own(Platform[Connection, None]):
    name = "own"

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def agents(self) -> list[Agent]:
        return []


class _Waiting(_Own):
    async def ping(self, ctx: AccountContext[None]) -> str:
        return str(await self.act(ctx))


class _Blocking(_Own):
    def ping(self, ctx: AccountContext[None]) -> str:
        return str(self.act(ctx))


async def test_a_platform_without_a_ping_says_so() -> None:
    platform = _Own(None)
    assert not platform.is_pinging
    assert isinstance((await pinged(platform)).error, Unsupported)
    assert _Waiting(None).is_pinging


async def test_a_ping_that_hangs_is_given_up() -> None:
    async def for_ever(_: Any) -> None:
        await asyncio.Event().wait()

    assert "did not answer within 0.05 s" in str((await pinged(_Waiting(for_ever), limit_s=0.05)).error)


async def test_a_ping_that_blocks_its_thread_is_given_up() -> None:
    began = time.monotonic()
    found = await pinged(_Blocking(lambda _: time.sleep(3)), limit_s=0.05)
    assert "did not answer" in str(found.error)
    assert time.monotonic() - began < 3, "nobody waits for the thread"


async def test_a_ping_that_would_end_the_process_ends_nothing() -> None:
    async def leave(_: Any) -> None:
        sys.exit(3)

    assert "SystemExit" in str((await pinged(_Waiting(leave))).error)
    assert "SystemExit" in str((await pinged(_Blocking(lambda _: sys.exit(3)))).error)


async def test_a_ping_that_cancels_itself_cancels_nobody_else() -> None:
    async def cancel(_: Any) -> None:
        raise asyncio.CancelledError

    if sys.version_info >= (3, 11):  # before, nobody can tell who cancelled
        assert "CancelledError" in str((await pinged(_Waiting(cancel))).error)


async def test_what_a_ping_raises_is_told_without_secrets() -> None:
    async def tell(_: Any) -> None:
        raise InvalidSettings("login with password=hunter2000 failed")

    words = str((await pinged(_Waiting(tell))).error)
    assert "hunter2000" not in words
    assert "[redacted]" in words


async def test_what_a_ping_finds_is_told_without_secrets() -> None:
    async def tell(_: Any) -> str:
        return "logged in with password=hunter2000"

    assert (await pinged(_Waiting(tell))).words == "logged in with password=[redacted]"


async def test_a_ping_counts_for_the_account_as_any_call_does_and_holds_no_client() -> None:
    async def refuse(_: Any) -> None:
        raise Unauthorized("this login has ended")

    platform = _Waiting(refuse)
    async with host_of(platform) as host:
        for _ in range(2):
            found: Ping = await host.examination.ping(platform, Connection(), timeout_s=LIMIT_S)
        report = host.accounts.find(platform.name, found.account)
        assert (report.failures, report.error) == (2, "Unauthorized")
        (client,) = host._exchange.clients._ready.values()
        assert client.users == 0

"""A worker that is killed just before or after any of its marks, on real databases: what is told is true, nothing runs twice.

The worker of each row is started through a script of this test that kills it, and in half of the rows its runner too, at one
moment. A sequence of PostgreSQL, which no rollback takes back, counts how often the statement ran at all.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import duckdb
import pytest

from integration.platforms.sql import sql_hosts
from integration.platforms.sql.sql_hosts import Site, site, task
from integration.platforms.sql.sql_workers import DIE, DIE_WITH_RUNNER, aim
from integration.platforms.sql.test_sql_deaths import execute
from outboard.domain.statuses import TaskStatus
from sql_servers import DatabaseServer

MARKS = ("claim", "start", "decision", "end")
MOMENTS = tuple(itertools.product(("before", "after"), MARKS))


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the next workers die at a moment."""

    def aim_at(when: str, mark: str, *, with_runner: bool) -> None:
        aim(monkeypatch, tmp_path, when, mark, DIE_WITH_RUNNER if with_runner else DIE)

    return aim_at


async def killed_everywhere(where: Site, deadly: Any, sql: str, **config: Any) -> dict[str, TaskStatus]:
    """Run a statement once per moment; each is sent again, to another machine too, and told the same."""
    handles: dict[str, Any] = {}
    for with_runner, (when, mark) in itertools.product((False, True), MOMENTS):
        name = f"{when}-{mark}-{'both' if with_runner else 'worker'}"
        deadly(when, mark, with_runner=with_runner)
        sent = where.sent(task(sql.format(name=name), **config), node=name)
        handles[name] = sent, await where.host.create_task(sent)
    told = {name: await where.end(handle) for name, (_, handle) in handles.items()}
    async with where.elsewhere() as other:
        again = [await each.host.create_task(sent) for sent, _ in handles.values() for each in (where, other)]
        ends = await asyncio.gather(*(other.end(handle) for handle in again))
    expected = [told[name].state for name in handles for _ in range(2)]
    assert [status.state for status in ends] == expected
    return told


async def test_on_postgresql_each_death_is_told_as_the_server_knows_it(
    postgresql: DatabaseServer, tmp_path: Path, deadly: Any
) -> None:
    setup = ("DROP TABLE IF EXISTS deaths", "CREATE TABLE deaths (name text, run bigint)")
    execute(postgresql, *setup, "CREATE SEQUENCE IF NOT EXISTS runs")
    execute(postgresql, "ALTER SEQUENCE runs RESTART")
    async with site(tmp_path, {"checks": postgresql.connection()}) as where:
        told = await killed_everywhere(where, deadly, "INSERT INTO deaths SELECT '{name}', nextval('runs')")
    kept = [row[0] for row in execute(postgresql, "SELECT name FROM deaths")]
    states = {name: status.state for name, status in told.items()}
    committed = {name for name in told if name.startswith(("before-end", "after-end"))}
    assert states == {name: "SUCCEEDED" if name in committed else "LOST" for name in told}
    assert (sorted(kept), len(set(kept))) == (sorted(committed), len(kept))
    assert all(told[name].outputs == {"rows": 1} for name in committed)
    began = {name for name in told if name.endswith(("decision-worker", "decision-both"))} | committed
    assert execute(postgresql, "SELECT nextval('runs')") == [(len(began) + 1,)]


async def test_on_mariadb_what_may_have_been_written_is_unknown_unless_it_never_began(
    servers: Any, tmp_path: Path, deadly: Any
) -> None:
    server = servers("mysql")
    execute(server, "DROP TABLE IF EXISTS deaths", "CREATE TABLE deaths (name varchar(60))")
    async with site(tmp_path, {"checks": server.connection()}) as where:
        told = await killed_everywhere(where, deadly, "INSERT INTO deaths VALUES ('{name}')")
    kept = [row[0] for row in execute(server, "SELECT name FROM deaths")]
    assert len(set(kept)) == len(kept)
    assert {name: status.state for name, status in told.items()} == {name: _on_mariadb(name) for name in told}
    assert {name for name in told if told[name].state == "SUCCEEDED"} <= set(kept)
    assert not set(kept) & {name for name in told if told[name].state == "LOST"}


def _on_mariadb(name: str) -> str:
    if name.startswith("after-end"):
        return "SUCCEEDED"
    return "LOST" if "claim" in name or name.startswith("before-start") else "UNKNOWN"


async def test_on_duckdb_a_commit_that_may_have_arrived_is_unknown_and_the_rest_undone(
    tmp_path: Path, deadly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_hosts, "PATIENCE_S", 90.0)
    path = str(tmp_path / "deaths.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE deaths (name text)")
    async with site(tmp_path, {"checks": {"kind": "duckdb", "database": path, "limit": 1}}) as where:
        told = await killed_everywhere(where, deadly, "INSERT INTO deaths VALUES ('{name}')")
    with duckdb.connect(path) as connection:
        kept = [name for (name,) in connection.execute("SELECT name FROM deaths").fetchall()]
    assert len(set(kept)) == len(kept)
    truth = {name: told[name].state for name in told}
    assert {name for name, state in truth.items() if state == "SUCCEEDED"} <= set(kept)
    assert not set(kept) & {name for name, state in truth.items() if state == "LOST"}
    doubtful = {name for name in told if name.startswith(("after-decision", "before-end"))}
    assert {name for name, state in truth.items() if state == "UNKNOWN"} == doubtful

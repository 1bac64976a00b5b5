"""Workers and services that die at any moment, on real servers: what became of the statement is told, nothing runs twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.platforms.sql.sql_hosts import PATIENCE_S, Site, site, task, until
from outboard.domain.phases import Phase
from outboard.platforms.sql import server as following
from outboard.platforms.sql.marks import DECISION, Marks
from sql_servers import DatabaseServer

SLOW = {"postgresql": "pg_sleep({})", "mysql": "SLEEP({})"}
HELD_COMMIT = (
    "DROP TABLE IF EXISTS held",
    "CREATE TABLE held (n int)",
    """CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$""",
    "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON held DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
)


def execute(server: DatabaseServer, *statements: str) -> list[Any]:
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def kill_worker(where: Site) -> None:
    """Kill runner and worker of the one living job outright."""
    for folder in where.jobs.glob("ob-*"):
        if (folder / "exit.json").exists():
            continue
        for name in ("pid.json", "command.json"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(json.loads((folder / name).read_text())["pid"], signal.SIGKILL)


async def seen(server: DatabaseServer, statement: str) -> None:
    """Wait until the server lists a statement that holds a text."""
    query = {
        "postgresql": "SELECT query FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()",
        "mysql": "SELECT info FROM information_schema.processlist WHERE id <> connection_id()",
    }[server.kind]
    give_up = time.monotonic() + PATIENCE_S
    while not any(statement in str(row[0]) for row in execute(server, query)):
        assert time.monotonic() < give_up, statement
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def held_back(server: DatabaseServer, table: str) -> Iterator[None]:
    """Let no other session write to a table meanwhile: a statement that does so waits, and the server lists it."""
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        if server.kind == "postgresql":
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE {table}")
        else:
            cursor.execute(f"LOCK TABLES {table} WRITE")
        yield


@contextlib.contextmanager
def commits_held_back(server: DatabaseServer) -> Iterator[None]:
    """Let no commit of a write to `held` arrive meanwhile."""
    with contextlib.closing(server.connect()) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")
        yield


@pytest.mark.parametrize(
    ("config", "phase", "state"),
    [
        ({}, {"postgresql": Phase.RETRYABLE_FAILED, "mysql": Phase.FAILED}, {"postgresql": "LOST", "mysql": "UNKNOWN"}),
        ({"idempotent": True}, dict.fromkeys(SLOW, Phase.RETRYABLE_FAILED), dict.fromkeys(SLOW, "LOST")),
    ],
    ids=["once", "idempotent"],
)
async def test_a_write_whose_worker_is_killed_is_undone_or_unknown_and_never_run_again_by_us(
    server: DatabaseServer, tmp_path: Path, config: dict[str, Any], phase: Any, state: Any
) -> None:
    execute(server, "DROP TABLE IF EXISTS killed", "CREATE TABLE killed (n int)")
    async with site(tmp_path, {"checks": server.connection()}) as where:
        with held_back(server, "killed"):
            handle = await where.start(task("INSERT INTO killed VALUES (1)", **config))
            await seen(server, "INSERT INTO killed")
            kill_worker(where)
            await where.host.get_task(handle)
        status = await where.end(handle)
    assert (status.phase, status.state) == (phase[server.kind], state[server.kind]), status
    if server.kind == "postgresql":
        assert execute(server, "SELECT count(*) FROM killed") == [(0,)]


async def test_a_reading_statement_whose_worker_is_killed_is_worth_another_attempt(
    server: DatabaseServer, tmp_path: Path
) -> None:
    async with site(tmp_path, {"checks": server.connection(read_only=True)}) as where:
        handle = await where.start(task(f"SELECT {SLOW[server.kind].format(60)}"))
        await seen(server, SLOW[server.kind].format(60))
        kill_worker(where)
        status = await where.end(handle)
    assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "LOST")


@pytest.mark.parametrize("is_ended", [False, True], ids=["the commit arrives", "the commit is broken off"])
async def test_a_commit_that_nobody_saw_the_end_of_is_asked_for_by_its_id(
    postgresql: DatabaseServer, tmp_path: Path, is_ended: bool
) -> None:
    execute(postgresql, *HELD_COMMIT)
    async with site(tmp_path, {"checks": postgresql.connection()}) as where:
        with commits_held_back(postgresql):
            handle = await where.start(task("INSERT INTO held VALUES (7)"))
            await seen(postgresql, "COMMIT")
            kill_worker(where)
            if is_ended:
                execute(
                    postgresql,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ob-%'",
                )
            await until(where, handle, lambda status: status.state in ("ORPHANED", "LOST"))
        status = await where.end(handle)
    rows = execute(postgresql, "SELECT count(*) FROM held")[0][0]
    assert (status.state, rows) == (("LOST", 0) if is_ended else ("SUCCEEDED", 1)), status
    assert is_ended or status.outputs == {"rows": 1}


async def test_a_worker_that_is_killed_before_it_connects_has_begun_nothing(
    postgresql: DatabaseServer, tmp_path: Path
) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS waits", "CREATE TABLE waits (n int)")
    async with site(tmp_path, {"checks": postgresql.connection(limit=1)}) as where:
        first = await where.start(task("SELECT pg_sleep(60)", grace_s=5))
        await seen(postgresql, "pg_sleep(60)")
        second = await where.start(task("INSERT INTO waits VALUES (1)"))
        await until(where, second, lambda status: "slots" in status.message)
        for folder in where.jobs.glob("ob-*"):
            if "waiting" in (folder / "progress.json").read_text():
                for name in ("pid.json", "command.json"):
                    os.kill(json.loads((folder / name).read_text())["pid"], signal.SIGKILL)
        status = await where.end(second)
        await where.host.delete_task(first)
        await where.end(first)
    assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "LOST")
    assert execute(postgresql, "SELECT count(*) FROM waits") == [(0,)]


async def test_two_machines_that_get_one_task_run_it_once_and_both_know_its_end(
    server: DatabaseServer, tmp_path: Path
) -> None:
    execute(server, "DROP TABLE IF EXISTS twice", "CREATE TABLE twice (n int)")
    async with site(tmp_path, {"checks": server.connection()}) as one, one.elsewhere() as other:
        asked = task("INSERT INTO twice VALUES (1)")
        handles = await asyncio.gather(one.start(asked, node="same"), other.start(asked, node="same"))
        ends = await asyncio.gather(one.end(handles[0]), other.end(handles[1]), other.end(handles[0]))
    assert {status.phase for status in ends} == {Phase.SUCCEEDED}, ends
    assert execute(server, "SELECT count(*) FROM twice") == [(1,)]


async def test_a_statement_outlives_its_service_and_is_followed_and_cancelled_from_another_machine(
    server: DatabaseServer, tmp_path: Path
) -> None:
    connections = {"checks": server.connection()}
    async with site(tmp_path, connections) as one:
        short = await one.start(task(f"SELECT {SLOW[server.kind].format(1)}"))
        long = await one.start(task(f"SELECT {SLOW[server.kind].format(600)}"))
        await seen(server, SLOW[server.kind].format(600))
    async with site(tmp_path, connections, machine="b") as other:
        await until(other, long, lambda status: status.phase is Phase.RUNNING)
        assert (await other.end(short)).phase is Phase.SUCCEEDED
        await other.host.delete_task(long)
        ended = await other.end(long)
    assert ended.state == "CANCELLED", ended


async def test_an_orphan_whose_machine_is_gone_is_settled_by_any_other(
    postgresql: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = {"checks": postgresql.connection()}
    execute(postgresql, "DROP TABLE IF EXISTS orphans", "CREATE TABLE orphans (n int)")
    held = contextlib.ExitStack()
    with held:
        held.enter_context(held_back(postgresql, "orphans"))
        async with site(tmp_path, connections) as one:
            handle = await one.start(task("INSERT INTO orphans VALUES (1)"))
            await seen(postgresql, "INSERT INTO orphans")
            kill_worker(one)
        monkeypatch.setattr(following, "STALE_S", 0.1)
        await asyncio.sleep(0.2)
        async with site(tmp_path, connections, machine="b") as other:
            assert (await other.host.get_task(handle)).phase is Phase.RUNNING  # its session is still listed
            held.close()
            status = await other.end(handle)
    assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "LOST")
    assert execute(postgresql, "SELECT count(*) FROM orphans") == [(0,)]


async def test_a_worker_that_was_taken_for_lost_commits_nothing(postgresql: DatabaseServer, tmp_path: Path) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS late", "CREATE TABLE late (n int)")
    async with site(tmp_path, {"checks": postgresql.connection()}) as where:
        with held_back(postgresql, "late"):
            handle = await where.start(task("INSERT INTO late VALUES (1)"))
            await seen(postgresql, "INSERT INTO late")
            (claim,) = where.folder.glob("out/**/claim.json")
            assert Marks(str(claim.parent)).write_once(DECISION, {"verdict": "lost"}) is None
        status = await where.end(handle)
    assert (status.state, execute(postgresql, "SELECT count(*) FROM late")) == ("LOST", [(0,)])


async def test_a_statement_that_an_administrator_cancels_is_told_as_such(
    postgresql: DatabaseServer, tmp_path: Path
) -> None:
    async with site(tmp_path, {"checks": postgresql.connection()}) as where:
        handle = await where.start(task("SELECT pg_sleep(91)"))
        await seen(postgresql, "pg_sleep(91)")
        execute(postgresql, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ob-%'")
        status = await where.end(handle)
    assert status.error is not None
    assert (status.phase, status.error.code, status.error.cause.value) == (Phase.FAILED, "57014", "cancelled outside")

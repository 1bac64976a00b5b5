"""Workers that others come before, and whose session others end: each mark decides, and who lives is given up by nobody."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from integration.platforms.sql.sql_hosts import Site, site, task, until
from integration.platforms.sql.sql_workers import Halt, holds
from integration.platforms.sql.test_sql_deaths import HELD_COMMIT, commits_held_back, execute, held_back, seen
from outboard.detached.job_directory import JobDirectory
from outboard.detached.jobs import JobSpec
from outboard.domain.phases import Phase
from outboard.platforms.sql import server as following
from outboard.platforms.sql.agent import WORKER
from outboard.platforms.sql.documents import PASSWORD_VARIABLE, STATEMENT_FILE
from sql_servers import PASSWORD, DatabaseServer

INSERT = "INSERT INTO rivals VALUES (1)"
COUNT = "SELECT count(*) FROM rivals"


@pytest.fixture
def server(server: DatabaseServer) -> DatabaseServer:
    """Return a server with an empty table."""
    execute(server, "DROP TABLE IF EXISTS rivals", "CREATE TABLE rivals (n int)")
    return server


async def worker_ends(where: Site) -> None:
    """Wait until the only worker that this machine ever had is gone."""
    (job,) = where.jobs.glob("ob-*")
    await holds((job / "exit.json").exists)


def start_rival(one: Site, other: Site) -> None:
    """Start a worker of the same statement, as another machine does to which the same task was sent at the same moment."""
    (job,) = one.jobs.glob("ob-*")
    files = {STATEMENT_FILE: (job / STATEMENT_FILE).read_text("utf-8")}
    spec = JobSpec(command=(sys.executable, *WORKER), env={PASSWORD_VARIABLE: PASSWORD}, files=files)
    JobDirectory(other.jobs).create(job.name, spec)


async def end_session(server: DatabaseServer, where: Site) -> None:
    """Let the server end the session of the only worker, as it does when it stops."""
    (start,) = where.folder.glob("out/**/start.json")
    facts = json.loads(start.read_text())
    end, listed = {
        "postgresql": ("SELECT pg_terminate_backend({pid})", "SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"),
        "mysql": ("KILL {connection_id}", "SELECT 1 FROM information_schema.processlist WHERE id = {connection_id}"),
    }[server.kind]
    execute(server, end.format(**facts))
    await holds(lambda: not execute(server, listed.format(**facts)))


async def state_of_begun(where: Site, handle: bytes) -> str:
    """Return the first state after those of a statement that has not begun."""
    return (await until(where, handle, lambda status: status.state not in ("", "STARTING"))).state


async def test_a_worker_that_finds_its_statement_claimed_leaves_it_alone(
    server: DatabaseServer, tmp_path: Path
) -> None:
    async with site(tmp_path, {"checks": server.connection()}) as one, one.elsewhere() as other:
        with held_back(server, "rivals"):
            handle = await one.start(task(INSERT))
            await seen(server, INSERT)
            start_rival(one, other)
            await worker_ends(other)
            assert await state_of_begun(other, handle) == "RUNNING"
        ends = [await where.end(handle) for where in (one, other)]
    assert {status.state for status in ends} == {"SUCCEEDED"}, ends
    assert execute(server, COUNT) == [(1,)]


@pytest.mark.parametrize("mark", ["start", "decision"])
async def test_a_worker_that_finds_a_mark_taken_by_a_cancel_has_no_effect(
    server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    halt = Halt.of(monkeypatch, tmp_path, "before", mark)
    async with site(tmp_path, {"checks": server.connection()}) as one, one.elsewhere() as other:
        handle = await one.start(task(INSERT))
        await halt.is_reached()
        await other.host.delete_task(handle)
        if mark == "start":  # it never begins, so nobody needs to wait for its worker
            assert (await other.end(handle)).state == "CANCELLED"
        await holds(lambda: any(one.folder.glob(f"out/**/{mark}.json")))
        halt.open()
        await worker_ends(one)
        assert [(await where.end(handle)).state for where in (one, other)] == ["CANCELLED", "CANCELLED"]
    assert execute(server, COUNT) == [(0,)]


@pytest.mark.parametrize("mark", ["start", "decision"])
async def test_a_write_whose_session_the_server_ends_is_undone_or_unknown(
    server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    halt = Halt.of(monkeypatch, tmp_path, "after", mark)
    async with site(tmp_path, {"checks": server.connection()}) as where:
        handle = await where.start(task(INSERT))
        await halt.is_reached()
        await end_session(server, where)
        halt.open()
        status = await where.end(handle)
    undone = (Phase.RETRYABLE_FAILED, "FAILED")
    assert (status.phase, status.state) == (undone if server.kind == "postgresql" else (Phase.FAILED, "UNKNOWN")), (
        status
    )
    assert execute(server, COUNT) == [(0,)]


async def test_a_worker_without_a_sign_of_life_that_the_database_lists_is_not_given_up(
    server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "STALE_S", -1.0)
    async with site(tmp_path, {"checks": server.connection()}) as one, one.elsewhere() as other:
        with held_back(server, "rivals"):
            handle = await one.start(task(INSERT))
            await seen(server, INSERT)
            assert await state_of_begun(other, handle) == "RUNNING"
        assert [(await where.end(handle)).state for where in (one, other)] == ["SUCCEEDED", "SUCCEEDED"]
    assert execute(server, COUNT) == [(1,)]


@pytest.mark.parametrize("machine", ["its own", "another"])
async def test_a_cancel_that_comes_after_the_decision_leaves_the_commit_alone(
    postgresql: DatabaseServer, tmp_path: Path, machine: str
) -> None:
    execute(postgresql, *HELD_COMMIT)
    async with site(tmp_path, {"checks": postgresql.connection()}) as one, one.elsewhere() as other:
        with commits_held_back(postgresql):
            handle = await one.start(task("INSERT INTO held VALUES (1)", grace_s=600))
            await seen(postgresql, "COMMIT")
            await (one if machine == "its own" else other).host.delete_task(handle)
        ends = [await where.end(handle) for where in (one, other)]
    assert [status.phase for status in ends] == [Phase.SUCCEEDED, Phase.SUCCEEDED], ends
    assert execute(postgresql, "SELECT count(*) FROM held") == [(1,)]


async def test_a_later_attempt_finds_the_statement_of_one_of_which_there_is_no_record(
    server: DatabaseServer, tmp_path: Path
) -> None:
    asked, connections = task(INSERT), {"checks": server.connection()}
    with held_back(server, "rivals"):
        async with site(tmp_path, connections) as one:
            await one.start(asked, node="same", attempt=0)
            await seen(server, INSERT)
        (record,) = (tmp_path / "out" / "same" / "0" / ".outboard").glob("ob-*")
        record.unlink()
        async with site(tmp_path, connections, machine="b") as other:
            handle = await other.start(asked, node="same", attempt=1)
            assert await state_of_begun(other, handle) == "RUNNING"
        assert not any(other.jobs.glob("ob-*"))
    async with site(tmp_path, connections, machine="b") as other:
        assert (await other.end(handle)).state == "SUCCEEDED"
    assert execute(server, COUNT) == [(1,)]

"""What others must not see or forge: passwords on their way, and the server at the other end."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from integration.platforms.sql.sql_hosts import PATIENCE_S, site, task, until
from integration.platforms.sql.test_sql_deaths import execute, seen
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from sql_servers import PASSWORD, DatabaseServer


def speaks_tls(server: DatabaseServer, authority: trustme.CA, *names: str) -> None:
    """Give a running server a certificate, and wait until it uses it."""
    ((folder,),) = execute(server, "SHOW data_directory")
    made = authority.issue_cert(*names)
    for file, content in (("tls.key", made.private_key_pem), ("tls.pem", made.cert_chain_pems[0])):
        path = Path(folder) / file
        content.write_to_path(str(path))
        path.chmod(0o600)
        owner = Path(folder).stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    for setting in ("ssl_key_file = 'tls.key'", "ssl_cert_file = 'tls.pem'", "ssl = on"):
        execute(server, f"ALTER SYSTEM SET {setting}")
    execute(server, "SELECT pg_reload_conf()")
    give_up = time.monotonic() + PATIENCE_S
    while execute(server, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") != [(True,)]:
        assert time.monotonic() < give_up
        time.sleep(0.02)


async def end_of(server: DatabaseServer, folder: Path, **connection: Any) -> tuple[str, str, str]:
    """Return how a statement over TLS ends: a refusal that is tried again goes on longer than anybody waits here."""
    asked = task("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    async with site(folder, {"checks": server.connection(connect_s=10 * PATIENCE_S, **connection)}) as where:
        status = await where.run(asked)
    code = status.error.code if status.error else ""
    return status.phase.value, code, f"{(status.outputs or {}).get('rows', '')}{status.message if code else ''}"


async def test_postgresql_is_believed_by_its_certificate_and_name_only(
    postgresql: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    others.cert_pem.write_to_path(str(tmp_path / "others.pem"))
    ours_file, others_file = str(tmp_path / "ours.pem"), str(tmp_path / "others.pem")
    plain = await end_of(postgresql, tmp_path, tls="verify", tls_ca_file=ours_file)
    assert (plain[:2], "SSL" in plain[2]) == (("FAILED", "Login"), True), plain
    speaks_tls(postgresql, ours, "localhost")
    try:
        named = {"host": "localhost", "tls": "verify"}
        assert await end_of(postgresql, tmp_path, **named, tls_ca_file=ours_file) == ("SUCCEEDED", "", "1")
        assert await end_of(postgresql, tmp_path, tls="require") == ("SUCCEEDED", "", "1")
        for more, words in (
            ({**named, "tls_ca_file": others_file}, "certificate verify failed"),
            ({"tls": "verify", "tls_ca_file": ours_file}, "does not match host name"),
            (named, "certificate verify failed"),
            ({**named, "tls_ca_file": str(tmp_path / "nothing.pem")}, "does not exist"),
        ):
            told = await end_of(postgresql, tmp_path, **more)
            assert (told[:2], words in told[2]) == (("FAILED", "Login"), True), told
        monkeypatch.setenv("SSL_CERT_FILE", ours_file)
        assert await end_of(postgresql, tmp_path, **named) == ("SUCCEEDED", "", "1")
    finally:
        execute(postgresql, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


async def test_a_password_is_in_no_file_argument_or_log_and_the_environment_is_its_owners(
    server: DatabaseServer, tmp_path: Path
) -> None:
    slow = {"postgresql": "pg_sleep(92)", "mysql": "SLEEP(92)"}[server.kind]
    async with site(tmp_path, {"checks": server.connection()}) as where:
        handle = await where.start(task(f"SELECT {slow}, :word", {"word": "canary-input"}, grace_s=5))
        await seen(server, slow)
        (job,) = where.jobs.glob("ob-*")
        mine = _processes_of(job)
        assert mine
        for process in mine:
            assert PASSWORD.encode() not in (process / "cmdline").read_bytes()
            found = (process / "environ").stat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o400, os.getuid())
        assert PASSWORD not in repr(handle)
        assert PASSWORD.encode() not in handle
        await where.host.delete_task(handle)
        await where.end(handle)
        open_to_others = [path for path in where.jobs.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert open_to_others == []
    for path, content in _contents(tmp_path):
        assert PASSWORD.encode() not in content, path
        assert b"canary-input" not in content or path.name == "statement.json", path


def _contents(folder: Path) -> list[tuple[Path, bytes]]:
    return [(path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]


def _processes_of(job: Path) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*") if str(job) in _environment(path)]


def _environment(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "environ").read_bytes().decode(errors="replace")
    return ""


async def test_a_task_gets_no_password_of_the_services_user(
    postgresql: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".pgpass").write_text(f"*:*:*:checks:{PASSWORD}\n")
    (home / ".pgpass").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    uri = f"postgresql://checks@127.0.0.1:{postgresql.port}/checks"
    asked = RawTask(type="sqlalchemy", config={"query_template": "SELECT 1", "uri": uri})
    async with site(tmp_path, {}, uri_hosts=["127.0.0.1"], uri_tls="disable") as where:
        status = await where.run(asked)
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "Login"), status
    shutil.rmtree(home)


async def test_a_database_by_the_name_of_a_connection_string_is_only_a_name(
    postgresql: DatabaseServer, tmp_path: Path
) -> None:
    names = (
        f"postgresql://trusted@127.0.0.1:{postgresql.port}/checks",
        "host=elsewhere.invalid dbname=checks",
        "' x='",
    )
    async with site(tmp_path, {}, uri_hosts=["127.0.0.1"], uri_tls="disable") as where:
        for name in names:
            config = {
                "query_template": "SELECT 1",
                "uri": f"postgresql+psycopg2://trusted@127.0.0.1:{postgresql.port}/x",
                "connect_args": {"dbname": name},
            }
            status = await where.run(RawTask(type="sqlalchemy", config=config))
            assert (status.phase, "does not exist" in status.message) == (Phase.FAILED, True), status


@pytest.mark.parametrize("limit", ["task", "lifted"])
async def test_a_time_limit_holds_whatever_the_sql_says(postgresql: DatabaseServer, tmp_path: Path, limit: str) -> None:
    sql = "SELECT pg_sleep(60)" if limit == "task" else "SET statement_timeout = 0; SELECT pg_sleep(60)"
    async with site(tmp_path, {"checks": postgresql.connection(statement_timeout_s=0.5)}) as where:
        handle = await where.start(task(sql))
        status = await until(where, handle, lambda status: status.phase.is_terminal)
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "57014"), status
    assert "limit" in status.message or "timeout" in status.message

"""The agents on the emulators that exist, in real time; and once over TLS.

What each emulator lacks is in the platform's README: semblance keeps runs pending for ever, minilake knows neither
parameters nor failed statements, and neither has OAuth. The fault proxy stands in front where an answer is to be lost.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from pyarrow import parquet

from integration.platforms.databricks.databricks_emulators import SEMBLANCE_TOKEN, minilake, semblance, warehouse_at
from integration.platforms.databricks.databricks_hosts import TOKEN, host_at
from outboard.agent import Registry, Sql, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.errors import MissingSecret
from outboard.host import Host, HostSettings
from outboard.platforms.databricks.platform import Databricks
from outboard.testing.cases.databricks import function_task, settings_for
from outboard.testing.conformance.proxy import FaultProxy
from outboard.testing.faults import REPLY_LOST
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer
from outboard.testing.stores import MemoryStores

SUBMIT = {"create": "POST /api/2.2/jobs/runs/submit"}


def told(url: str) -> Any:
    """Return what an emulator answers to somebody else."""
    return requests.get(url, headers={"Authorization": f"Bearer {SEMBLANCE_TOKEN}"}, timeout=10).json()


def sent(task: Task[Any], prefix: str = "memory://out/n/0") -> Task[Any]:
    identity = ExecutionIdentity(project="p", domain="development", execution="f7", node=prefix)
    return replace(task, identity=identity, output_prefix=prefix)


async def ended(host: Host, handle: bytes) -> TaskStatus:
    while True:
        status = await host.get_task(handle)
        if status.phase.is_terminal:
            return status
        await asyncio.sleep(0.2)  # an emulator's own time is nothing to await


async def state_after(before: str, url: str, run_id: int) -> str:
    while True:
        run = told(f"{url}/api/2.2/jobs/runs/get?run_id={run_id}")
        if (state := str(run["state"]["life_cycle_state"])) != before:
            return state
        await asyncio.sleep(0.2)  # as above


async def test_semblance_takes_runs_tells_of_them_and_cancels_them(tmp_path: Path) -> None:
    with semblance(tmp_path) as url:
        async with host_at(url) as host:
            handle = await host.create_task(sent(function_task("quick")))
            status = await host.get_task(handle)
            assert (status.phase, status.state) == (Phase.INITIALIZING, "PENDING")
            await host.delete_task(handle)
            run_id = int((status.custom_info or {})["run_id"])
            assert await state_after("PENDING", url, run_id) == "TERMINATING"


async def test_semblance_refuses_a_wrong_token_and_nothing_is_started(tmp_path: Path) -> None:
    with semblance(tmp_path) as url:
        async with host_at(url, token="dapi-wrong") as host:  # noqa: S106 - made up
            status = await ended(host, await host.create_task(sent(function_task("quick"))))
            assert status.phase is Phase.RETRYABLE_FAILED
            assert status.error is not None


async def test_minilake_starts_a_run_once_although_the_answer_was_lost_and_its_words_are_told(tmp_path: Path) -> None:
    with minilake(tmp_path) as url:
        async with FaultProxy(url, SUBMIT) as proxy, host_at(proxy.url) as host:
            proxy.faults.add(REPLY_LOST, "create", times=1)
            status = await ended(host, await host.create_task(sent(function_task("quick"))))
            # It has no repository to fetch from, and says so; scripts it runs in Docker only.
            assert (status.phase, status.state) == (Phase.RETRYABLE_FAILED, "TERMINATED/FAILED")
            assert "entrypoint.py' not found" in status.message
            assert proxy.faults.calls["create"] == 2
        runs = told(f"{url}/api/2.2/jobs/runs/list")["runs"]
        assert len([run for run in runs if run["run_name"].startswith("quick")]) == 1


async def test_minilake_runs_statements_and_their_rows_and_tables_are_ours(tmp_path: Path) -> None:
    sql = "SELECT i AS id, CAST(i AS DOUBLE) / 2 AS half, 'n' || i AS name FROM range(3) t(i)"
    with minilake(tmp_path) as url:
        config = {"warehouseId": warehouse_at(url)}
        async with host_at(url) as host:

            async def run(name: str, outputs: Any) -> TaskStatus:
                task: Task[Any] = Task(
                    type="databricks_sql", config=config, sql=Sql(statement=sql), interface=Interface(outputs=outputs)
                )
                return await ended(host, await host.create_task(sent(task, str(tmp_path / name))))

            rows = await run("rows", {"rows": ListType(SimpleType.STRUCT), "n": SimpleType.INTEGER})
            table = await run("table", {"t": StructuredDatasetType()})
        expected = [{"id": n, "half": n / 2, "name": f"n{n}"} for n in range(3)]
        assert rows.outputs == {"rows": expected, "n": 3}
        assert table.phase is Phase.SUCCEEDED
        assert parquet.read_table(tmp_path / "table" / "t").to_pylist() == expected


def test_a_workspace_is_reached_over_tls_and_only_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    """In a process of its own: what Python trusts is settled when it starts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    program = textwrap.dedent(_OVER_TLS)
    with DatabricksSqlServer() as server:
        front = server.run_in_thread(_terminate_tls(context, server.port))
        port = front.sockets[0].getsockname()[1]
        running = {}
        for name, looks in (("ca.pem", "400"), ("other.pem", "10")):
            environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / name)}
            command = [sys.executable, "-c", program, str(port), looks, str(tmp_path / name / "0")]
            running[name] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        seen = {name: process.communicate(timeout=100)[0].strip() for name, process in running.items()}
        server.run_in_thread(_close(front))
        assert seen["ca.pem"] == "SUCCEEDED"
        assert seen["other.pem"].startswith("unreachable")
        assert len(server.ledger.jobs) == 1


async def test_a_secret_that_is_nowhere_is_named_and_nothing_is_sent() -> None:
    async with DatabricksSqlServer() as server:
        settings = HostSettings(installation="tests")
        async with Host(Registry([Databricks(settings_for(server.url))]), settings, stores=MemoryStores()) as host:
            with pytest.raises(MissingSecret, match=f"{TOKEN}.*is not set"):
                await host.create_task(sent(function_task("quick")))
        assert not server.access.seen


_OVER_TLS = """
    import asyncio, os, sys
    from pydantic import SecretStr
    from outboard.agent import Registry
    from outboard.errors import AgentError
    from outboard.host import Host, HostSettings
    from outboard.host.settings import SecretSettings
    from outboard.platforms.databricks.platform import Databricks
    from outboard.testing.cases.databricks import function_task, settings_for
    from outboard.domain.identity import ExecutionIdentity
    from dataclasses import replace

    async def main():
        secrets = SecretSettings(overrides={"flyte_databricks_access_token": SecretStr("dapi-test")})
        platform = Databricks(settings_for(f"https://127.0.0.1:{sys.argv[1]}"))
        task = replace(function_task("instant"), identity=ExecutionIdentity(execution="e"), output_prefix=sys.argv[3])
        async with Host(Registry([platform]), HostSettings(installation="t", secrets=secrets)) as host:
            handle = await host.create_task(task, timeout_s=3)
            for _ in range(int(sys.argv[2])):
                status = await host.get_task(handle)
                if status.phase.is_terminal:
                    return print(status.phase.value)
                await asyncio.sleep(0.1)
            print("unreachable", status.phase.value, flush=True)
            os._exit(0)  # a host that is closed in order waits for its submission
    asyncio.run(main())
"""


async def _terminate_tls(context: ssl.SSLContext, port: int) -> asyncio.Server:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer), return_exceptions=True)

    return await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _close(front: asyncio.Server) -> None:
    front.close()

"""Addresses that tasks choose: each names a listener of the attacker's inside, and nobody ever comes there.

The agents that ship are tried with what their tasks can name, and one of the kit's that asks whatever its task says (`fetching`),
as the author of a webhook's agent would write it. Rows count connections at the listener: one is a failure.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc

from attack.site import Client, Site, Visits, new_task
from outboard.agent import Inputs, Sql
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.wire.tasks import encode_create_request, encode_header, encode_inputs
from tables.sections import Section

COLUMNS: Final = ("agent", "what the task names", "phase or code", "told", "came to the listener", "healthy after")
SPELLINGS: Final = (
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://public.example@127.0.0.1:{port}/",
    "http://{name}:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://10.96.0.1/",
    "file:///etc/passwd",
)
_PLATFORMS: Final[Mapping[str, Any]] = {
    "databricks": {"default_instance": "example.cloud.databricks.com", "token_secret": "t"},
    "snowflake": {"account": "myorg-account"},
    "sql": {"connections": {"own": {"kind": "postgresql", "host": "db.example", "user": "u"}}},
    "files": {},
}
_LATEST_S: Final = 12.0


def sections() -> list[Section]:
    """Return the table."""
    return [asked()]


def asked(spellings: Sequence[str] = SPELLINGS) -> Section:
    """Ask for addresses inside."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="outboard-attack-") as folder,
        _listener() as listener,
        Site(Path(folder), settings={"platforms": _PLATFORMS}) as site,
    ):
        rows, failures = asyncio.run(_asked(site, listener, spellings))
    seconds = round(time.monotonic() - began, 1)
    title = "Addresses that tasks choose, all of them inside"
    return Section(title=title, columns=COLUMNS, rows=rows, failures=failures, seconds=seconds)


async def _asked(
    site: Site, listener: socket.socket, spellings: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    port = int(listener.getsockname()[1])
    rows, failures = [], []
    tasks = [(named.format(port=port, name=socket.gethostname()), "fetch") for named in spellings]
    for named, kind, task in (
        *((named, kind, new_task(kind, {"url": named})) for named, kind in tasks),
        *_others(port),
    ):
        phase, told = await _told(site, task)
        came, after = _came(listener), Visits()
        async with Client(site.place.address) as client:
            await client.visit(after)
        rows.append(
            {
                "agent": kind,
                "what the task names": named,
                "phase or code": phase,
                "told": told[:160],
                "came to the listener": came,
                "healthy after": not after.failures,
            }
        )
        if came or (kind == "fetch" and phase == "SUCCEEDED"):
            failures.append(f"{kind}: {named} was asked ({phase}, {came} came)")
        failures += [f"{kind}: {named}: after it: {each}" for each in after.failures]
    return rows, failures


def _others(port: int) -> list[tuple[str, str, RawTask]]:
    """Return what tasks of the agents that ship can name."""
    inside = f"127.0.0.1:{port}"
    text = Interface(inputs={"path": SimpleType.STRING})
    query = {"sql": Sql(statement="SELECT 1")}
    run = {"spark_python_task": {"python_file": "x"}}
    found: list[tuple[str, str, RawTask]] = [
        (instance, "databricks", new_task("databricks", {"databricksInstance": instance, "databricksConf": run}))
        for instance in (
            inside,
            f"evil.example@{inside}",
            f"{inside}/.cloud.databricks.com",
            f"{inside}#.azuredatabricks.net",
        )
    ]
    found += [
        (account, "snowflake", new_task("snowflake", {"account": account, "user": "u"}, **query))
        for account in (inside, f"{inside}/", f"{inside}#", "169.254.169.254", f"evil@{inside}")
    ]
    found += [
        (uri, "sql", new_task("sql", {"connection_uri": uri}, **query))
        for uri in (f"postgresql://u@{inside}/d", f"trino://u@{inside}/d", f"postgresql://u@db.example,{inside}/d")
    ]
    found += [
        (path, "file_sensor", new_task("file_sensor", {}, inputs=Inputs({"path": path}), interface=text))
        for path in (f"http://{inside}/x", f"s3://{inside}/x", f"abfss://c@{inside}/x", f"file://{inside}/etc/passwd")
    ]
    found += [
        (prefix, "output prefix", new_task("rest_lookup", output_prefix=prefix))
        for prefix in (f"http://{inside}/out", f"s3://u@{inside}/out/0", f"abfss://c@{inside}/out")
    ]
    return found


async def _told(site: Site, task: RawTask) -> tuple[str, str]:
    """Return what a caller is told of a task."""
    async with grpc.aio.insecure_channel(site.place.address) as channel:
        try:
            if task.type == "fetch":
                stub = agent_pb2_grpc.SyncAgentServiceStub(channel)
                parts = [
                    agent_pb2.ExecuteTaskSyncRequest(header=encode_header(task)),
                    agent_pb2.ExecuteTaskSyncRequest(inputs=encode_inputs(task)),
                ]
                answers = [each async for each in stub.ExecuteTaskSync(iter(parts), timeout=_LATEST_S)]
                return _words(answers[0].header.resource)
            return await _polled(agent_pb2_grpc.AsyncAgentServiceStub(channel), task)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name), str(error.details())


async def _polled(stub: Any, task: RawTask) -> tuple[str, str]:
    made = await stub.CreateTask(encode_create_request(task), timeout=_LATEST_S)
    category = agent_pb2.TaskCategory(name=task.type)
    ask = agent_pb2.GetTaskRequest(resource_meta=made.resource_meta, task_category=category)
    give_up = time.monotonic() + 2.0
    while True:
        answer = await stub.GetTask(ask, timeout=_LATEST_S)
        phase, told = _words(answer.resource)
        if phase in ("SUCCEEDED", "FAILED", "RETRYABLE_FAILED") or time.monotonic() > give_up:
            return phase, told
        await asyncio.sleep(0.1)


def _words(resource: agent_pb2.Resource) -> tuple[str, str]:
    return execution_pb2.TaskExecution.Phase.Name(resource.phase), str(resource.message)


@contextmanager
def _listener() -> Iterator[socket.socket]:
    """Listen on all addresses of this machine; nobody is to come."""
    with socket.create_server(("", 0), backlog=64) as found:
        found.settimeout(0.0)
        yield found


def _came(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1

"""Flyte 2 beside everything else that a service does: isolation, workers, drain, pings, and a service that it never calls."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.flyte2_requests import Phase, category, create_request, provide
from integration.service.probe import SETTINGS, Gate, ProbePlatform
from integration.service.served import served, until_gone
from integration.service.vault import OUTPUTS, PASSWORD
from outboard.agent import Registry
from outboard.host import Host
from outboard.service import Service, ServiceSettings

VAULT = "vault:VaultPlatform"
WATCHED = health_pb2.HealthCheckRequest(service="flyteidl2.connector.AsyncConnectorService")
KEY = {PASSWORD.key: "a-secret-that-was-provided"}


@asynccontextmanager
async def connected(address: str, *options: tuple[str, int]) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, which gRPC's channels to one address otherwise share."""
    own = ("grpc.use_local_subchannel_pool", 1)
    async with grpc.aio.insecure_channel(address, options=[own, *options]) as channel:
        yield channel


def about(handle: bytes) -> dict[str, Any]:
    return {"resource_meta": handle, "task_category": category("vault")}


async def create(channel: grpc.aio.Channel, folder: Path, mode: str = "run") -> bytes:
    request = create_request(
        "vault", custom={"mode": mode}, outputs=sorted(OUTPUTS), connection=provide(KEY), prefix=f"{folder}/1/"
    )
    handle: bytes = (await service_pb2_grpc.AsyncConnectorServiceStub(channel).CreateTask(request)).resource_meta
    return handle


async def poll(channel: grpc.aio.Channel, handle: bytes) -> connector_pb2.Resource:
    stub = service_pb2_grpc.AsyncConnectorServiceStub(channel)
    return (await stub.GetTask(connector_pb2.GetTaskRequest(**about(handle), connection=provide(KEY)))).resource


async def test_an_isolated_platform_is_served_like_any_other(tmp_path: Path) -> None:
    async with served("--agents", VAULT, "--isolate", VAULT) as service, connected(service.address) as channel:
        stub = service_pb2_grpc.AsyncConnectorServiceStub(channel)
        agents = service_pb2_grpc.ConnectorMetadataServiceStub(channel)
        listed = (await agents.ListConnectors(connector_pb2.ListConnectorsRequest())).connectors
        assert [each.name for each in listed] == ["vault"]
        handle = await create(channel, tmp_path)
        while (known := await poll(channel, handle)).message != "as [redacted]":
            assert known.phase == Phase.RUNNING
        pages = [message async for message in stub.GetTaskLogs(connector_pb2.GetTaskLogsRequest(**about(handle)))]
        assert [line.message for page in pages for line in page.body.lines] == ["logged in as [redacted]"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetTaskMetrics(connector_pb2.GetTaskMetricsRequest(resource_meta=b"?"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        (pid,) = service.children
        os.kill(pid, signal.SIGKILL)
        await until_gone(pid)
        assert await poll(channel, handle) == known
        await stub.DeleteTask(connector_pb2.DeleteTaskRequest(**about(handle), connection=provide(KEY)))
        assert KEY[PASSWORD.key] not in str(service.lines)


async def test_any_worker_follows_what_another_has_started(tmp_path: Path) -> None:
    async with served("--agents", VAULT, "--processes", "2") as service:
        async with connected(service.address) as channel:
            handle = await create(channel, tmp_path, "done")
        for _ in range(8):
            async with connected(service.address) as channel:
                while (resource := await poll(channel, handle)).phase != Phase.SUCCEEDED:
                    assert resource.phase == Phase.RUNNING


async def test_a_create_in_flight_is_answered_while_the_service_drains() -> None:
    gate = Gate()
    async with (
        Host(Registry([ProbePlatform(gate)])) as host,
        Service(host, SETTINGS) as service,
        connected(service.address) as channel,
    ):
        stub = service_pb2_grpc.AsyncConnectorServiceStub(channel)
        creating = asyncio.ensure_future(_answer(stub.CreateTask(create_request(custom={"mode": "gated"}))))
        await gate.entered.wait()
        draining = asyncio.ensure_future(service.drain())
        assert await _is_refused(channel)
        gate.opened.set()
        assert (await creating).resource_meta
        await draining


async def _is_refused(channel: grpc.aio.Channel) -> bool:
    """Wait until the service takes no calls any more."""
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        while True:
            await stub.Check(WATCHED)
    except grpc.aio.AioRpcError as error:
        return error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def _answer(call: Any) -> Any:
    return await call


class Strict(ServiceSettings):
    """gRPC's own rule: one ping in five minutes."""

    def channel_options(self) -> list[tuple[str, int]]:
        return [(name, value) for name, value in super().channel_options() if "ping" not in name]


async def test_a_client_that_pings_keeps_its_stream() -> None:
    """Flyte 2's client pings every 30 s, which ends its streams with a server that has gRPC's own settings."""
    pings = (("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0))
    async with (
        Host(Registry([ProbePlatform()])) as host,
        Service(host, SETTINGS) as ours, Service(host, Strict(port=0)) as strict,
        connected(ours.address, *pings) as allowed, connected(strict.address, *pings) as refused,
    ):  # fmt: skip
        streams = [health_pb2_grpc.HealthStub(channel).Watch(WATCHED) for channel in (allowed, refused)]
        for stream in streams:
            await stream.read()
        with pytest.raises(grpc.aio.AioRpcError):
            await streams[1].read()
        assert not streams[0].done()


SERVES_FLYTE_1 = """
import asyncio, sys
import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from outboard.agent import Registry
from outboard.host import Host
from outboard.service import Service, ServiceSettings

SYMBOL = "flyteidl2.connector.AsyncConnectorService"

def loaded():
    return any(name.partition(".")[0] == "flyteidl2" for name in sys.modules)

async def main():
    async with Host(Registry()) as host, Service(host, ServiceSettings(port=0)) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            await agent_pb2_grpc.AgentMetadataServiceStub(channel).ListAgents(agent_pb2.ListAgentsRequest())
            print(loaded())
            await channel.unary_unary("/flyteidl2.connector.ConnectorMetadataService/ListConnectors")(b"")
            print(loaded())
            question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SYMBOL)
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            async for answer in stub.ServerReflectionInfo(iter([question])):
                print(answer.WhichOneof("message_response"))

asyncio.run(main())
"""


async def test_what_flyte_2_needs_is_loaded_when_it_calls_and_when_somebody_asks_for_its_schema() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVES_FLYTE_1, stdout=asyncio.subprocess.PIPE)
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert told.split() == [b"False", b"True", b"file_descriptor_response"]

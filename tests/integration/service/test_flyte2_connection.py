"""Flyte 2's connection: what it provides reaches the agent as it is now, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from prometheus_client import generate_latest

from integration.service.flyte2_requests import Phase, category, create_request, provide
from integration.service.probe import SETTINGS
from integration.service.vault import PASSWORD, VaultPlatform
from outboard.agent import Registry
from outboard.host import Host, HostSettings
from outboard.service import Service

CANARY = "canary-3f9a-in-a-coal-mine"
VAULT = category("vault")
Stub = Any
"""gRPC's stubs have no types."""
Lines = list[MutableMapping[str, Any]]


@pytest.fixture
async def platform() -> VaultPlatform:
    return VaultPlatform()


@pytest.fixture
async def service(platform: VaultPlatform) -> AsyncIterator[Service]:
    settings = HostSettings(cancel_wait=timedelta(milliseconds=50))
    async with Host(Registry([platform]), settings) as host, Service(host, SETTINGS) as service:
        yield service


@pytest.fixture
async def stub(service: Service) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield service_pb2_grpc.AsyncConnectorServiceStub(channel)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def secret(value: str = CANARY) -> dict[str, str]:
    return {PASSWORD.key: value}


def poll(handle: bytes, value: str = CANARY) -> connector_pb2.GetTaskRequest:
    return connector_pb2.GetTaskRequest(resource_meta=handle, task_category=VAULT, connection=provide(secret(value)))


def delete(handle: bytes, value: str = CANARY) -> connector_pb2.DeleteTaskRequest:
    return connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=VAULT, connection=provide(secret(value)))


async def create(stub: Stub, mode: str = "run", value: str = CANARY, region: str = "eu", **fields: Any) -> bytes:
    custom = {"mode": mode, "secrets": {PASSWORD.key: "the-secret's-name"}, "configs": {"region": "eu"}}
    request = create_request(
        "vault",
        custom=custom,
        outputs=("zulu", "alpha", "mike"),
        connection=provide(secret(value), region=region),
        **fields,
    )
    handle: bytes = (await stub.CreateTask(request)).resource_meta
    return handle


async def end(stub: Stub, handle: bytes) -> connector_pb2.Resource:
    while (resource := (await stub.GetTask(poll(handle))).resource).phase == Phase.RUNNING:
        pass
    return resource


async def test_secrets_and_configs_reach_every_call_of_the_agent(stub: Stub, platform: VaultPlatform) -> None:
    handle = await create(stub, region="eu")
    assert platform.vault.configs == {"region": "eu"}
    await stub.GetTask(poll(handle))
    assert {password for _, password in platform.vault.used} == {CANARY}
    await stub.DeleteTask(delete(handle, "another"))
    used = dict(platform.vault.used)
    assert (used["create"], used["cancel"]) == (CANARY, "another")


async def test_what_the_engine_reads_in_custom_is_no_configuration_of_the_agent(
    stub: Stub, platform: VaultPlatform, lines: Lines
) -> None:
    custom = {"mode": "run", "secrets": {"password": "name"}, "configs": {"a": "b"}, "task_type": "vault", "more": 1}
    await stub.CreateTask(create_request("vault", custom=custom, connection=provide(secret())))
    assert platform.vault.extra_keys == {"more"}
    assert [line["field"] for line in lines if line["event"] == "unknown configuration key"] == ["more"]


async def test_without_the_secret_a_task_is_refused_before_anything_is_sent(
    stub: Stub, platform: VaultPlatform
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateTask(create_request("vault"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert platform.vault.used == []


async def test_a_secret_that_changes_between_two_polls_is_used_from_then_on_and_back_again(
    stub: Stub, platform: VaultPlatform
) -> None:
    handle = await create(stub, value="first")
    for value in ("first", "second", "first", "second"):
        assert (await stub.GetTask(poll(handle, value))).resource.phase == Phase.RUNNING
        async for _ in stub.GetTaskLogs(connector_pb2.GetTaskLogsRequest(resource_meta=handle, task_category=VAULT)):
            pass  # a request for logs brings no connection
        assert platform.vault.used[-1] == ("logs", value)


async def test_a_job_whose_secret_is_refused_goes_on_with_the_next_one(stub: Stub, platform: VaultPlatform) -> None:
    handle = await create(stub, value="first")
    platform.vault.refused = "first"
    platform.vault.used.clear()
    while ("get", "second") not in platform.vault.used:  # a poll may be answered what is known, and asks behind it
        assert (await stub.GetTask(poll(handle, "second"))).resource.phase == Phase.RUNNING


async def test_repeated_polls_with_a_connection_are_answered_from_memory(stub: Stub, platform: VaultPlatform) -> None:
    handle = await create(stub)
    for _ in range(50):
        assert (await stub.GetTask(poll(handle))).resource.phase == Phase.RUNNING
    assert [method for method, _ in platform.vault.used].count("get") < 10


async def test_a_cancel_that_cannot_be_handed_over_is_an_error_each_time(stub: Stub) -> None:
    """Flyte 1's engine counts such errors, and gets three at most; Flyte 2's asks until it is answered OK."""
    handle = await create(stub, "cannot be cancelled")
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DeleteTask(delete(handle))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "not now, [redacted]" in caught.value.details()


async def test_outputs_stand_in_the_order_of_the_interface(stub: Stub) -> None:
    resource = await end(stub, await create(stub, "done"))
    assert [each.name for each in resource.outputs.literals] == ["zulu", "alpha", "mike"]
    assert [each.value.scalar.primitive.integer for each in resource.outputs.literals] == [1, 2, 3]


async def test_a_secret_stands_nowhere_but_in_the_agents_hands(
    service: Service,
    stub: Stub,
    platform: VaultPlatform,
    lines: Lines,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[bytes] = []
    for mode in ("run", "done", "broken", "rejected", "crashes", "crashes in get"):
        prefix = f"{tmp_path}/{mode}/1/"
        try:
            handle = await create(stub, mode, node=mode.replace(" ", "-"), prefix=prefix)
        except grpc.aio.AioRpcError as error:
            said += _spelled(error)
            continue
        said.append(handle)
        for _ in range(3):
            said.append((await stub.GetTask(poll(handle))).SerializeToString())
        about = {"resource_meta": handle, "task_category": VAULT}
        try:
            said += [m.SerializeToString() async for m in stub.GetTaskLogs(connector_pb2.GetTaskLogsRequest(**about))]
            said.append((await stub.GetTaskMetrics(connector_pb2.GetTaskMetricsRequest(**about))).SerializeToString())
            await stub.DeleteTask(delete(handle))
        except grpc.aio.AioRpcError as error:
            said += _spelled(error)
    for task_type in ("vault", "nothing"):  # refused before and after it is known whose it is
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateTask(create_request(task_type, custom={"mode": 7}, connection=provide(secret())))
        said += _spelled(caught.value)
    said.append(generate_latest(service.metrics))
    said += [json.dumps([dict(line) for line in lines], default=repr).encode(), caplog.text.encode()]
    files = _files(tmp_path)
    said += files
    assert files
    assert any(b"as [redacted]" in text for text in said)  # it was told, and taken out
    assert CANARY in dict(platform.vault.used).values()
    assert [text for text in said if CANARY.encode() in text] == []


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def _spelled(error: grpc.aio.AioRpcError) -> list[bytes]:
    return [str(error.details()).encode(), repr(error.trailing_metadata()).encode(), repr(error).encode()]

"""Sync agents under Flyte 2, which has no sync tasks: each answer is created and polled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from flyteidl2.task import common_pb2

from integration.service.flyte2_requests import Phase, category, create_request, provide
from integration.service.oracle import OraclePlatform
from integration.service.probe import SETTINGS
from outboard.agent import Registry
from outboard.host import Host
from outboard.service import Service

ENDS = {Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED}


class Asking:
    """One engine before one or more replicas."""

    def __init__(self, folder: Path, *channels: grpc.aio.Channel) -> None:
        self.folder = folder
        self.stubs = [service_pb2_grpc.AsyncConnectorServiceStub(channel) for channel in channels]

    async def create(self, mode: str, replica: int = 0) -> bytes:
        request = create_request(
            "oracle", custom={"mode": mode}, outputs=("zulu", "alpha"), prefix=f"{self.folder}/{mode}/1/"
        )
        handle: bytes = (await self.stubs[replica].CreateTask(request)).resource_meta
        return handle

    async def poll(self, handle: bytes, mode: str, replica: int = 0) -> connector_pb2.Resource:
        request = connector_pb2.GetTaskRequest(
            resource_meta=handle,
            task_category=category("oracle"),
            output_prefix=f"{self.folder}/{mode}/1/",
            connection=provide(),
        )
        return (await self.stubs[replica].GetTask(request)).resource

    async def end(self, handle: bytes, mode: str, replica: int = 0) -> connector_pb2.Resource:
        while (resource := await self.poll(handle, mode, replica)).phase not in ENDS:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.01)
        return resource

    def outputs(self, mode: str) -> dict[str, int]:
        """What lies where the engine looks for outputs that no answer holds."""
        outputs = common_pb2.Outputs.FromString((self.folder / mode / "1" / "outputs.pb").read_bytes())
        return {each.name: each.value.scalar.primitive.integer for each in outputs.literals}


@pytest.fixture
async def platform() -> OraclePlatform:
    return OraclePlatform()


@pytest.fixture
async def asking(platform: OraclePlatform, tmp_path: Path) -> AsyncIterator[Asking]:
    async with (
        Host(Registry([platform])) as one, Service(one, SETTINGS) as first,
        Host(Registry([OraclePlatform()])) as two, Service(two, SETTINGS) as second,
        grpc.aio.insecure_channel(first.address) as here, grpc.aio.insecure_channel(second.address) as there,
    ):  # fmt: skip
        yield Asking(tmp_path, here, there)


async def test_an_answer_lies_where_the_engine_looks_and_is_asked_for_once(
    asking: Asking, platform: OraclePlatform
) -> None:
    handle = await asking.create("answers")
    assert await asking.create("answers") == handle
    for replica in (0, 1):
        resource = await asking.end(handle, "answers", replica)
        assert resource.phase == Phase.SUCCEEDED
        assert not resource.HasField("outputs")
    assert asking.outputs("answers") == {"zulu": 21, "alpha": 2}
    assert platform.oracle.questions == 1


async def test_an_answer_that_takes_long_is_told_by_a_later_poll_of_any_replica(
    asking: Asking, platform: OraclePlatform
) -> None:
    handle = await asking.create("slow")
    for replica in (0, 1):
        assert (await asking.poll(handle, "slow", replica)).phase == Phase.INITIALIZING
    platform.oracle.allowed.set()
    for replica in (0, 1):
        assert (await asking.end(handle, "slow", replica)).phase == Phase.SUCCEEDED
    assert asking.outputs("slow") == {"zulu": 21, "alpha": 2}


@pytest.mark.parametrize(
    ("mode", "phase", "message"),
    [
        ("rejected", Phase.FAILED, "ask something else"),
        ("away", Phase.RETRYABLE_FAILED, "nobody is here"),
        ("crashes", Phase.FAILED, "ZeroDivisionError"),
        ("misfit", Phase.FAILED, "outputs.zulu is missing"),
    ],
)
async def test_every_failure_is_told_with_its_words_by_any_replica(
    asking: Asking, mode: str, phase: int, message: str
) -> None:
    handle = await asking.create(mode)
    for replica in (0, 1):
        resource = await asking.end(handle, mode, replica)
        assert resource.phase == phase
        assert message in resource.message


async def test_an_answer_is_collected_like_a_job_and_stays(asking: Asking) -> None:
    handle = await asking.create("answers")
    request = connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=category("oracle"))
    for stub in asking.stubs:
        await stub.DeleteTask(request)
    assert (await asking.end(handle, "answers")).phase == Phase.SUCCEEDED

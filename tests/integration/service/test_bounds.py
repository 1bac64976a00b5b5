"""Bounds around gRPC's own code: a burst is answered whole, resets crowd nobody out, and nothing compressed is unpacked."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from attack.connections import flood
from attack.site import Place
from outboard.service import Service


async def answered(channel: grpc.aio.Channel) -> str:
    stub = agent_pb2_grpc.AgentMetadataServiceStub(channel)
    try:
        await stub.ListAgents(agent_pb2.ListAgentsRequest(), timeout=60)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "OK"


async def test_a_burst_of_calls_of_one_client_is_answered_whole(channel: grpc.aio.Channel) -> None:
    codes = Counter(await asyncio.gather(*(answered(channel) for _ in range(3_000))))
    assert codes == {"OK": 3_000}


async def test_calls_that_are_reset_at_once_crowd_out_nobody_else_s(
    service: Service, channel: grpc.aio.Channel
) -> None:
    codes: Counter[str] = Counter()
    attack = asyncio.create_task(asyncio.to_thread(flood, Place(service.port, 0, 0), "rapid reset", 30_000))
    while not attack.done():
        codes[await answered(channel)] += 1
    assert set(codes) == {"OK"}
    assert "ENHANCE_YOUR_CALM" in await attack


async def test_what_is_compressed_is_refused_and_not_unpacked(service: Service) -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(service.address, options, compression=grpc.Compression.Gzip) as channel:
        get = channel.unary_unary("/flyteidl.service.AsyncAgentService/GetTask")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await get(bytes(1 << 20), timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "gzip" in str(refused.value.details())

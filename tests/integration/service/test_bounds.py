"""Bounds around gRPC's own code: what comes in bursts, is reset, compressed, empty or has large headers."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from attack.connections import flood
from attack.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LIST_AGENTS,
    connected,
    frame,
    message,
    opening,
    request,
    said,
)
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


@pytest.mark.parametrize(
    "method",
    [
        "flyteidl.service.AsyncAgentService/CreateTask",
        "flyteidl.service.AsyncAgentService/GetTask",
        "flyteidl.service.AsyncAgentService/GetTaskLogs",
        "flyteidl2.connector.AsyncConnectorService/GetTask",
        "grpc.health.v1.Health/Check",
    ],
)
async def test_a_call_that_ends_without_a_request_is_answered(channel: grpc.aio.Channel, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.stream_unary(f"/{method}")(iter(()), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "without a request" in str(refused.value.details())


async def test_headers_over_the_bound_are_refused_of_a_client_that_never_acknowledges_it(service: Service) -> None:
    def asked(size: int) -> Counter[str]:
        block = request(LIST_AGENTS, ("x-long", "y" * size))
        pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        frames = [frame(CONTINUATION if at else HEADERS, 0, 1, each) for at, each in enumerate(pieces)]
        ended = frame(CONTINUATION, END_HEADERS, 1) + frame(DATA, END_STREAM, 1, message())
        with connected(service.port) as connection:
            connection.sendall(opening() + b"".join(frames) + ended)
            told = said(connection, for_s=20.0, answers=1)
        return Counter({name: count for name, count in told.items() if name.startswith("answer")})

    assert await asyncio.to_thread(asked, 15_000) == {"answer begins": 1, "answer ends": 1}
    assert await asyncio.to_thread(asked, 40_000) == {"answer ends": 1}

"""Random bytes: as messages of every method, as mutations of good messages, and as what comes on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2

from attack.frames import HEADERS, connected, frame, in_words, opening, request, said
from attack.site import Place, new_task
from attack.trials import Attack, tried
from outboard.wire.tasks import encode_create_request, encode_header
from tables.sections import Section

_V1: Final = "/flyteidl.service.AsyncAgentService/"
_V2: Final = "/flyteidl2.connector.AsyncConnectorService/"
METHODS: Final = (
    *(f"{service}{method}" for service in (_V1, _V2) for method in ("CreateTask", "GetTask", "DeleteTask", "GetTaskMetrics")),
    "/flyteidl.service.AgentMetadataService/GetAgent",
    "/flyteidl.service.AgentMetadataService/ListAgents",
    "/flyteidl2.connector.ConnectorMetadataService/GetConnector",
    "/flyteidl2.connector.ConnectorMetadataService/ListConnectors",
    "/grpc.health.v1.Health/Check",
)  # fmt: skip
STREAMS: Final = (f"{_V1}GetTaskLogs", f"{_V2}GetTaskLogs")
SYNC: Final = "/flyteidl.service.SyncAgentService/ExecuteTaskSync"
_AT_ONCE: Final = 64
_CODES: Final = "OK|INVALID_ARGUMENT|NOT_FOUND|UNIMPLEMENTED|FAILED_PRECONDITION|UNAVAILABLE|DEADLINE_EXCEEDED"
_HARMLESS: Final = rf"^(\d[\d,]* x ({_CODES})(, )?)+$"
_LONGEST: Final = 2_000


def sections() -> list[Section]:
    """Return the table."""
    return [
        tried(
            "Random bytes",
            attacks(),
            notes=[
                "INTERNAL and UNKNOWN would be failures; UNAVAILABLE is what a handle gets that another key may have sealed."
            ],
        )
    ]


def attacks(count: int = 100_000, *, seed: int = 20_261_123) -> list[Attack]:
    """Return what is tried; `count` requests in all."""
    raw, mutated = count // 2, count // 2
    return [
        Attack(
            name="random messages", run=messages, arguments=("raw", raw, seed),
            sent=f"{raw:,} messages of random bytes to {len(METHODS) + len(STREAMS) + 1} methods", expected=_HARMLESS,
        ),
        Attack(
            name="mutated messages", run=messages, arguments=("mutated", mutated, seed + 1),
            sent=f"{mutated:,} good messages with bits flipped, parts cut out, repeated or put elsewhere", expected=_HARMLESS,
            left_mib=96,
        ),
        Attack(
            name="random bytes on the socket", run=socket_bytes, arguments=(min(300, count // 50), seed + 2),
            sent=f"{min(300, count // 50):,} connections with random bytes", expected="closed|GOAWAY|silence",
        ),
        Attack(
            name="random frames", run=frames, arguments=(min(300, count // 50), seed + 3),
            sent=f"{min(300, count // 50):,} connections with 50 random frames each", expected="closed|GOAWAY|silence|answer",
        ),
    ]  # fmt: skip


def messages(place: Place, kind: str, count: int, seed: int) -> str:
    """Send many messages; the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - the same bytes each time
    make = _raw if kind == "raw" else _Mutations(asyncio.run(_made(place)))
    return asyncio.run(_sent(place, [make(chance) for _ in range(count)]))


def socket_bytes(place: Place, count: int, seed: int) -> str:
    """Send random bytes where HTTP/2 is spoken, before and after its preface."""
    chance = random.Random(seed)  # noqa: S311 - the same bytes each time
    found: Counter[str] = Counter()
    for number in range(count):
        with connected(place.port) as connection, contextlib.suppress(OSError):
            connection.sendall((opening() if number % 2 else b"") + chance.randbytes(chance.randint(1, _LONGEST)))
            found += said(connection, for_s=0.02)
    return in_words(found)


def frames(place: Place, count: int, seed: int) -> str:
    """Send frames that are well formed and make no sense."""
    chance = random.Random(seed)  # noqa: S311 - the same bytes each time
    found: Counter[str] = Counter()
    for _ in range(count):
        some = b"".join(
            frame(chance.randint(0, 12), chance.randint(0, 255), chance.choice((0, 1, 3, 2**31 - 1)), _payload(chance))
            for _ in range(50)
        )
        with connected(place.port) as connection, contextlib.suppress(OSError):
            connection.sendall(opening() + frame(HEADERS, 4, 1, request()) + some)
            found += said(connection, for_s=0.02)
    return in_words(found)


def _payload(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 4, 5, 8, 64)))


def _raw(chance: random.Random) -> tuple[str, bytes]:
    return chance.choice((*METHODS, *STREAMS, SYNC)), chance.randbytes(int(chance.expovariate(0.01)))


class _Mutations:
    """Good messages with something wrong in each."""

    def __init__(self, handle: bytes) -> None:
        task = new_task()
        category = agent_pb2.TaskCategory(name=task.type)
        asked = {"resource_meta": handle, "task_category": category}
        header = agent_pb2.ExecuteTaskSyncRequest(header=encode_header(task))
        inputs = agent_pb2.ExecuteTaskSyncRequest(inputs=literals_pb2.LiteralMap())
        jobs: dict[str, Any] = {
            "CreateTask": encode_create_request(task),
            "GetTask": agent_pb2.GetTaskRequest(**asked),
            "GetTaskMetrics": agent_pb2.GetTaskMetricsRequest(**asked, queries=["cpu"]),
            "GetTaskLogs": agent_pb2.GetTaskLogsRequest(**asked, lines=10),
        }
        both = [(f"{service}{name}", each.SerializeToString()) for service in (_V1, _V2) for name, each in jobs.items()]
        self._good = [*both, (SYNC, header.SerializeToString()), (SYNC, inputs.SerializeToString())]

    def __call__(self, chance: random.Random) -> tuple[str, bytes]:
        path, data = chance.choice(self._good)
        wrong = bytearray(data)
        for _ in range(chance.randint(1, 2)):
            at, size = chance.randrange(len(wrong) + 1), chance.randint(1, 16)
            match chance.randrange(5):
                case 0 if at < len(wrong):
                    wrong[at] ^= 1 << chance.randrange(8)
                case 1:
                    del wrong[at : at + size]
                case 2:
                    wrong[at:at] = chance.randbytes(size)
                case 3:
                    wrong[at:at] = wrong[at : at + 10 * size]
                case _:
                    del wrong[at + size :]
        return path, bytes(wrong)


async def _sent(place: Place, requests: list[tuple[str, bytes]]) -> str:
    found: Counter[str] = Counter()
    left = iter(requests)

    async def work(channel: grpc.aio.Channel) -> None:
        for path, data in left:
            try:
                await _call(channel, path, data)
                found["OK"] += 1
            except grpc.aio.AioRpcError as error:
                found[str(error.code().name)] += 1

    async with grpc.aio.insecure_channel(place.address) as channel:
        await asyncio.gather(*(work(channel) for _ in range(_AT_ONCE)))
    return ", ".join(f"{number:,} x {name}" for name, number in found.most_common())


async def _call(channel: grpc.aio.Channel, path: str, data: bytes) -> None:
    if path == SYNC:
        both = channel.stream_stream(path)(iter((data,)), timeout=20)
        async for _ in both:
            pass
    elif path in STREAMS:
        async for _ in channel.unary_stream(path)(data, timeout=20):
            pass
    else:
        await channel.unary_unary(path)(data, timeout=20)


async def _made(place: Place) -> bytes:
    async with grpc.aio.insecure_channel(place.address) as channel:
        create: Callable[..., Any] = channel.unary_unary(
            f"{_V1}CreateTask", response_deserializer=agent_pb2.CreateTaskResponse.FromString
        )
        answer = await create(encode_create_request(new_task()).SerializeToString(), timeout=30)
        return bytes(answer.resource_meta)

"""Messages: too large, compressed, odd in their path, method, deadline and metadata, and streams that nobody reads or ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2, tasks_pb2
from google.protobuf import struct_pb2

from attack.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET_TASK,
    HEADERS,
    LIST_AGENTS,
    connected,
    frame,
    in_words,
    message,
    opening,
    request,
    said,
)
from attack.site import Place, new_task
from attack.trials import Attack, tried
from outboard.wire.tasks import encode_create_request
from tables.sections import Section

_MIB: Final = 1024 * 1024
CREATE: Final = "/flyteidl.service.AsyncAgentService/CreateTask"
LOGS: Final = "/flyteidl.service.AsyncAgentService/GetTaskLogs"
SYNC: Final = "/flyteidl.service.SyncAgentService/ExecuteTaskSync"
_ODD_PATHS: Final = (
    "", "/", "//", "GET", "*", "/..", "/../../../../etc/passwd", "/%2e%2e/GetTask", "/a\u0301/ü", "/" + "a" * 4_000, "/\x01\x02",
    "/flyteidl.service.AsyncAgentService", "/flyteidl.service.AsyncAgentService/", "/flyteidl.service.AsyncAgentService/GetTask/",
    "/flyteidl.service.AsyncAgentService/gettask", "/flyteidl.service.AsyncAgentService/../GetTask",
    "/flyteidl.service.AsyncAgentService/__class__", "/outboard.internal/Hasten",
    "/grpc.health.v1.Health/Nothing", "http://other.example/flyteidl.service.AsyncAgentService/GetTask",
)  # fmt: skip
_METHODS: Final = ("GET", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "post", "PRI", "X" * 100, "")


def sections() -> list[Section]:
    """Return the tables."""
    return [tried("Messages, headers and streams", attacks())]


def attacks(count: int = 1_000) -> list[Attack]:
    """Return what is tried."""
    refused = "RESOURCE_EXHAUSTED"
    return [
        Attack(name="100 MB request", run=large, sent="a message of 100 MiB", expected=f"^1 x {refused}", peak_mib=96),
        Attack(
            name="twenty at once",
            run=large,
            arguments=(20, 100),
            sent="20 messages of 100 MiB at once",
            expected=refused,
        ),
        Attack(
            name="said to be 4 GB",
            run=claimed,
            sent="a message that says it has 4,294,967,295 bytes",
            expected=refused + "|answer ends",
        ),
        Attack(name="bomb", run=bomb, sent="gzip of 100 MiB of zeros (100 KB)", expected="UNIMPLEMENTED", peak_mib=32),
        Attack(
            name="a thousand bombs",
            run=bomb,
            arguments=(count,),
            sent=f"{count:,} x gzip of 60 MiB of zeros, at once",
            expected="UNIMPLEMENTED",
            peak_mib=96,
        ),
        *(
            Attack(
                name=name, run=deep, arguments=(kind, depth), sent=f"a {what} {depth:,} levels deep", expected=expected
            )
            for name, kind, what, depth, expected in (
                ("deep Struct", "struct", "Struct", 20_000, "INVALID_ARGUMENT"),
                ("deep literal", "literal", "literal map", 20_000, "INVALID_ARGUMENT|OK"),
                ("not quite so deep", "struct", "Struct", 30, "OK|INVALID_ARGUMENT"),
            )
        ),
        Attack(
            name="many keys",
            run=wide,
            arguments=(300_000,),
            sent="a configuration of 300,000 keys",
            expected="INVALID_ARGUMENT",
            left_mib=96,
        ),
        Attack(
            name="many inputs",
            run=many_inputs,
            arguments=(200_000,),
            sent="200,000 inputs",
            expected="OK|INVALID_ARGUMENT",
            left_mib=160,
            peak_mib=400,
        ),
        Attack(
            name="huge names",
            run=names,
            arguments=(8 * _MIB,),
            sent="a task type, an agent and a key of 8 MiB each",
            expected="NOT_FOUND",
            left_mib=96,
            peak_mib=300,
        ),
        Attack(
            name="header bomb",
            run=headers,
            arguments=(1, 10 * _MIB),
            sent="one header of 10 MiB",
            expected="RESOURCE|RST|GOAWAY|closed|answer ends",
        ),
        Attack(
            name="many headers",
            run=headers,
            arguments=(20_000, 50),
            sent="20,000 headers",
            expected="RESOURCE|RST|GOAWAY|closed|answer ends",
        ),
        Attack(
            name="headers over the bound",
            run=headers,
            arguments=(1, 40_000),
            sent="a header of 40 KB before our settings are acknowledged",
            expected="^answer ends$",
            log_matches="call not read: headers",
        ),
        Attack(
            name="no requests",
            run=without_requests,
            arguments=(900,),
            sent="900 calls that end without their request",
            expected=r"900 x answer ends",
            log_matches="call not read: no_request",
        ),
        Attack(
            name="indexed headers",
            run=indexed,
            arguments=(20,),
            sent="20 x a header of 4 KiB referred to 3,000 times (HPACK bomb)",
            expected="answer ends|RST|GOAWAY|closed",
        ),
        Attack(
            name="odd paths",
            run=paths,
            sent=f"{len(_ODD_PATHS)} paths that are none of ours",
            expected="answer ends|UNIMPLEMENTED",
        ),
        Attack(
            name="odd methods", run=methods, sent=f"{len(_METHODS)} HTTP methods", expected="RST|answer ends|closed"
        ),
        Attack(
            name="odd deadlines",
            run=deadlines,
            sent="deadlines of 0, -1, 1 ns, 99999999 H, text",
            expected="answer ends",
        ),
        Attack(
            name="odd metadata",
            run=metadata,
            sent="binary, empty, huge and repeated metadata",
            expected="OK|INVALID_ARGUMENT",
        ),
        Attack(
            name="listings",
            run=listings,
            arguments=(10 * count,),
            sent=f"{10 * count:,} ListAgents as fast as it goes",
            expected=f"{10 * count:,} x OK",
        ),
        Attack(
            name="logs never read",
            run=unread,
            arguments=(count // 2,),
            sent=f"{count // 2:,} GetTaskLogs with a window of 0",
            expected="silence|answer",
        ),
        Attack(
            name="half sync calls",
            run=half_sync,
            arguments=(count // 2,),
            sent=f"{count // 2:,} ExecuteTaskSync without inputs",
            expected="open; (silence|.*answer)",
            left_mib=64,
        ),
    ]


async def _codes(place: Place, calls: Sequence[Callable[[grpc.aio.Channel], Awaitable[Any]]], **options: Any) -> str:
    found: Counter[str] = Counter()

    async def one(call: Callable[[grpc.aio.Channel], Awaitable[Any]]) -> None:
        try:
            await call(channel)
            found["OK"] += 1
        except grpc.aio.AioRpcError as error:
            found[str(error.code().name)] += 1
        except Exception as error:  # noqa: BLE001 - a client that refuses to send it is an answer too
            found[f"not sent: {type(error).__name__}"] += 1

    async with grpc.aio.insecure_channel(place.address, [("grpc.max_send_message_length", -1)], **options) as channel:
        await asyncio.gather(*(one(call) for call in calls))
    return ", ".join(f"{number:,} x {name}" for name, number in found.most_common(5))


def _call(path: str, data: bytes, **options: Any) -> Callable[[grpc.aio.Channel], Awaitable[Any]]:
    return lambda channel: channel.unary_unary(path)(data, **{"timeout": 60, **options})


def large(place: Place, count: int = 1, mib: int = 100) -> str:
    """Send large messages."""
    data = bytes(mib * _MIB)
    return asyncio.run(_codes(place, [_call(GET_TASK, data)] * count))


def claimed(place: Place) -> str:
    """Claim a length and send nothing."""
    with connected(place.port) as connection:
        head = frame(HEADERS, END_HEADERS, 1, request(GET_TASK)) + frame(DATA, 0, 1, message(b"x", length=2**32 - 1))
        connection.sendall(opening() + head)
        return in_words(said(connection, answers=1))


def bomb(place: Place, count: int = 1) -> str:
    """Send zeros, well packed: once compressed, so that only the service would have work with it."""
    squeezed = gzip.compress(bytes((100 if count == 1 else 60) * _MIB))
    head = request(GET_TASK, ("grpc-encoding", "gzip"))
    answers: Counter[str] = Counter()
    with connected(place.port) as connection:
        connection.sendall(opening())
        for number in range(count):
            stream = 2 * number + 1
            body = message(squeezed, is_compressed=True)
            pieces = [body[at : at + 16_384] for at in range(0, len(body), 16_384)]
            frames = [frame(DATA, END_STREAM * (at == len(pieces) - 1), stream, each) for at, each in enumerate(pieces)]
            with contextlib.suppress(OSError):
                connection.sendall(frame(HEADERS, END_HEADERS, stream, head) + b"".join(frames[:3]))
        answers = said(connection, answers=count)
    code = asyncio.run(_codes(place, [_call(GET_TASK, bytes(_MIB))], compression=grpc.Compression.Gzip))
    return f"{code}; {in_words(answers)}"


def deep(place: Place, kind: str, depth: int) -> str:
    """Nest deeper than a parser should go; the bytes are made by hand, since the library would refuse to."""
    nests_by = {"struct": 5, "literal": 3}[kind]
    heads, size = [], 0  # from the innermost on
    for _ in range(depth):
        value = _head(nests_by, size)
        entry = _field(1, b"k") + _head(2, len(value) + size) + value
        heads.append(_head(1, len(entry) + size) + entry)
        size += len(heads[-1])
    inner = b"".join(reversed(heads))
    within = _field(2, _field(5, inner)) if kind == "struct" else _field(1, inner)
    return asyncio.run(_codes(place, [_call(CREATE, encode_create_request(new_task()).SerializeToString() + within)]))


def wide(place: Place, count: int) -> str:
    """Send a map of many keys."""
    template = tasks_pb2.TaskTemplate(type="rest_token")
    template.custom.CopyFrom(
        struct_pb2.Struct(fields={f"k{n}": struct_pb2.Value(number_value=n) for n in range(count)})
    )
    return asyncio.run(
        _codes(place, [_call(CREATE, agent_pb2.CreateTaskRequest(template=template).SerializeToString())])
    )


def many_inputs(place: Place, count: int) -> str:
    """Send many inputs."""
    request = encode_create_request(new_task())
    one = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=1)))
    request.inputs.CopyFrom(literals_pb2.LiteralMap(literals={f"k{n}": one for n in range(count)}))
    return asyncio.run(_codes(place, [_call(CREATE, request.SerializeToString())]))


def names(place: Place, size: int) -> str:
    """Send names of megabytes."""
    long = "é\n" * (size // 3)
    created = agent_pb2.CreateTaskRequest(template=tasks_pb2.TaskTemplate(type=long)).SerializeToString()
    agent = agent_pb2.GetAgentRequest(name=long).SerializeToString()
    inputs = literals_pb2.LiteralMap(literals={long: literals_pb2.Literal()})
    keyed = agent_pb2.CreateTaskRequest(
        template=tasks_pb2.TaskTemplate(type="nothing"), inputs=inputs
    ).SerializeToString()
    calls = [
        _call(CREATE, created),
        _call("/flyteidl.service.AgentMetadataService/GetAgent", agent),
        _call(CREATE, keyed),
    ]
    return asyncio.run(_codes(place, calls))


def headers(place: Place, count: int, size: int) -> str:
    """Send headers, many or large, over as many frames as they need."""
    block = request(LIST_AGENTS, *((f"x-{number}", "y" * size) for number in range(count)))
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    frames = [frame(HEADERS, END_STREAM, 1, pieces[0])]
    frames += [frame(CONTINUATION, 0, 1, each) for each in pieces[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
    with connected(place.port) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(opening() + b"".join(frames))
        return in_words(said(connection, answers=1))


def without_requests(place: Place, count: int) -> str:
    """End calls without having asked for anything."""
    block = request(GET_TASK)
    with connected(place.port) as connection:
        connection.sendall(opening())
        for number in range(count):
            connection.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block))
        return in_words(said(connection, for_s=20.0, answers=count))


def indexed(place: Place, count: int) -> str:
    """Put a header into the table once and refer to it thousands of times: a byte there is 4 KiB here."""
    name, value = b"x-bomb", b"y" * 3_900
    stored = b"\x40" + bytes((len(name),)) + name + b"\x7f" + _varint(len(value) - 127) + value
    found: Counter[str] = Counter()
    for _ in range(count):
        with connected(place.port) as connection:
            block = request() + stored + b"\xbe" * 3_000
            with contextlib.suppress(OSError):
                connection.sendall(opening() + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
            found += said(connection, for_s=1.0, answers=1)
    return in_words(found)


def paths(place: Place) -> str:
    """Ask for what is not there."""
    found: Counter[str] = Counter()
    for path in _ODD_PATHS:
        with connected(place.port) as connection:
            connection.sendall(opening() + frame(HEADERS, END_HEADERS | END_STREAM, 1, request(path)))
            found += said(connection, for_s=1.0, answers=1)
    return in_words(found)


def methods(place: Place) -> str:
    """Call by other HTTP methods."""
    found: Counter[str] = Counter()
    for method in _METHODS:
        with connected(place.port) as connection:
            connection.sendall(opening() + frame(HEADERS, END_HEADERS | END_STREAM, 1, request(method=method)))
            found += said(connection, for_s=1.0, answers=1)
    return in_words(found)


def deadlines(place: Place) -> str:
    """Give odd times to answer in."""
    found: Counter[str] = Counter()
    for text in ("0S", "-1S", "1n", "99999999H", "999999999999S", "soon", "", "1S1S", "1" * 5_000 + "S"):
        with connected(place.port) as connection:
            head = frame(HEADERS, END_HEADERS, 1, request(LIST_AGENTS, ("grpc-timeout", text)))
            connection.sendall(opening() + head + frame(DATA, END_STREAM, 1, message()))
            found += said(connection, for_s=2.0, answers=1)
    return in_words(found)


def metadata(place: Place) -> str:
    """Send metadata that means nothing to us."""
    odd: list[tuple[tuple[str, Any], ...]] = [
        (("x-bin", bytes(range(256))),),
        (("authorization", "Bearer " + "a" * 4_000),),
        tuple((f"x-{number}", "") for number in range(100)),
        (("outboard-error", "x"), ("outboard-sent", "maybe")),
        (("traceparent", "00-" + "z" * 32 + "-zz-01"), ("tracestate", "=" * 500)),
        (("grpc-previous-rpc-attempts", "999999"),),
        (("x-forwarded-for", "127.0.0.1"), ("host", "localhost"), ("content-length", "5")),
    ]
    return asyncio.run(_codes(place, [_call(LIST_AGENTS, b"", metadata=each) for each in odd]))


def listings(place: Place, count: int) -> str:
    """List agents as fast as it goes."""
    return asyncio.run(_codes(place, [_call(LIST_AGENTS, b"")] * count))


def unread(place: Place, count: int) -> str:
    """Ask for logs of a job and never make room for them."""
    made = asyncio.run(_made(place))
    ask = agent_pb2.GetTaskLogsRequest(resource_meta=made, task_category=agent_pb2.TaskCategory(name="rest_token"))
    with connected(place.port) as connection:
        connection.sendall(opening(window=0))
        for number in range(count):
            stream = 2 * number + 1
            data = frame(DATA, END_STREAM, stream, message(ask.SerializeToString()))
            connection.sendall(frame(HEADERS, END_HEADERS, stream, request(LOGS)) + data)
        return in_words(said(connection))


def half_sync(place: Place, count: int) -> str:
    """Send the header of sync tasks and never their inputs."""
    head = agent_pb2.ExecuteTaskSyncRequest(
        header=agent_pb2.CreateRequestHeader(template=tasks_pb2.TaskTemplate(type="fetch"))
    ).SerializeToString()
    with connected(place.port) as connection:
        connection.sendall(opening())
        for number in range(count):
            stream = 2 * number + 1
            connection.sendall(
                frame(HEADERS, END_HEADERS, stream, request(SYNC)) + frame(DATA, 0, stream, message(head))
            )
        return f"{count:,} x open; {in_words(said(connection))}"


async def _made(place: Place) -> bytes:
    async with grpc.aio.insecure_channel(place.address) as channel:
        create = channel.unary_unary(CREATE, response_deserializer=agent_pb2.CreateTaskResponse.FromString)
        answer = await create(encode_create_request(new_task()).SerializeToString(), timeout=30)
        return bytes(answer.resource_meta)


def _field(number: int, data: bytes) -> bytes:
    return _head(number, len(data)) + data


def _head(number: int, size: int) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(size)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))

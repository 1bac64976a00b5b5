"""Whatever arrives on the socket: the right code, one sentence, and a service that is healthy after it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from flyteidl.service import agent_pb2_grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.service.probe import SETTINGS, ProbePlatform, make_task
from outboard import errors
from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.domain.tasks import Inputs, TaskType
from outboard.domain.types import Interface, SimpleType
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service
from outboard.wire.lazy_values import LazyValues
from outboard.wire.tasks import encode_create_request, encode_header

ASYNC = "/flyteidl.service.AsyncAgentService"
SYNC = "/flyteidl.service.SyncAgentService/ExecuteTaskSync"
UNARY = {
    f"{ASYNC}/CreateTask": agent_pb2.CreateTaskRequest,
    f"{ASYNC}/GetTask": agent_pb2.GetTaskRequest,
    f"{ASYNC}/DeleteTask": agent_pb2.DeleteTaskRequest,
    f"{ASYNC}/GetTaskMetrics": agent_pb2.GetTaskMetricsRequest,
    "/flyteidl.service.AgentMetadataService/ListAgents": agent_pb2.ListAgentsRequest,
    "/flyteidl.service.AgentMetadataService/GetAgent": agent_pb2.GetAgentRequest,
}
STREAMS = {f"{ASYNC}/GetTaskLogs": agent_pb2.GetTaskLogsRequest, SYNC: agent_pb2.ExecuteTaskSyncRequest}
HARMLESS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.fixture(autouse=True)
async def healthy_after_it(channel: grpc.aio.Channel) -> AsyncIterator[None]:
    """Every test here ends with a service that says SERVING and still lists its agents."""
    yield
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    listed = await agent_pb2_grpc.AgentMetadataServiceStub(channel).ListAgents(agent_pb2.ListAgentsRequest())
    assert len(listed.agents) == 2


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """The error that a call ends with: one short line with an id and without a traceback."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = caught.value.details()
    assert len(details.encode()) <= 1024
    assert "\n" not in details
    assert "Traceback" not in details
    assert "(error id " in details
    return caught.value


async def refused_create(channel: grpc.aio.Channel, **fields: Any) -> grpc.aio.AioRpcError:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    return await refusal(stub.CreateTask(encode_create_request(make_task(**fields))))


async def test_an_unknown_task_type_is_not_found_and_the_served_ones_are_named(channel: grpc.aio.Channel) -> None:
    error = await refused_create(channel, task_type="nothing")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "ask, probe" in error.details()


async def test_an_unknown_version_is_not_found_and_the_served_ones_are_named(channel: grpc.aio.Channel) -> None:
    error = await refused_create(channel, version=7)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "0, 2" in error.details()


@pytest.mark.parametrize(
    ("config", "field"),
    [({"mode": "run", "size": "many"}, "custom.size"), ({}, "custom.mode"), ({"mode": []}, "custom.mode")],
)
async def test_a_configuration_that_does_not_fit_is_refused_by_field(
    channel: grpc.aio.Channel, config: dict[str, object], field: str
) -> None:
    error = await refused_create(channel, config=config)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in error.details()


async def test_a_task_without_a_type_is_refused(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    error = await refusal(stub.CreateTask(agent_pb2.CreateTaskRequest()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "template.type" in error.details()


async def test_inputs_that_do_not_match_the_interface_are_refused_where_they_are_read(
    remote: RemoteEndpoint,
) -> None:
    with pytest.raises(errors.InvalidInputs, match=r"inputs\.x"):
        await remote.execute_task(
            make_task("ask", interface=Interface({"x": SimpleType.DATETIME}), inputs=raw_inputs("twelve"))
        )


async def test_an_input_that_is_missing_is_refused_where_it_is_read(remote: RemoteEndpoint) -> None:
    with pytest.raises(errors.InvalidInputs, match=r"inputs\.x is missing"):
        await remote.execute_task(make_task("ask", inputs=Inputs(LazyValues({}))))


async def test_an_input_that_nobody_declared_does_no_harm(remote: RemoteEndpoint) -> None:
    number = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=21)))
    status = await remote.execute_task(make_task("ask", inputs=Inputs(LazyValues({"x": number, "ü 🚀": number}))))
    assert status.outputs is not None
    assert status.outputs["o0"] == 42


def raw_inputs(text: str) -> Inputs:
    """Inputs as they would come off the wire, so that the client does not refuse them itself."""
    literal = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(string_value=text)))
    return Inputs(LazyValues({"x": literal}))


@pytest.mark.parametrize("handle", [b"", b"{}", b"\x80\x04cposix\nsystem\n", b"\xffOB\x01\x00garbage"])
@pytest.mark.parametrize("method", ["GetTask", "GetTaskMetrics", "GetTaskLogs"])
async def test_a_foreign_handle_is_refused(channel: grpc.aio.Channel, method: str, handle: bytes) -> None:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    kind = {**UNARY, **STREAMS}[f"{ASYNC}/{method}"]
    call = getattr(stub, method)(kind(resource_meta=handle, task_category=agent_pb2.TaskCategory(name="probe")))
    error = await refusal(call.read() if method == "GetTaskLogs" else call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_oversized_request_is_resource_exhausted(channel: grpc.aio.Channel, remote: RemoteEndpoint) -> None:
    request = agent_pb2.GetTaskRequest(resource_meta=b"x" * (SETTINGS.max_receive_bytes + 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent_pb2_grpc.AsyncAgentServiceStub(channel).GetTask(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(errors.InvalidInputs, match="by reference"):
        await remote.create_task(make_task(config={"mode": "x" * 2 * SETTINGS.max_receive_bytes}))


HEADER = agent_pb2.ExecuteTaskSyncRequest(header=encode_header(make_task("ask")))
INPUTS = agent_pb2.ExecuteTaskSyncRequest(inputs=literals_pb2.LiteralMap())


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "header"),
        ([HEADER], "inputs"),
        ([INPUTS], "header"),
        ([INPUTS, HEADER], "header"),
        ([HEADER, HEADER], "inputs"),
        ([agent_pb2.ExecuteTaskSyncRequest()], "header"),
    ],
)
async def test_a_broken_sync_stream_is_refused_and_the_missing_part_named(
    channel: grpc.aio.Channel, messages: list[Message], named: str
) -> None:
    call = agent_pb2_grpc.SyncAgentServiceStub(channel).ExecuteTaskSync(iter(messages))
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"its {named}" in error.details()


async def test_a_sync_stream_that_stops_half_way_holds_nothing_for_ever(channel: grpc.aio.Channel) -> None:
    call = agent_pb2_grpc.SyncAgentServiceStub(channel).ExecuteTaskSync()
    await call.write(HEADER)
    error = await refusal(call.read())
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "inputs did not come within 0.3 s" in error.details()


@pytest.mark.parametrize(
    ("mode", "phase", "words"),
    [
        ("rejected", Phase.FAILED, "wants another shape"),
        ("exits", Phase.FAILED, "would end the process"),
        ("throttled", Phase.INITIALIZING, ""),
        ("crashes", Phase.INITIALIZING, ""),
        ("unspeakable", Phase.INITIALIZING, ""),
        ("cancels itself", Phase.FAILED, "cancelled its own call"),
    ],
)
async def test_what_an_agent_raises_in_create_is_told_by_the_handle_and_holds_no_secret(
    remote: RemoteEndpoint, mode: str, phase: Phase, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(mode=mode)
    handle = await remote.create_task(task, timeout_s=1)
    status = await remote.get_task(handle, task_type=TaskType("probe"), output_prefix=task.output_prefix)
    assert status.phase is phase
    assert words in status.message
    told = f"{status} {handle!r} {caplog.text}"
    assert "hunter2" not in told
    assert "dapi0123" not in told


async def test_a_name_of_megabytes_is_refused_with_one_short_line_on_the_wire_and_in_the_log(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refused_create(channel, task_type="eyJaaaaaaaa-" * 50_000)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    (record,) = [each for each in caplog.records if "call failed" in each.getMessage()]
    assert len(record.getMessage()) < 10_000


async def test_metrics_that_no_go_client_takes_are_refused_with_the_remedy(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    task = make_task(config={"mode": "run", "size": 4 * 1024 * 1024})
    handle = (await stub.CreateTask(encode_create_request(task))).resource_meta
    category = agent_pb2.TaskCategory(name="probe")
    error = await refusal(
        stub.GetTaskMetrics(agent_pb2.GetTaskMetricsRequest(resource_meta=handle, task_category=category))
    )
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "shorter time" in error.details()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot tell who cancelled a task")
@pytest.mark.parametrize("mode", ["exits", "crashes"])
async def test_a_sync_agent_that_breaks_answers_a_terminal_phase(remote: RemoteEndpoint, mode: str) -> None:
    status = await remote.execute_task(make_task("ask", mode=mode))
    assert status.phase.is_terminal
    assert not status.phase.is_success


async def test_a_running_job_with_a_message_that_no_go_client_takes_is_still_running(remote: RemoteEndpoint) -> None:
    task = make_task(config={"mode": "large", "size": 4 * 1024 * 1024})
    status = await remote.get_task(await remote.create_task(task), task_type=task.task_type)
    assert (status.phase, status.error) == (Phase.RUNNING, None)
    assert 0 < len(status.message) < 10_000


_bytes = st.binary(max_size=64) | st.binary(max_size=64).map(lambda data: b"\x12" + bytes([len(data)]) + data)


@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
async def test_random_bytes_are_never_an_unhandled_error(method: str) -> None:
    """Bytes straight to every method, through a channel that knows no messages."""

    @settings(max_examples=20, database=None)
    @given(st.lists(_bytes, min_size=1, max_size=8))
    def check(requests: list[bytes]) -> None:
        codes = asyncio.run(codes_of(method, requests))
        assert codes <= HARMLESS, codes

    await asyncio.to_thread(check)


@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
async def test_random_messages_are_never_an_unhandled_error(method: str) -> None:
    """Well-formed messages with anything in them."""
    kind = {**UNARY, **STREAMS}[method]

    @settings(max_examples=20, database=None)
    @given(st.lists(messages(kind), min_size=1, max_size=4))
    def check(requests: list[Message]) -> None:
        codes = asyncio.run(codes_of(method, [request.SerializeToString() for request in requests]))
        assert codes <= HARMLESS, codes

    await asyncio.to_thread(check)


async def codes_of(method: str, requests: list[bytes]) -> set[grpc.StatusCode]:
    """The codes that requests are answered with by a service of their own."""
    async with (
        Host(Registry([ProbePlatform()])) as host,
        Service(host, SETTINGS) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        codes = set()
        for data in requests:
            if method == SYNC:
                call = channel.stream_stream(method)(iter([data, data]))
            elif method in STREAMS:
                call = channel.unary_stream(method)(data)
            else:
                call = channel.unary_unary(method)(data)
            codes.add(await call.code())
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return codes


def messages(kind: type[Message], depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of a kind with any subset of its fields set to anything, a few levels deep."""

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        message = kind()
        for field in kind.DESCRIPTOR.fields:
            if field.message_type and (depth > 4 or field.message_type.GetOptions().map_entry):
                continue
            if not draw(st.booleans()):
                continue
            fill(draw, message, field)
        return message

    def fill(draw: st.DrawFn, message: Message, field: Any) -> None:
        if field.message_type is not None:
            inner = draw(messages(field.message_type._concrete_class, depth + 1))
            if field.is_repeated:
                getattr(message, field.name).add().CopyFrom(inner)
            else:
                getattr(message, field.name).CopyFrom(inner)
            return
        value = draw(_scalar(field))
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)

    return build()


def _scalar(field: Any) -> st.SearchStrategy[object]:
    if field.name == "type" and field.containing_type.name == "TaskTemplate":
        return st.sampled_from(["probe", "ask", ""])
    if field.enum_type is not None:
        return st.integers(0, 9)
    kinds = {
        field.CPPTYPE_STRING: st.binary(max_size=8) if field.type == field.TYPE_BYTES else st.text(max_size=8),
        field.CPPTYPE_BOOL: st.booleans(),
        field.CPPTYPE_DOUBLE: st.floats(),
        field.CPPTYPE_FLOAT: st.floats(width=32),
        field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
        field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    return kinds[field.cpp_type]

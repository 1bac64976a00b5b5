"""All seven methods of Flyte 2 over a real socket, called by flyteidl2's own stubs."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from flyteidl2.core import execution_pb2
from flyteidl2.logs.dataplane import payload_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from integration.service.flyte2_requests import Phase, category, create_request, provide
from integration.service.probe import Gate, ProbePlatform

SERVICES = ("flyteidl2.connector.AsyncConnectorService", "flyteidl2.connector.ConnectorMetadataService")
PROBE = category("probe")


def is_over(resource: connector_pb2.Resource) -> bool:
    return resource.phase in {Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED}


class Engine:
    """Calls as Flyte 2's engine does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.jobs = service_pb2_grpc.AsyncConnectorServiceStub(channel)
        self.agents = service_pb2_grpc.ConnectorMetadataServiceStub(channel)

    async def create(self, mode: str = "run", task_type: str = "probe", **fields: Any) -> bytes:
        request = create_request(task_type, **{"custom": {"mode": mode}, **fields})
        handle: bytes = (await self.jobs.CreateTask(request)).resource_meta
        return handle

    async def poll(self, handle: bytes, task_type: str = "probe", **fields: Any) -> connector_pb2.Resource:
        request = connector_pb2.GetTaskRequest(
            resource_meta=handle, task_category=category(task_type), connection=provide(), **fields
        )
        return (await self.jobs.GetTask(request)).resource

    async def end(self, handle: bytes, task_type: str = "probe", **fields: Any) -> connector_pb2.Resource:
        """Poll until the task is over; a deadline of the test ends this otherwise."""
        while not is_over(resource := await self.poll(handle, task_type, **fields)):  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.01)
        return resource


@pytest.fixture
async def engine(channel: grpc.aio.Channel) -> Engine:
    return Engine(channel)


async def test_a_created_task_is_running_with_message_and_links_that_lead_somewhere(engine: Engine) -> None:
    resource = await engine.poll(await engine.create())
    assert resource.phase == Phase.RUNNING
    assert resource.message == "working"
    assert resource.custom_info["step"] == 1
    assert not resource.HasField("outputs")
    (link,) = resource.log_links
    assert (link.name, link.uri, link.ready) == ("Console", "https://console.example.com/1", True)
    assert link.link_type == execution_pb2.TaskLog.EXTERNAL


async def test_a_finished_task_has_its_outputs_by_their_declared_types(engine: Engine) -> None:
    resource = await engine.end(await engine.create("done"))
    assert resource.phase == Phase.SUCCEEDED
    assert [(each.name, each.value.scalar.primitive.integer) for each in resource.outputs.literals] == [("o0", 1)]


async def test_a_failed_task_says_code_and_words_in_its_message(engine: Engine) -> None:
    resource = await engine.end(await engine.create("broken"))
    assert (resource.phase, resource.message) == (Phase.FAILED, "E42: it broke")


async def test_the_same_request_sent_again_starts_nothing(engine: Engine) -> None:
    first, second = await engine.create(), await engine.create()
    assert first == second


async def test_a_later_attempt_is_a_job_of_its_own(engine: Engine) -> None:
    first = await engine.create("broken")
    await engine.end(first)
    assert await engine.create(attempt=1) != first


async def test_a_job_whose_create_was_never_answered_is_adopted_by_the_next_attempt(
    engine: Engine, gate: Gate, platform: ProbePlatform
) -> None:
    """The engine counts attempts from 0, and in the prefix from 1."""
    gone = asyncio.ensure_future(engine.create("gated"))
    await gate.entered.wait()
    gone.cancel()
    gate.opened.set()
    handle = await engine.create("gated", attempt=1)
    while not (link := (await engine.poll(handle)).log_links):  # noqa: ASYNC110 - a poll
        await asyncio.sleep(0.01)
    assert link[0].uri == "https://console.example.com/1"
    assert next(platform.probe._numbers) == 2


async def test_delete_reaches_the_platform(engine: Engine, platform: ProbePlatform) -> None:
    handle = await engine.create()
    await engine.jobs.DeleteTask(
        connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=PROBE, connection=provide())
    )
    assert platform.probe.cancelled == ["1"]


async def test_deleting_a_task_that_succeeded_does_nothing(engine: Engine, platform: ProbePlatform) -> None:
    handle = await engine.create("done")
    await engine.end(handle)
    request = connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=PROBE)
    for _ in range(2):
        await engine.jobs.DeleteTask(request)
    assert platform.probe.cancelled == []
    assert (await engine.poll(handle)).phase == Phase.SUCCEEDED


async def test_logs_are_a_stream_of_structured_lines_that_ends_with_a_token(engine: Engine) -> None:
    request = connector_pb2.GetTaskLogsRequest(resource_meta=await engine.create(), task_category=PROBE, lines=700)
    messages = [message async for message in engine.jobs.GetTaskLogs(request)]
    lines = [line for message in messages[:-1] for line in message.body.lines]
    assert [line.message for line in lines] == [f"line {n}" for n in range(700)]
    assert (lines[0].timestamp.seconds, lines[0].originator) == (1706702400, payload_pb2.USER)
    assert len(messages) > 2
    assert messages[-1].header.token == "700"  # noqa: S105 - a cursor
    request.token = "1199"  # noqa: S105 - same
    rest = [message async for message in engine.jobs.GetTaskLogs(request)]
    assert [line.message for line in rest[0].body.lines] == ["line 1199"]
    assert rest[-1].WhichOneof("part") == "header"
    assert rest[-1].header.token == ""


async def test_metrics_are_results_of_range_queries(engine: Engine) -> None:
    request = connector_pb2.GetTaskMetricsRequest(
        resource_meta=await engine.create(), task_category=PROBE, queries=["memory", "cpu"]
    )
    request.start_time.FromSeconds(1_700_000_000)
    answer = await engine.jobs.GetTaskMetrics(request)
    assert [result.metric for result in answer.results] == ["memory", "cpu"]
    series = answer.results[0].data["result"][0]
    assert [list(point) for point in series["values"]] == [[1_700_000_000, "1.5"]]


async def test_every_agent_is_listed_with_its_versions_sync_ones_too(engine: Engine) -> None:
    answer = await engine.agents.ListConnectors(connector_pb2.ListConnectorsRequest())
    listed = {
        each.name: [(one.name, one.version) for one in each.supported_task_categories] for each in answer.connectors
    }
    assert listed == {"probe": [("probe", 0), ("probe", 2)], "ask": [("ask", 0)]}


async def test_an_agent_is_found_by_its_name_and_an_unknown_one_is_not(engine: Engine) -> None:
    found = await engine.agents.GetConnector(connector_pb2.GetConnectorRequest(name="ask"))
    assert found.connector.supported_task_categories[0].name == "ask"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await engine.agents.GetConnector(connector_pb2.GetConnectorRequest(name="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "ask, probe" in caught.value.details()


@pytest.mark.parametrize(
    ("mode", "phase", "words"),
    [
        ("answer", Phase.SUCCEEDED, ""),
        ("crashes", Phase.FAILED, "ZeroDivisionError"),
        ("exits", Phase.FAILED, "SystemExit"),
    ],
)
async def test_a_sync_agent_answers_a_create_and_a_get(engine: Engine, mode: str, phase: int, words: str) -> None:
    prefix = f"memory://answers/{mode}/1/"
    handle = await engine.create(mode, "ask", prefix=prefix)
    assert await engine.create(mode, "ask", prefix=prefix) == handle
    resource = await engine.end(handle, "ask", output_prefix=prefix)
    assert resource.phase == phase
    assert words in resource.message


async def test_a_task_of_a_sync_agent_that_was_answered_can_be_deleted(engine: Engine) -> None:
    handle = await engine.create("answer", "ask")
    await engine.jobs.DeleteTask(connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=category("ask")))
    assert (await engine.end(handle, "ask")).phase == Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("mode", "task_type", "code", "words"),
    [
        ("run", "nothing", grpc.StatusCode.NOT_FOUND, "probe"),
        (7, "probe", grpc.StatusCode.INVALID_ARGUMENT, "custom.mode"),
        ("run", "", grpc.StatusCode.INVALID_ARGUMENT, "template.type is empty"),
    ],
)
async def test_what_cannot_be_created_has_the_same_codes_as_for_flyte_1(
    engine: Engine, mode: Any, task_type: str, code: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await engine.create(mode, task_type)
    assert caught.value.code() is code
    assert words in caught.value.details()
    assert {"outboard-error", "outboard-error-id", "outboard-retry"} <= {
        key for key, _ in caught.value.trailing_metadata()
    }


@pytest.mark.parametrize("method", ["CreateTask", "GetTask", "DeleteTask", "GetTaskMetrics"])
async def test_bytes_that_are_no_message_are_refused_by_the_messages_name(
    channel: grpc.aio.Channel, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICES[0]}/{method}")(b"\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"flyteidl2.connector.{method}Request; send one as flyteidl2 defines it" in caught.value.details()


async def test_a_method_that_flyte_2_does_not_have_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/{SERVICES[0]}/ExecuteTaskSync")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_job_may_be_followed_by_either_version_of_flyte(engine: Engine, channel: grpc.aio.Channel) -> None:
    handle = await engine.create()
    request = agent_pb2.GetTaskRequest(resource_meta=handle, task_category=agent_pb2.TaskCategory(name="probe"))
    resource = (await agent_pb2_grpc.AsyncAgentServiceStub(channel).GetTask(request)).resource
    assert (resource.phase, resource.state) == (Phase.RUNNING, agent_pb2.RUNNING)


async def test_health_knows_the_services(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for name in SERVICES:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = [answer async for answer in stub.ServerReflectionInfo(iter([question]))]
    assert {service.name for service in answer.list_services_response.service} >= set(SERVICES)

"""All nine methods over a real socket, called by flyteidl's own stubs."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from integration.service.probe import ProbePlatform, make_task
from ledgers import until
from outboard.agent import LogLine, LogPage
from outboard.wire.tasks import encode_create_request, encode_header, encode_inputs

PROBE = agent_pb2.TaskCategory(name="probe", version=0)


async def created(channel: grpc.aio.Channel, mode: str = "run", **fields: Any) -> bytes:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    answer = await stub.CreateTask(encode_create_request(make_task(mode=mode, **fields)))
    handle: bytes = answer.resource_meta
    return handle


def failures(code: str) -> float:
    labels = {"task_type": "probe", "operation": "logs", "error_code": code}
    return REGISTRY.get_sample_value("flyte_connector_requests_failure_total", labels) or 0.0


async def polled(channel: grpc.aio.Channel, handle: bytes) -> agent_pb2.Resource:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    return (await stub.GetTask(agent_pb2.GetTaskRequest(resource_meta=handle, task_category=PROBE))).resource


async def test_a_created_task_is_running_with_links_message_and_both_phase_fields(channel: grpc.aio.Channel) -> None:
    resource = await polled(channel, await created(channel))
    assert resource.phase == execution_pb2.TaskExecution.RUNNING
    assert resource.state == agent_pb2.RUNNING
    assert resource.message == "working"
    assert resource.log_links[0].uri == "https://console.example.com/1"
    assert resource.custom_info["step"] == 1
    assert not resource.HasField("outputs")


async def test_a_finished_task_has_its_outputs_by_their_declared_types(channel: grpc.aio.Channel) -> None:
    resource = await polled(channel, await created(channel, mode="done"))
    assert resource.phase == execution_pb2.TaskExecution.SUCCEEDED
    assert resource.outputs.literals["o0"].scalar.primitive.integer == 1


async def test_a_failed_task_says_code_and_whether_a_retry_is_worth_it(channel: grpc.aio.Channel) -> None:
    resource = await polled(channel, await created(channel, mode="broken"))
    assert resource.phase == execution_pb2.TaskExecution.FAILED
    assert resource.state == agent_pb2.PERMANENT_FAILURE
    assert resource.agent_error.code == "E42"
    assert resource.agent_error.kind == agent_pb2.AgentError.NON_RECOVERABLE
    assert resource.agent_error.origin == execution_pb2.ExecutionError.USER
    assert resource.message == "it broke"


async def test_delete_reaches_the_platform(channel: grpc.aio.Channel, platform: ProbePlatform) -> None:
    handle = await created(channel)
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    await stub.DeleteTask(agent_pb2.DeleteTaskRequest(resource_meta=handle, task_category=PROBE))
    assert platform.probe.cancelled == ["1"]


async def test_logs_are_a_stream_of_lines_that_ends_with_a_token(channel: grpc.aio.Channel) -> None:
    request = agent_pb2.GetTaskLogsRequest(resource_meta=await created(channel), task_category=PROBE, lines=700)
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    messages = [message async for message in stub.GetTaskLogs(request)]
    lines = [line for message in messages[:-1] for line in message.body.structured_lines]
    assert [line.message for line in lines] == [f"line {n}" for n in range(700)]
    assert lines[0].timestamp.seconds == 1706702400
    assert lines[0].originator == agent_pb2.USER
    assert len(messages) > 2
    assert messages[-1].header.token == "700"  # noqa: S105 - a cursor


async def test_a_log_goes_on_at_its_token_and_ends_without_one(channel: grpc.aio.Channel) -> None:
    request = agent_pb2.GetTaskLogsRequest(resource_meta=await created(channel), task_category=PROBE, token="1199")  # noqa: S106
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    messages = [message async for message in stub.GetTaskLogs(request)]
    assert [line.message for line in messages[0].body.structured_lines] == ["line 1199"]
    assert messages[-1].header.token == ""


async def test_a_client_that_leaves_a_log_stream_does_no_harm(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    handle = await created(channel)
    call = stub.GetTaskLogs(agent_pb2.GetTaskLogsRequest(resource_meta=handle, task_category=PROBE))
    assert await call.read() is not grpc.aio.EOF
    call.cancel()
    assert (await polled(channel, handle)).phase == execution_pb2.TaskExecution.RUNNING


async def test_a_client_that_stops_reading_a_log_and_leaves_is_no_error_of_ours(
    channel: grpc.aio.Channel, platform: ProbePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0

    async def logs(_job: Any, _ctx: Any, *, cursor: str | None, limit: int) -> LogPage:
        nonlocal pages
        pages += 1
        return LogPage(lines=[LogLine(message="x" * 500_000)], next_cursor=str(pages))

    monkeypatch.setattr(platform.probe, "logs", logs)
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    handle = await created(channel)
    left = {code: failures(code) for code in ("CANCELLED", "INTERNAL")}
    call = stub.GetTaskLogs(agent_pb2.GetTaskLogsRequest(resource_meta=handle, task_category=PROBE))
    assert await call.read() is not grpc.aio.EOF
    written = 0
    while written != pages:  # until the next message finds no room
        written = pages
        await polled(channel, handle)
    call.cancel()
    await until(lambda: sum(map(failures, left)) > sum(left.values()))
    assert failures("INTERNAL") == left["INTERNAL"]


async def test_metrics_are_results_of_range_queries(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    request = agent_pb2.GetTaskMetricsRequest(
        resource_meta=await created(channel), task_category=PROBE, queries=["memory", "cpu"]
    )
    request.start_time.FromSeconds(1_700_000_000)
    answer = await stub.GetTaskMetrics(request)
    assert [result.metric for result in answer.results] == ["memory", "cpu"]
    series = answer.results[0].data["result"][0]
    assert [list(point) for point in series["values"]] == [[1_700_000_000, "1.5"]]


async def test_a_sync_task_is_answered_at_once_with_one_header(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.SyncAgentServiceStub(channel)
    task = make_task("ask")
    call = stub.ExecuteTaskSync(
        iter(
            [
                agent_pb2.ExecuteTaskSyncRequest(header=encode_header(task)),
                agent_pb2.ExecuteTaskSyncRequest(inputs=encode_inputs(task)),
            ]
        )
    )
    answers = [answer async for answer in call]
    assert len(answers) == 1
    resource = answers[0].header.resource
    assert resource.phase == execution_pb2.TaskExecution.SUCCEEDED
    assert resource.outputs.literals["o0"].scalar.primitive.integer == 42


async def test_a_sync_stream_that_never_half_closes_is_answered_all_the_same(channel: grpc.aio.Channel) -> None:
    task = make_task("ask")
    call = agent_pb2_grpc.SyncAgentServiceStub(channel).ExecuteTaskSync()
    await call.write(agent_pb2.ExecuteTaskSyncRequest(header=encode_header(task)))
    await call.write(agent_pb2.ExecuteTaskSyncRequest(inputs=encode_inputs(task)))
    assert (await call.read()).header.resource.phase == execution_pb2.TaskExecution.SUCCEEDED
    assert await call.read() is grpc.aio.EOF


async def test_listing_shows_old_and_new_clients_every_type(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AgentMetadataServiceStub(channel)
    agents = {agent.name: agent for agent in (await stub.ListAgents(agent_pb2.ListAgentsRequest())).agents}
    assert set(agents) == {"probe", "ask"}
    assert list(agents["probe"].supported_task_types) == ["probe"]
    assert [(c.name, c.version) for c in agents["probe"].supported_task_categories] == [("probe", 0), ("probe", 2)]
    assert (agents["probe"].is_sync, agents["ask"].is_sync) == (False, True)


async def test_an_agent_is_found_by_its_name_and_an_unknown_one_is_not(channel: grpc.aio.Channel) -> None:
    stub = agent_pb2_grpc.AgentMetadataServiceStub(channel)
    assert (await stub.GetAgent(agent_pb2.GetAgentRequest(name="ask"))).agent.is_sync
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetAgent(agent_pb2.GetAgentRequest(name="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "ask, probe" in caught.value.details()


async def test_reflection_lists_the_services_and_their_schema(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="flyteidl.service.AsyncAgentService"),
    ]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(questions))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= {
        "flyteidl.service.AsyncAgentService",
        "flyteidl.service.SyncAgentService",
        "flyteidl.service.AgentMetadataService",
        "grpc.health.v1.Health",
    }
    assert answers[1].file_descriptor_response.file_descriptor_proto

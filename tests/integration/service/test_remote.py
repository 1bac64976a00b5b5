"""The engine's client against a real service, another implementation's answers, and nobody."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from integration.service.probe import Gate, ProbePlatform, make_task
from outboard import errors
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import TaskType
from outboard.domain.types import EnumType, Interface, SimpleType
from outboard.engine.addresses import ServiceAddress
from outboard.engine.remote import RemoteEndpoint
from outboard.service import Service
from outboard.wire.statuses import decode_status, encode_status, with_types

PROBE = TaskType("probe")


async def test_all_nine_methods_come_back_as_values(remote: RemoteEndpoint, platform: ProbePlatform) -> None:
    agents = {agent.name: agent for agent in await remote.list_agents()}
    assert agents["probe"].task_types == (PROBE, TaskType("probe", 2))
    assert agents["ask"].is_sync
    task = make_task(mode="done")
    handle = await remote.create_task(task)
    status = await remote.get_task(handle, task_type=PROBE, output_prefix=task.output_prefix)
    assert status.phase is Phase.SUCCEEDED
    assert status.outputs is not None
    assert dict(with_types(status.outputs, task.interface.outputs)) == {"o0": 1}
    answer = await remote.execute_task(make_task("ask"))
    assert (answer.phase, answer.outputs) == (Phase.SUCCEEDED, {"o0": 42})
    pages = [page async for page in remote.task_logs(handle, task_type=PROBE, limit=3)]
    assert [line.message for page in pages for line in page.lines] == ["line 0", "line 1", "line 2"]
    assert (pages[-1].next_cursor, pages[-1].ended) == ("3", False)
    rest = [page async for page in remote.task_logs(handle, task_type=PROBE, cursor="1199")]
    assert [line.message for page in rest for line in page.lines] == ["line 1199"]
    assert rest[-1].ended
    (series,) = await remote.task_metrics(handle, task_type=PROBE, names=("cpu",))
    assert (series.name, series.points[0][1], series.unit) == ("cpu", 1.5, "GiB")
    running = await remote.create_task(make_task(node="n1"))
    await remote.delete_task(running, task_type=PROBE)
    assert platform.probe.cancelled == ["2"]


async def test_declared_types_decide_how_outputs_are_read() -> None:
    status = TaskStatus(phase=Phase.SUCCEEDED, outputs={"o0": "red"}, output_types={"o0": EnumType(("red",))})
    read = decode_status(encode_status(status))
    assert read.outputs is not None
    with pytest.raises(errors.InvalidOutputs, match=r"outputs\.o0"):
        dict(with_types(read.outputs, {"o0": SimpleType.DATETIME}))


async def test_a_task_whose_input_does_not_fit_never_leaves(remote: RemoteEndpoint) -> None:
    with pytest.raises(errors.InvalidInputs, match=r"inputs\.x"):
        await remote.create_task(make_task(interface=Interface({"x": SimpleType.DATETIME})))


async def test_nobody_at_the_address_is_said_with_address_and_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        async with RemoteEndpoint.at(address, timeout_s=20) as remote:
            with pytest.raises(errors.EndpointUnreachable, match=rf"{address} cannot be reached .*; start the service"):
                await remote.list_agents()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_service_on_this_machine_is_reached_past_the_users_proxy(
    service: Service, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RemoteEndpoint.at(f"{host}:{service.port}", timeout_s=20) as remote:
        assert len(await remote.list_agents()) == 2


async def test_tls_against_a_plain_service_says_how_to_switch_it_off(service: Service) -> None:
    async with RemoteEndpoint.at(service.address, insecure=False, timeout_s=20) as remote:
        with pytest.raises(errors.EndpointUnreachable, match="insecure: true"):
            await remote.list_agents()


async def test_a_dns_address_works_too(service: Service) -> None:
    async with RemoteEndpoint.at(f"dns:///localhost:{service.port}", timeout_s=20) as remote:
        assert len(await remote.list_agents()) == 2


async def test_a_create_is_answered_before_its_deadline_although_the_platform_hangs(
    service: Service, gate: Gate
) -> None:
    address = ServiceAddress(
        name="a",
        target=service.address,
        insecure=True,
        timeouts={"CreateTask": timedelta(seconds=0.2)},
        default_timeout=timedelta(seconds=20),
    )
    async with RemoteEndpoint(address) as remote:
        await remote.list_agents()
        intent = await remote.create_task(make_task(mode="gated"))
        assert (await remote.get_task(intent, task_type=PROBE)).phase is Phase.INITIALIZING
        gate.opened.set()


class Other(agent_pb2_grpc.AsyncAgentServiceServicer, agent_pb2_grpc.SyncAgentServiceServicer):  # type: ignore[misc]  # generated without types
    """A service of another making, which answers as flytekit's does."""

    async def CreateTask(self, request: object, context: grpc.aio.ServicerContext) -> agent_pb2.CreateTaskResponse:  # noqa: N802 - the protocol's name
        details = "failed to create probe with error:\n Trace:\n  Traceback\n File x\nValueError: no such table"
        await context.abort(grpc.StatusCode.INTERNAL, details)
        raise AssertionError

    async def GetTask(  # noqa: N802 - the protocol's name
        self, request: agent_pb2.GetTaskRequest, context: grpc.aio.ServicerContext
    ) -> agent_pb2.GetTaskResponse:
        states = {b"pending": agent_pb2.PENDING, b"running": agent_pb2.RUNNING}
        return agent_pb2.GetTaskResponse(resource=agent_pb2.Resource(state=states.get(request.resource_meta, 0)))

    async def DeleteTask(self, request: object, context: grpc.aio.ServicerContext) -> agent_pb2.DeleteTaskResponse:  # noqa: N802 - the protocol's name
        await context.abort(grpc.StatusCode.NOT_FOUND, "Cannot find connector")
        raise AssertionError

    async def ExecuteTaskSync(  # noqa: N802 - the protocol's name
        self, requests: AsyncIterator[object], context: object
    ) -> AsyncIterator[agent_pb2.ExecuteTaskSyncResponse]:
        async for _ in requests:
            pass
        if context is None:
            yield agent_pb2.ExecuteTaskSyncResponse()


@asynccontextmanager
async def other_service() -> AsyncIterator[RemoteEndpoint]:
    server = grpc.aio.server()
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(Other(), server)
    agent_pb2_grpc.add_SyncAgentServiceServicer_to_server(Other(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with RemoteEndpoint.at(f"127.0.0.1:{port}", timeout_s=20) as remote:
            yield remote
    finally:
        await server.stop(0)


async def test_another_services_traceback_is_cut_to_its_last_line_and_may_have_arrived() -> None:
    async with other_service() as remote:
        with pytest.raises(errors.Unavailable) as caught:
            await remote.create_task(make_task())
    assert caught.value.message == "INTERNAL: ValueError: no such table"
    assert caught.value.sent is errors.Sent.MAYBE


async def test_an_answer_without_a_phase_is_read_by_its_older_state() -> None:
    async with other_service() as remote:
        assert (await remote.get_task(b"pending", task_type=PROBE)).phase is Phase.INITIALIZING
        assert (await remote.get_task(b"running", task_type=PROBE)).phase is Phase.RUNNING


async def test_an_empty_answer_is_asked_again_and_starts_nothing() -> None:
    async with other_service() as remote:
        with pytest.raises(errors.Unavailable, match="no phase"):
            await remote.get_task(b"nothing", task_type=PROBE)


async def test_codes_of_other_services_become_the_nearest_errors() -> None:
    async with other_service() as remote:
        with pytest.raises(errors.UnknownTaskType, match="Cannot find connector"):
            await remote.delete_task(b"x", task_type=PROBE)
        with pytest.raises(errors.Unsupported):
            await remote.list_agents()
        with pytest.raises(errors.Unavailable, match="no answer"):
            await remote.execute_task(make_task("ask"))

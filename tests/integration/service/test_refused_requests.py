"""Requests that are refused are let go at once, whoever refused them: nothing of them waits for the garbage collector."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import pytest
from flyteidl.admin import agent_pb2
from grpc_health.v1 import health_pb2

from integration.service.probe import SETTINGS, make_task
from outboard.agent import Registry
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.host import Host
from outboard.service import Service
from outboard.service.supervision import child
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.hello import Hello
from outboard.wire.tasks import encode_create_request, encode_header, encode_inputs

ASYNC: Final = "/flyteidl.service.AsyncAgentService"
LONG: Final = "x" * 900_000
COUNT: Final = 10
TASK: Final = make_task("nobody's", config={"long": LONG})
ABOUT_JOB: Final[Mapping[str, Any]] = {
    "resource_meta": LONG.encode(),
    "task_category": agent_pb2.TaskCategory(name=TASK.type),
}
Asking = Callable[[grpc.aio.Channel], Any]


def unary(path: str, message: Any) -> Asking:
    return lambda channel: channel.unary_unary(path)(message.SerializeToString())


def logs(channel: grpc.aio.Channel) -> Any:
    asked = agent_pb2.GetTaskLogsRequest(**ABOUT_JOB).SerializeToString()
    return channel.unary_stream(f"{ASYNC}/GetTaskLogs")(asked).read()


def sync(channel: grpc.aio.Channel) -> Any:
    header = agent_pb2.ExecuteTaskSyncRequest(header=encode_header(TASK)).SerializeToString()
    inputs = agent_pb2.ExecuteTaskSyncRequest(inputs=encode_inputs(TASK)).SerializeToString()
    return channel.stream_stream("/flyteidl.service.SyncAgentService/ExecuteTaskSync")(iter((header, inputs))).read()


JOBS: Final[Mapping[str, Asking]] = {
    "CreateTask": unary(f"{ASYNC}/CreateTask", encode_create_request(TASK)),
    "GetTask": unary(f"{ASYNC}/GetTask", agent_pb2.GetTaskRequest(**ABOUT_JOB)),
    "GetTaskMetrics": unary(f"{ASYNC}/GetTaskMetrics", agent_pb2.GetTaskMetricsRequest(**ABOUT_JOB)),
    "GetTaskLogs": logs,
    "ExecuteTaskSync": sync,
}
HEALTH: Final = unary("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service=LONG))


@asynccontextmanager
async def passing_on(service: Service) -> AsyncIterator[Service]:
    """A service whose isolated platform's calls another one answers: its child's process only says where that is."""
    kind = TaskType(TASK.type, 0)
    agents = [AgentInfo(name="away", task_types=(kind,), is_sync=False)]
    hello = Hello(target=service.address, agents=agents, names=["away"], failures=[], natives=(kind,))
    says = f"import time; print({hello.encode().decode()!r}, flush=True); time.sleep(600)"
    spec = ChildSpec(source="away", command=(sys.executable, "-c", says), document={}, drain_s=1)
    async with Host(Registry([], [])) as host, Service(host, SETTINGS, isolated=[spec]) as passing:
        yield passing


async def held_after(ask: Asking, address: str) -> int:
    """Return how much more there is after calls that are refused, before the collector comes by."""
    async with grpc.aio.insecure_channel(address) as channel:
        for number in range(COUNT + 1):
            if number == 1:  # the first one loads what is loaded once
                gc.collect()
                gc.disable()
                tracemalloc.start()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(channel)
            assert refused.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
            del refused
        return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def collects_again() -> Any:
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.usefixtures("collects_again")
@pytest.mark.parametrize("ask", [*JOBS.values(), HEALTH], ids=[*JOBS, "Check"])
async def test_a_request_that_was_refused_is_let_go(service: Service, ask: Asking) -> None:
    assert await held_after(ask, service.address) < 3 * len(LONG)


@pytest.mark.usefixtures("collects_again")
@pytest.mark.parametrize("ask", JOBS.values(), ids=JOBS)
async def test_a_request_that_an_isolated_platform_refused_is_let_go(
    service: Service, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "BEAT_S", 600.0)  # the child's process answers no question about its health
    async with passing_on(service) as passing:
        assert await held_after(ask, passing.address) < 3 * len(LONG)

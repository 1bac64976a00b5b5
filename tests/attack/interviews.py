"""Every call there is to a service, for every way in which the `gossips` behave, in both dialects; and what came back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2, tasks_pb2
from flyteidl2.connector import connector_pb2

from attack.canaries import CANARIES, CREDENTIALS, Haul
from attack.gossips import MODES
from integration.service.flyte2_requests import create_request, provide

_SERVICE: Final = "/flyteidl.service.AsyncAgentService"
_SYNC: Final = "/flyteidl.service.SyncAgentService"
_CONNECTOR: Final = "/flyteidl2.connector.AsyncConnectorService"


async def interview(channel: Any, folder: Path, haul: Haul) -> None:
    """Make every call there is for every way to behave, in both dialects."""
    metadata = (("authorization", f"Bearer {CREDENTIALS['bearer token']}"),)

    async def call(method: str, request: Any, answer: Any) -> Any:
        asked = channel.unary_unary(method, request_serializer=None, response_deserializer=None)(
            request.SerializeToString(), metadata=metadata, timeout=10
        )
        try:
            data: bytes = await asked
        except grpc.aio.AioRpcError as error:
            said = (error.code(), error.details(), error.trailing_metadata(), error.debug_error_string())
            haul.take("errors and trailers", said)
            return None
        haul.take("answers", data)
        haul.take("answers", str(answer.FromString(data)))
        return answer.FromString(data)

    for number, mode in enumerate(MODES):
        for dialect, service, pb2 in (("1", _SERVICE, agent_pb2), ("2", _CONNECTOR, connector_pb2)):
            prefix = f"{folder}/out/{dialect}/a{number}/0"
            request: Any
            if dialect == "2":
                request = create_request(
                    "gossip",
                    custom={"mode": mode},
                    node=f"a{number}",
                    prefix=prefix,
                    connection=provide({"provided_canary": CANARIES["provided"]}),
                )
            else:
                request = _flyte1_request(mode, number, prefix)
            created = await call(f"{service}/CreateTask", request, pb2.CreateTaskResponse)
            if created is None:
                continue
            handle = created.resource_meta
            haul.take("handles", handle)
            about = {"resource_meta": handle, "task_category": pb2.TaskCategory(name="gossip")}
            provided = {"connection": provide({"provided_canary": CANARIES["provided"]})} if dialect == "2" else {}
            for _ in range(2):
                await call(f"{service}/GetTask", pb2.GetTaskRequest(**about, **provided), pb2.GetTaskResponse)
            await call(f"{service}/GetTaskMetrics", pb2.GetTaskMetricsRequest(**about), pb2.GetTaskMetricsResponse)
            haul.take("task metrics", haul.told["answers"][-1])
            await _read_logs(channel, f"{service}/GetTaskLogs", pb2.GetTaskLogsRequest(**about), haul, metadata)
            await call(f"{service}/DeleteTask", pb2.DeleteTaskRequest(**about, **provided), pb2.DeleteTaskResponse)
    for number, mode in enumerate(("running", "outputs")):
        asked = _flyte1_request(mode, number, f"{folder}/out/sync/a{number}/0", "gossip_answerer")
        created = await call(f"{_SERVICE}/CreateTask", asked, agent_pb2.CreateTaskResponse)
        about = {
            "resource_meta": created.resource_meta,
            "task_category": agent_pb2.TaskCategory(name="gossip_answerer"),
        }
        haul.take("handles", created.resource_meta)
        await call(f"{_SERVICE}/GetTask", agent_pb2.GetTaskRequest(**about), agent_pb2.GetTaskResponse)
        await _ask_at_once(channel, _flyte1_request(mode, 10 + number, "", "gossip_answerer"), haul, metadata)
    elsewhere = _flyte1_request("running", 92, "", project="elsewhere")
    await call(f"{_SERVICE}/CreateTask", elsewhere, agent_pb2.CreateTaskResponse)


async def _ask_at_once(channel: Any, request: Any, haul: Haul, metadata: Any) -> None:
    """Send ExecuteTaskSync, and take what is answered or refused."""
    stream = channel.stream_stream(f"{_SYNC}/ExecuteTaskSync", request_serializer=None, response_deserializer=None)
    parts = {name: getattr(request, name) for name in ("template", "output_prefix", "task_execution_metadata")}
    sent = (
        agent_pb2.ExecuteTaskSyncRequest(header=agent_pb2.CreateRequestHeader(**parts)),
        agent_pb2.ExecuteTaskSyncRequest(inputs=request.inputs),
    )
    async for data in stream((each.SerializeToString() for each in sent), metadata=metadata, timeout=10):
        haul.take("answers at once", data)
        haul.take("answers at once", agent_pb2.ExecuteTaskSyncResponse.FromString(data))


async def _read_logs(channel: Any, method: str, request: Any, haul: Haul, metadata: Any) -> None:
    stream = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
    with suppress(grpc.aio.AioRpcError):
        async for page in stream(request.SerializeToString(), metadata=metadata, timeout=10):
            haul.take("log stream", page)


def _flyte1_request(mode: str, number: int, prefix: str, task_type: str = "gossip", project: str = "p") -> Any:
    template = tasks_pb2.TaskTemplate(type=task_type)
    template.custom.update({"mode": mode})
    metadata = agent_pb2.TaskExecutionMetadata()
    execution = metadata.task_execution_id.node_execution_id.execution_id
    execution.project, execution.domain, execution.name = project, "d", "r1"
    metadata.task_execution_id.node_execution_id.node_id = f"n{number}"
    metadata.task_execution_id.task_id.project = project
    return agent_pb2.CreateTaskRequest(
        template=template, inputs=literals_pb2.LiteralMap(), output_prefix=prefix, task_execution_metadata=metadata
    )

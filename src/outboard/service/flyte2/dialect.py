"""Flyte 2's dialect: connections come with requests, there are no sync agents, and DeleteTask is garbage collection too."""

from __future__ import annotations

from typing import Final

from flyteidl2.connector import connector_pb2

from outboard.domain.statuses import TaskStatus
from outboard.service.dialects import FLYTE2_AGENTS, FLYTE2_JOBS, Dialect, written
from outboard.wire.flyte2.connections import decode_connection
from outboard.wire.flyte2.listings import encode_connector, encode_connectors, read_task_type
from outboard.wire.flyte2.statuses import encode_status
from outboard.wire.flyte2.tasks import decode_create_request


def _write_status(status: TaskStatus) -> bytes:
    answer = connector_pb2.GetTaskResponse()
    encode_status(status, answer.resource)
    return written(answer)


FLYTE2: Final = Dialect(
    jobs=FLYTE2_JOBS,
    list_agents=f"/{FLYTE2_AGENTS}/ListConnectors",
    get_agent=f"/{FLYTE2_AGENTS}/GetConnector",
    messages=connector_pb2,
    list_request=connector_pb2.ListConnectorsRequest,
    get_request=connector_pb2.GetConnectorRequest,
    collects_garbage=True,
    read_task=decode_create_request,
    read_task_type=read_task_type,
    read_provided=lambda request: decode_connection(request.connection),
    write_status=_write_status,
    write_agents=lambda agents: written(connector_pb2.ListConnectorsResponse(connectors=encode_connectors(agents))),
    write_agent=lambda agent: written(connector_pb2.GetConnectorResponse(connector=encode_connector(agent))),
)

"""The SDK's own client side: its generated stubs over a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final

import grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from flyteidl2.core import execution_pb2, identifier_pb2, security_pb2
from typing_extensions import Self

from interop.flyte2.tasks import DOMAIN, PROJECT

PATIENCE_S: Final = 20.0
DEADLINE_S: Final = 10.0
"""The engine's own `defaultTimeout`."""
_LOOK_S: Final = 0.02
_ENDS: Final = frozenset(
    {
        execution_pb2.TaskExecution.SUCCEEDED,
        execution_pb2.TaskExecution.FAILED,
        execution_pb2.TaskExecution.RETRYABLE_FAILED,
        execution_pb2.TaskExecution.ABORTED,
    }
)


class ConnectorClient:
    """Calls a connector service as the engine does.

    Args:
        address: Where it answers.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.jobs = service_pb2_grpc.AsyncConnectorServiceStub(self._channel)
        self.connectors = service_pb2_grpc.ConnectorMetadataServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def create(
        self, template: Any, inputs: Any, prefix: str, *, name: str, attempt: int = 0, connection: Any = None
    ) -> bytes:
        """Send CreateTask and return the handle; `name` is the run's."""
        execution = identifier_pb2.WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=name)
        request = connector_pb2.CreateTaskRequest(
            template=template,
            inputs=inputs,
            output_prefix=prefix,
            connection=connection or security_pb2.Connection(),
            task_execution_metadata=connector_pb2.TaskExecutionMetadata(
                task_execution_id=identifier_pb2.TaskExecutionIdentifier(
                    task_id=template.id,
                    node_execution_id=identifier_pb2.NodeExecutionIdentifier(execution_id=execution, node_id="a0"),
                    retry_attempt=attempt,
                )
            ),
        )
        return bytes(self.jobs.CreateTask(request, timeout=DEADLINE_S).resource_meta)

    def get(self, handle: bytes, task_type: str, prefix: str = "", connection: Any = None) -> Any:
        """Send GetTask and return the resource."""
        request = connector_pb2.GetTaskRequest(
            resource_meta=handle, task_category=category(task_type), output_prefix=prefix, connection=connection
        )
        return self.jobs.GetTask(request, timeout=DEADLINE_S).resource

    def delete(self, handle: bytes, task_type: str) -> None:
        """Send DeleteTask."""
        request = connector_pb2.DeleteTaskRequest(resource_meta=handle, task_category=category(task_type))
        self.jobs.DeleteTask(request, timeout=DEADLINE_S)

    def follow(self, handle: bytes, task_type: str, prefix: str = "") -> Any:
        """Send GetTask until the task is over; the last resource where patience ends before."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            resource = self.get(handle, task_type, prefix)
            if resource.phase in _ENDS or time.monotonic() > give_up:
                return resource
            time.sleep(_LOOK_S)

    def logs(self, handle: bytes, task_type: str, *, lines: int = 0, token: str = "") -> tuple[list[str], list[str]]:
        """Read one GetTaskLogs stream; return its messages and the tokens that came between them."""
        request = connector_pb2.GetTaskLogsRequest(
            resource_meta=handle, task_category=category(task_type), lines=lines, token=token
        )
        return _read(self.jobs.GetTaskLogs(request, timeout=DEADLINE_S))


def category(task_type: str, version: int = 0) -> Any:
    """Return a task category."""
    return connector_pb2.TaskCategory(name=task_type, version=version)


def phase_name(resource: Any) -> str:
    """Return the name of a resource's phase."""
    return str(execution_pb2.TaskExecution.Phase.Name(resource.phase))


def connection(secrets: Mapping[str, str], configs: Mapping[str, str] | None = None) -> Any:
    """Return a connection with values, as the engine fills it."""
    return security_pb2.Connection(secrets=secrets, configs=configs or {})


def _read(stream: Iterable[Any]) -> tuple[list[str], list[str]]:
    messages: list[str] = []
    tokens: list[str] = []
    for answer in stream:
        if answer.WhichOneof("part") == "header":
            tokens.append(answer.header.token)
        else:
            messages.extend(line.message for line in answer.body.lines)
    return messages, tokens

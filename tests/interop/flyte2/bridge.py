"""A connector of the SDK that sends its work to Outboard: local runs of Flyte 2 get our agents, with no change to a task.

The SDK runs connector tasks locally by looking their task type up in its registry and polling what it finds. `connect`
registers, for every task type that an endpoint serves, a connector that passes the SDK's template and inputs on as they are
and reads the outputs by the task's own interface.
"""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import Any, Final

import grpc
from flyte import TaskEnvironment, ctx
from flyte._environment import list_loaded_environments
from flyte._internal.runtime import convert, io
from flyte.connectors import AsyncConnector, ConnectorRegistry, Resource, ResourceMeta
from flyte.models import NativeInterface
from flyte.types import TypeEngine
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from flyteidl2.core import identifier_pb2, interface_pb2, security_pb2
from flyteidl2.core.execution_pb2 import TaskExecution

_DEADLINE_S: Final = 30.0


@dataclass
class BridgeMeta(ResourceMeta):
    """What is needed to follow a task: the handle, where its outputs go, and how they are declared."""

    handle: str
    prefix: str
    task: str
    interface: str


class OutboardConnector(AsyncConnector[BridgeMeta]):
    """Sends tasks of one type to an endpoint.

    Args:
        endpoint: Where our service answers.
        task_type: The task type.
        version: Its version.
    """

    metadata_type = BridgeMeta

    def __init__(self, endpoint: str, task_type: str, version: int = 0) -> None:
        self.name = f"Outboard {task_type} {version}"
        self.task_type_name = task_type
        self.task_type_version = version
        self._endpoint = endpoint

    async def create(
        self,
        task_template: Any,
        output_prefix: str,
        inputs: Any = None,
        task_execution_metadata: Any = None,
        **kwargs: Any,
    ) -> BridgeMeta:
        """Send CreateTask; secrets that the SDK found in the environment go with it."""
        interface = _interface(task_template.id.name, task_template.interface)
        written = await convert.convert_from_native_to_inputs(interface, **(inputs or {}))
        prefix = f"{output_prefix.rstrip('/')}/{uuid.uuid4().hex}/1"
        request = connector_pb2.CreateTaskRequest(
            template=task_template,
            inputs=written.proto_inputs,
            output_prefix=prefix,
            connection=security_pb2.Connection(secrets=kwargs),
            task_execution_metadata=task_execution_metadata or _metadata(task_template),
        )
        async with grpc.aio.insecure_channel(self._endpoint) as channel:
            answer = await service_pb2_grpc.AsyncConnectorServiceStub(channel).CreateTask(request, timeout=_DEADLINE_S)
        return BridgeMeta(
            handle=base64.b64encode(answer.resource_meta).decode(),
            prefix=prefix,
            task=task_template.id.name,
            interface=base64.b64encode(task_template.interface.SerializeToString()).decode(),
        )

    async def get(self, resource_meta: BridgeMeta, **kwargs: Any) -> Resource:
        """Send GetTask. An end that is worth a retry is an end to the SDK too, which would wait for ever."""
        request = connector_pb2.GetTaskRequest(
            resource_meta=base64.b64decode(resource_meta.handle),
            task_category=self._category,
            output_prefix=resource_meta.prefix,
            connection=security_pb2.Connection(secrets=kwargs),
        )
        async with grpc.aio.insecure_channel(self._endpoint) as channel:
            stub = service_pb2_grpc.AsyncConnectorServiceStub(channel)
            resource = (await stub.GetTask(request, timeout=_DEADLINE_S)).resource
        is_retryable = resource.phase == TaskExecution.RETRYABLE_FAILED
        return Resource(
            phase=TaskExecution.FAILED if is_retryable else resource.phase,
            message=resource.message,
            log_links=list(resource.log_links),
            outputs=await _natives(resource, resource_meta) if resource.phase == TaskExecution.SUCCEEDED else None,
        )

    async def delete(self, resource_meta: BridgeMeta, **kwargs: Any) -> None:
        """Send DeleteTask."""
        request = connector_pb2.DeleteTaskRequest(
            resource_meta=base64.b64decode(resource_meta.handle),
            task_category=self._category,
            connection=security_pb2.Connection(secrets=kwargs),
        )
        async with grpc.aio.insecure_channel(self._endpoint) as channel:
            await service_pb2_grpc.AsyncConnectorServiceStub(channel).DeleteTask(request, timeout=_DEADLINE_S)

    @property
    def _category(self) -> Any:
        return connector_pb2.TaskCategory(name=self.task_type_name, version=self.task_type_version)


def connect(endpoint: str) -> list[str]:
    """Register a connector for every task type that an endpoint serves; return them."""
    with grpc.insecure_channel(endpoint) as channel:
        stub = service_pb2_grpc.ConnectorMetadataServiceStub(channel)
        listed = stub.ListConnectors(connector_pb2.ListConnectorsRequest(), timeout=_DEADLINE_S).connectors
    served = [(each.name, each.version) for one in listed for each in one.supported_task_categories]
    for task_type, version in served:
        ConnectorRegistry.register(OutboardConnector(endpoint, task_type, version), override=True)
    return [task_type for task_type, _ in served]


async def _natives(resource: Any, meta: BridgeMeta) -> dict[str, Any] | None:
    declared = interface_pb2.TypedInterface.FromString(base64.b64decode(meta.interface))
    interface = _interface(meta.task, declared)
    if not interface.outputs:
        return None
    outputs = resource.outputs
    if not resource.HasField("outputs"):
        outputs = (await io.load_outputs(io.outputs_path(meta.prefix))).proto_outputs
    literals = {each.name: each.value for each in outputs.literals}
    return {name: await TypeEngine.to_python_value(literals[name], kind) for name, kind in interface.outputs.items()}


def _interface(task: str, declared: Any) -> NativeInterface:
    """Return a task's own interface: the template's has its variables in the alphabet's order, and no classes of the user's.

    The SDK counts a connector's outputs, in the order in which the task declares them.
    """
    for environment in reversed(list_loaded_environments()):
        if isinstance(environment, TaskEnvironment) and task in environment.tasks:
            return environment.tasks[task].native_interface
    taken: dict[str, Any] = {
        each.key: TypeEngine.guess_python_type(each.value.type) for each in declared.inputs.variables
    }
    given: dict[str, Any] = {
        each.key: TypeEngine.guess_python_type(each.value.type) for each in declared.outputs.variables
    }
    return NativeInterface({name: (kind, None) for name, kind in taken.items()}, given)


def _metadata(template: Any) -> Any:
    """Return an identity that no other run has; the SDK's local runs have names, but send none."""
    context: Any = ctx()
    run = f"{context.action.run_name if context else 'local'}-{uuid.uuid4().hex[:8]}"
    execution = identifier_pb2.WorkflowExecutionIdentifier(
        project=template.id.project or "local", domain=template.id.domain or "local", name=run
    )
    node = identifier_pb2.NodeExecutionIdentifier(execution_id=execution, node_id="a0")
    return connector_pb2.TaskExecutionMetadata(
        task_execution_id=identifier_pb2.TaskExecutionIdentifier(task_id=template.id, node_execution_id=node)
    )

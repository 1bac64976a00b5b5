"""Connectors as users of flytekit and of Flyte 2's SDK write them, over one platform in memory that says what was really done."""

from __future__ import annotations

import asyncio
import pickle
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flytekit.extend.backend import base_connector as flytekit1
from flytekit.extend.backend.utils import convert_to_flyte_phase, get_connector_secret

from ledgers import QUICK
from outboard.agent import Phase, Registry, TaskType
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.flytekit.hosting import HostingSettings
from outboard.flytekit.hosting.platforms import FlytekitConnectors
from outboard.host import Host, HostSettings
from outboard.host.stores import Store, Stores
from outboard.wire.tasks import decode_create_request


@dataclass
class Yard:
    """What was really done, and what the connectors are told to do."""

    states: dict[str, str] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    asked: int = 0
    fault: BaseException | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    is_slow: bool = False

    def start(self, arguments: Mapping[str, Any]) -> str:
        self.started.append(dict(arguments))
        if self.is_slow:
            self.gate.wait(30)
        if self.fault is not None:
            raise self.fault
        job = f"job-{len(self.started)}"
        self.states.setdefault(job, "running")
        return job

    def resource(self, job: str) -> flytekit1.Resource:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return flytekit1.Resource(**{"phase": convert_to_flyte_phase(self.states[job]), **self.answer})


@dataclass
class YardMeta(flytekit1.ResourceMeta):  # type: ignore[misc]  # flytekit has no types
    job_id: str
    note: str = ""


@dataclass
class PickledMeta(flytekit1.ResourceMeta):  # type: ignore[misc]  # flytekit has no types
    job_id: str

    def encode(self) -> bytes:
        return pickle.dumps(self)

    @classmethod
    def decode(cls, data: bytes) -> PickledMeta:
        meta: PickledMeta = pickle.loads(data)  # noqa: S301 - what is to be kept from happening unasked
        return meta


class YardConnector(flytekit1.AsyncConnectorBase):  # type: ignore[misc]  # flytekit has no types
    """Plain functions, which run in threads."""

    name = "Yard Connector"
    meta: Any = YardMeta

    def __init__(self, yard: Yard, task_type: str = "yard") -> None:
        super().__init__(task_type_name=task_type, metadata_type=self.meta)
        self.yard = yard

    def create(self, **arguments: Any) -> Any:
        return self.meta(job_id=self.yard.start(arguments))

    def get(self, resource_meta: Any, **_: Any) -> flytekit1.Resource:
        return self.yard.resource(resource_meta.job_id)

    def delete(self, resource_meta: Any, **_: Any) -> Any:
        self.yard.deleted.append(resource_meta.job_id)
        self.yard.states[resource_meta.job_id] = "canceled"

    def get_logs(self, resource_meta: Any, **_: Any) -> Any:
        body = agent_pb2.GetTaskLogsResponseBody(results=[f"{resource_meta.job_id} line {n}" for n in range(3)])
        return agent_pb2.GetTaskLogsResponse(body=body)


class PicklingConnector(YardConnector):
    name = "Pickling Connector"
    meta = PickledMeta


class AsyncYardConnector(YardConnector):
    """`async def`, and blocking all the same."""

    name = "Async Yard Connector"

    async def create(self, **arguments: Any) -> Any:
        return super().create(**arguments)

    async def get(self, resource_meta: Any, **_: Any) -> flytekit1.Resource:
        if self.yard.is_slow:
            self.yard.gate.wait(30)
        return self.yard.resource(resource_meta.job_id)

    async def delete(self, resource_meta: Any, **_: Any) -> None:
        super().delete(resource_meta)

    async def get_logs(self, resource_meta: Any, **_: Any) -> Any:
        return super().get_logs(resource_meta)


class UndecoratedConnector(YardConnector):
    """Returns coroutines from plain functions, as a decorator makes them."""

    name = "Undecorated Connector"

    def create(self, **arguments: Any) -> Any:
        async def later() -> Any:
            return YardConnector.create(self, **arguments)

        return later()


class SecretConnector(YardConnector):
    """Looks a secret up, and says it aloud."""

    name = "Secret Connector"

    def create(self, **arguments: Any) -> Any:
        secret = get_connector_secret("yard_token")
        raise RuntimeError(f"POST https://yard.test/jobs?token={secret} was answered strangely")


class ExitingConnector(YardConnector):
    name = "Exiting Connector"

    def create(self, **_: Any) -> Any:
        sys.exit(1)


class AsyncExitingConnector(YardConnector):
    name = "Async Exiting Connector"

    async def create(self, **_: Any) -> Any:
        sys.exit(1)


class Speaker(flytekit1.SyncConnectorBase):  # type: ignore[misc]  # flytekit has no types
    """Answers at once, with whatever the yard holds."""

    name = "Speaker"

    def __init__(self, yard: Yard) -> None:
        super().__init__(task_type_name="speak")
        self.yard = yard

    async def do(self, **arguments: Any) -> flytekit1.Resource:
        self.yard.started.append(arguments)
        return flytekit1.Resource(**{"phase": execution_pb2.TaskExecution.SUCCEEDED, **self.yard.answer})


def hosted(*connectors: Any, settings: HostingSettings | None = None, others: Iterable[Any] = ()) -> Registry:
    """Return a registry of connectors, and of other platforms that leave them their types."""
    registry = Registry(others)
    platform = FlytekitConnectors(connectors, settings or HostingSettings())
    for agent in platform.agents():
        type(agent).poll_interval = timedelta(0)  # type: ignore[attr-defined]  # polls are answered anew
    registry.add(platform)
    return registry


@asynccontextmanager
async def hosting(
    *connectors: Any, settings: HostingSettings | None = None, host: HostSettings = QUICK, stores: Store | None = None
) -> Any:
    async with Host(hosted(*connectors, settings=settings), host, stores=stores or Stores()) as served:
        yield served


def template(task_type: str = "yard") -> tasks_pb2.TaskTemplate:
    """Return a template with much that nobody here reads."""
    made = tasks_pb2.TaskTemplate(type=task_type)
    made.metadata.discovery_version = "7"
    made.metadata.cache_ignore_input_vars.append("x")
    made.container.image = "image"
    made.container.ports.add(container_port=8080)
    made.extended_resources.gpu_accelerator.device = "a100"
    made.security_context.secrets.add(key="k", mount_requirement=1)
    made.interface.inputs.variables["x"].description = "what it is"
    made.interface.inputs.variables["x"].type.simple = 1
    made.custom.update({"workers": 2})
    return made


def raw_task(task_type: str = "yard", *, run: str = "r1", attempt: int = 0, prefix: str = "memory://out/n0") -> RawTask:
    """Return a task as it comes off the wire."""
    inputs = literals_pb2.LiteralMap()
    inputs.literals["x"].scalar.primitive.integer = 5
    metadata = agent_pb2.TaskExecutionMetadata(namespace="team")
    metadata.task_execution_id.retry_attempt = attempt
    metadata.task_execution_id.node_execution_id.node_id = "n0"
    metadata.task_execution_id.node_execution_id.execution_id.name = run
    return decode_create_request(
        agent_pb2.CreateTaskRequest(
            template=template(task_type),
            inputs=inputs,
            output_prefix=f"{prefix}/{attempt}",
            task_execution_metadata=metadata,
        )
    )


YARD = TaskType("yard")


async def polled(host: Host, handle: bytes, phase: Phase, prefix: str = "memory://out/n0/0") -> TaskStatus:
    """Poll as engines do until a phase is reached, or for a while."""
    for _ in range(500):
        status = await host.get_task(handle, task_type=YARD, output_prefix=prefix)
        if status.phase is phase:
            break
        await asyncio.sleep(0.01)
    return status

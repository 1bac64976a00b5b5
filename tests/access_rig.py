"""A service with rules on a port of its own, and callers with tokens: what tests and the attack list of access share."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from pydantic import SecretStr

from integration.service.probe import Gate, ProbePlatform, make_task
from outboard.agent import Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.host import Host, HostSettings
from outboard.service import Service, ServiceSettings
from outboard.wire.tasks import encode_create_request

KEY: Final = base64.b64encode(b"k" * 32).decode()
OTHER_KEY: Final = base64.b64encode(b"o" * 32).decode()
TOKENS: Final = {name: f"{name}-token-of-thirty-characters" for name in ("alpha", "beta", "root")}
PROBE: Final = agent_pb2.TaskCategory(name="probe", version=0)
Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered: gRPC's code, the details, the trailing metadata, and the message where there is one."""

    code: str
    details: str = ""
    trailing: Mapping[str, str] | None = None
    message: Any = None


class Tenant:
    """Somebody who calls, with metadata of its own; answers are values, refused or not."""

    def __init__(self, channel: grpc.aio.Channel, project: str, metadata: Metadata = (), timeout_s: float = 10) -> None:
        self.project = project
        self._jobs = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        self._agents = agent_pb2_grpc.AgentMetadataServiceStub(channel)
        self.metadata = metadata
        self.timeout_s = timeout_s

    async def create(
        self, project: str | None = None, *, node: str = "n0", prefix: str | None = None, **fields: Any
    ) -> Answer:
        """Ask for a task of a project, its own unless told."""
        project = self.project if project is None else project
        identity = ExecutionIdentity(project=project, domain="production", execution="e1", node=node)
        where = f"memory://bucket/{project}/e1/{node}/0" if prefix is None else prefix
        task = replace(make_task(**fields), identity=identity, output_prefix=where)
        return await self._answer(self._jobs.CreateTask, encode_create_request(task))

    async def made(self, **fields: Any) -> bytes:
        """Return the handle of a task that is let in."""
        answer = await self.create(**fields)
        assert answer.code == "OK", answer
        return bytes(answer.message.resource_meta)

    async def get(self, handle: bytes, task_type: str = "probe") -> Answer:
        """Poll."""
        category = agent_pb2.TaskCategory(name=task_type)
        return await self._answer(
            self._jobs.GetTask, agent_pb2.GetTaskRequest(resource_meta=handle, task_category=category)
        )

    async def delete(self, handle: bytes) -> Answer:
        """Cancel."""
        return await self._answer(
            self._jobs.DeleteTask, agent_pb2.DeleteTaskRequest(resource_meta=handle, task_category=PROBE)
        )

    async def metrics(self, handle: bytes) -> Answer:
        """Ask for metrics."""
        return await self._answer(
            self._jobs.GetTaskMetrics, agent_pb2.GetTaskMetricsRequest(resource_meta=handle, task_category=PROBE)
        )

    async def logs(self, handle: bytes) -> Answer:
        """Ask for logs, of which the first message is read."""
        request = agent_pb2.GetTaskLogsRequest(resource_meta=handle, task_category=PROBE, lines=1)
        call = self._jobs.GetTaskLogs(request, metadata=self.metadata, timeout=self.timeout_s)
        try:
            message = await call.read()
        except grpc.aio.AioRpcError as error:
            return _refused(error)
        call.cancel()
        return Answer("OK", message=message)

    async def agents(self) -> Answer:
        """List agents."""
        return await self._answer(self._agents.ListAgents, agent_pb2.ListAgentsRequest())

    async def _answer(self, method: Any, request: Any) -> Answer:
        try:
            message = await method(request, metadata=self.metadata, timeout=self.timeout_s)
        except grpc.aio.AioRpcError as error:
            return _refused(error)
        return Answer("OK", message=message)


def _refused(error: grpc.aio.AioRpcError) -> Answer:
    trailing = {str(name): str(value) for name, value in error.trailing_metadata() or ()}
    return Answer(error.code().name, error.details() or "", trailing)


def bearing(token: str) -> Metadata:
    """Return the metadata of who has a token."""
    return (("authorization", f"Bearer {token}"),)


@dataclass(slots=True)
class Rig:
    """A service with rules."""

    service: Service
    channel: grpc.aio.Channel
    platform: ProbePlatform

    def tenant(self, project: str, token: str | None = None) -> Tenant:
        """Return somebody who calls, with this token or none."""
        return Tenant(self.channel, project, () if token is None else bearing(token))


@contextlib.asynccontextmanager
async def rigged(
    access: Mapping[str, Any] | None,
    *,
    key: str | None = KEY,
    gate: Gate | None = None,
    accepts_clear: bool = False,
    is_native: bool = False,
    **service: Any,
) -> AsyncIterator[Rig]:
    """Serve the probes' platform with rules, on a port that the system chooses."""
    platform = ProbePlatform(gate)
    platform.probe.native_handles = is_native  # type: ignore[misc]  # as hosted connectors say of their classes
    keys = () if key is None else (SecretStr(key),)
    settings = ServiceSettings.parse(**{"port": 0, "drain_s": 5, "access": access, **service})
    async with (
        Host(Registry([platform]), HostSettings(service_keys=keys, accept_clear_handles=accepts_clear)) as host,
        Service(host, settings) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        yield Rig(running, channel, platform)

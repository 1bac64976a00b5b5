"""An agent service over gRPC, as an endpoint: the engine's way to services, Outboard's or anybody's.

Every call has the deadline that its caller gives, else the one that the endpoint's configuration gives for the operation. Errors
come back as errors of the tree (see `wire.codes`). What gRPC reports about the way itself is told apart by whether the request
can have arrived: a connection that never stood is `EndpointUnreachable`, with the address and the remedy; one that broke, or a
deadline that passed, is `Unavailable` and may have arrived.

gRPC reconnects by itself, so an endpoint outlives restarts of its service. Answers are parsed here rather than by gRPC: bytes
that hold no message are a service that answers nonsense (`Unavailable`), not a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, TypeVar

import grpc
from flyteidl.admin import agent_pb2
from google.protobuf.message import DecodeError, Message
from typing_extensions import Self

from outboard.domain.endpoints import AgentInfo
from outboard.domain.secret_refs import redact_forms
from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.engine.addresses import ServiceAddress
from outboard.engine.connecting import Connections
from outboard.engine.credentials import Credentials
from outboard.engine.refusals import remedy
from outboard.errors import EndpointUnreachable, OutboardError, Unavailable
from outboard.wire.codes import ERROR, decode_error
from outboard.wire.listings import decode_agents, write_category
from outboard.wire.logs import decode_lines
from outboard.wire.metrics import decode_metrics
from outboard.wire.statuses import decode_status
from outboard.wire.tasks import encode_create_request, encode_header, encode_inputs

MessageT = TypeVar("MessageT", bound=Message)

_ASYNC: Final = "/flyteidl.service.AsyncAgentService"
_SYNC: Final = "/flyteidl.service.SyncAgentService"
_METADATA: Final = "/flyteidl.service.AgentMetadataService"
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_NEVER_CONNECTED: Final = (
    "failed to connect",
    "connection refused",
    "dns resolution failed",
    "name resolution",
    "no such file",
)
_SHOWN_CHARACTERS: Final = 200


class RemoteEndpoint:
    """A service at an address; an `outboard.domain.endpoints.Endpoint`.

    Open it inside the event loop that uses it, and close it, or use it as `async with RemoteEndpoint(...) as service:`.
    Nothing is dialled before the first call.

    Args:
        address: Where it answers, TLS, time-outs and gRPC service configuration.
    """

    def __init__(self, address: ServiceAddress) -> None:
        self.address = address
        self._connections = Connections(address)

    @classmethod
    def at(
        cls,
        address: str,
        *,
        insecure: bool | None = None,
        timeout_s: float | None = None,
        credentials: Credentials | None = None,
    ) -> Self:
        """Return the endpoint at an address a user typed; see `ServiceAddress.at`.

        Raises:
            InvalidSettings: The address has none of the known forms, or the credentials' files are not in order.
        """
        found = ServiceAddress.at(address, insecure=insecure, credentials=credentials)
        limit = None if timeout_s is None else timedelta(seconds=timeout_s)
        return cls(replace(found, default_timeout=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._connections.close()

    async def list_agents(self) -> Sequence[AgentInfo]:
        """Return what the service lists."""
        request = agent_pb2.ListAgentsRequest()
        answer = await self._ask(f"{_METADATA}/ListAgents", request, agent_pb2.ListAgentsResponse)
        return decode_agents(answer.agents)

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Start the task's job and return its handle."""
        request = encode_create_request(task)
        answer = await self._ask(f"{_ASYNC}/CreateTask", request, agent_pb2.CreateTaskResponse, timeout_s)
        handle: bytes = answer.resource_meta
        return handle

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        """Return where the task stands; its outputs are decoded when read (`wire.statuses.with_types` gives them types)."""
        request = agent_pb2.GetTaskRequest(
            task_type=task_type.name,
            task_category=write_category(task_type),
            resource_meta=handle,
            output_prefix=output_prefix,
        )
        answer = await self._ask(f"{_ASYNC}/GetTask", request, agent_pb2.GetTaskResponse, timeout_s)
        return decode_status(answer.resource)

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Cancel the task's job."""
        request = agent_pb2.DeleteTaskRequest(
            task_type=task_type.name, task_category=write_category(task_type), resource_meta=handle
        )
        await self._ask(f"{_ASYNC}/DeleteTask", request, agent_pb2.DeleteTaskResponse, timeout_s)

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Run a task of a sync agent and return its status."""
        parts = (
            agent_pb2.ExecuteTaskSyncRequest(header=encode_header(task)),
            agent_pb2.ExecuteTaskSyncRequest(inputs=encode_inputs(task)),
        )
        limit_s = self._limit_s("ExecuteTaskSync", timeout_s)
        with self._connections.call() as (channel, metadata):
            call = channel.stream_stream(f"{_SYNC}/ExecuteTaskSync")(timeout=limit_s, metadata=metadata)
            try:
                # A service may answer before it has read everything; then writing fails, and reading tells how the call ended.
                with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.BaseError):
                    for part in parts:
                        await call.write(part.SerializeToString())
                    await call.done_writing()
                data = await call.read()  # one answer; what follows it is nothing that FlytePropeller would read
            except grpc.aio.AioRpcError as error:
                raise self._translate(error, "ExecuteTaskSync", limit_s) from None
            finally:
                call.cancel()
        if data is grpc.aio.EOF:
            raise self._nonsense("ExecuteTaskSync")
        answer = self._parse(agent_pb2.ExecuteTaskSyncResponse, data, "ExecuteTaskSync")
        return decode_status(answer.header.resource)

    async def task_logs(
        self, handle: bytes, *, task_type: TaskType, cursor: str | None = None, limit: int = 0
    ) -> AsyncIterator[LogPage]:
        """Stream what the log holds now after `cursor`; the last page has no lines and says where to go on."""
        request = agent_pb2.GetTaskLogsRequest(
            task_type=task_type.name,
            task_category=write_category(task_type),
            resource_meta=handle,
            lines=max(0, limit),
            token=cursor or "",
        )
        limit_s = self._limit_s("GetTaskLogs", None)
        token = ""
        with self._connections.call() as (channel, metadata):
            method = channel.unary_stream(f"{_ASYNC}/GetTaskLogs")
            call = method(request.SerializeToString(), timeout=limit_s, metadata=metadata)
            try:
                async for data in call:
                    message = self._parse(agent_pb2.GetTaskLogsResponse, data, "GetTaskLogs")
                    if message.WhichOneof("part") == "header":
                        token = message.header.token
                    else:
                        yield decode_lines(message)
            except grpc.aio.AioRpcError as error:
                raise self._translate(error, "GetTaskLogs", limit_s) from None
            finally:
                call.cancel()
        yield LogPage(lines=(), next_cursor=token or None, ended=not token)

    async def task_metrics(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        names: Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[MetricSeries]:
        """Return metrics of the job; no names means all."""
        request = agent_pb2.GetTaskMetricsRequest(
            task_type=task_type.name, task_category=write_category(task_type), resource_meta=handle, queries=names
        )
        if start is not None:
            request.start_time.FromDatetime(start)
        if end is not None:
            request.end_time.FromDatetime(end)
        answer = await self._ask(f"{_ASYNC}/GetTaskMetrics", request, agent_pb2.GetTaskMetricsResponse)
        return decode_metrics(answer.results)

    async def health(self, name: str = "", *, timeout_s: float | None = None) -> str:
        """Return what the service says of a name of its health (`SERVING`, `NOT_SERVING`, ...).

        Raises:
            OutboardError: It does not answer, or knows no such name.
        """
        from grpc_health.v1 import health_pb2  # noqa: PLC0415 - only for those who ask

        request = health_pb2.HealthCheckRequest(service=name)
        answer = await self._ask(_HEALTH, request, health_pb2.HealthCheckResponse, timeout_s)
        status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return status

    async def reflected(self, *, timeout_s: float | None = None) -> Sequence[str]:
        """Return the names of the services that reflection tells; raises where there is none."""
        from grpc_reflection.v1alpha import reflection_pb2  # noqa: PLC0415 - only for those who ask

        request = reflection_pb2.ServerReflectionRequest(list_services="")
        limit_s = self._limit_s("ServerReflectionInfo", timeout_s)
        with self._connections.call() as (channel, metadata):
            method = channel.stream_stream(_REFLECTION)
            call = method(iter([request.SerializeToString()]), timeout=limit_s, metadata=metadata)
            try:
                data = await call.read()
            except grpc.aio.AioRpcError as error:
                raise self._translate(error, "ServerReflectionInfo", limit_s) from None
            finally:
                call.cancel()
        if data is grpc.aio.EOF:
            raise self._nonsense("ServerReflectionInfo")
        answer = self._parse(reflection_pb2.ServerReflectionResponse, data, "ServerReflectionInfo")
        return sorted(each.name for each in answer.list_services_response.service)

    async def _ask(
        self, method: str, request: Message, kind: type[MessageT], timeout_s: float | None = None
    ) -> MessageT:
        operation = method.rpartition("/")[2]
        limit_s = self._limit_s(operation, timeout_s)
        with self._connections.call() as (channel, metadata):
            try:
                data = await channel.unary_unary(method)(
                    request.SerializeToString(), timeout=limit_s, metadata=metadata
                )
            except grpc.aio.AioRpcError as error:
                raise self._translate(error, operation, limit_s) from None
        return self._parse(kind, data, operation)

    def _limit_s(self, operation: str, timeout_s: float | None) -> float | None:
        if timeout_s is not None:
            return timeout_s
        limit = self.address.timeout(operation)
        return None if limit is None else limit.total_seconds()

    def _parse(self, kind: type[MessageT], data: bytes, operation: str) -> MessageT:
        try:
            return kind.FromString(data)
        except DecodeError:
            raise self._nonsense(operation) from None

    def _nonsense(self, operation: str) -> Unavailable:
        return Unavailable(f"{self._place} gave {operation} something that is no answer; is it a Flyte agent service?")

    @property
    def _place(self) -> str:
        return f"the service at {self.address.written or self.address.target}"

    def _translate(self, error: grpc.aio.AioRpcError, operation: str, limit_s: float | None) -> OutboardError:
        code, details = error.code(), error.details() or ""
        trailing = {name: value for name, value in error.trailing_metadata() or () if isinstance(value, str)}
        if ERROR in trailing:
            return decode_error(code, details, trailing, operation)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            within = "in time" if limit_s is None else f"within {limit_s:g} s"
            return Unavailable(f"{self._place} did not answer {operation} {within}", code=code.name)
        if code is grpc.StatusCode.UNAVAILABLE:
            words = redact_forms(" ".join(details.split()))[:_SHOWN_CHARACTERS]
            if any(sign in details.lower() for sign in _NEVER_CONNECTED):
                what_to_do = remedy(self.address, details, self._connections.problem)
                message = f"{self._place} cannot be reached ({words}); {what_to_do}"
                return EndpointUnreachable(message, endpoint=self.address.name)
            return Unavailable(f"{self._place} is not available for {operation} ({words})", code=code.name)
        return decode_error(code, details, trailing, operation)

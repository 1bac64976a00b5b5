"""flytekit's service as a replica: its own servicer, asked in process as its gRPC server would ask it.

Requests and answers are Flyte's own messages, so what is under proof is flytekit's `AsyncConnectorService`, its registry and
its handling of errors. A call that it fails (`set_code`) reaches the engine as an error; a handler is cancelled when its
caller's deadline passes, as grpc.aio does it. `pyflyte serve connector` handles no signal, so there is nothing to drain.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flytekit.extend.backend.base_connector import ConnectorRegistry
from flytekit.extend.backend.connector_service import AsyncConnectorService

from outboard.domain.endpoints import AgentInfo
from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import Unavailable, Unsupported
from outboard.testing.ledger_client import LedgerClient
from outboard.testing.propeller import BrokenAnswer
from outboard.wire.codes import decode_error
from outboard.wire.listings import decode_agents, write_category
from outboard.wire.statuses import decode_status
from outboard.wire.tasks import encode_create_request
from proof.peer_connectors import CLIENT, DILIGENCE, KindConnector
from proof.scenarios import KINDS, World

_SERVICE: Final = AsyncConnectorService()

for _kind in KINDS:
    ConnectorRegistry.register(KindConnector(_kind))
logging.getLogger("flytekit").setLevel(
    logging.CRITICAL
)  # it logs a traceback per failed call, and faults are our trade


class _Call:
    """What a servicer gets of the call that it serves, as far as flytekit uses it."""

    def __init__(self) -> None:
        self.status: grpc.StatusCode | None = None
        self.words = ""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Fail the call with a code."""
        self.status = code

    def set_details(self, details: str) -> None:
        """Say why."""
        self.words = details


class FlytekitService:
    """One replica of flytekit's service over a world; an `outboard.testing.replicas.Served`.

    Args:
        world: What replicas share.
        is_diligent: Whether its connectors' author does all that the API gives room for.
    """

    def __init__(self, world: World, *, is_diligent: bool = False) -> None:
        self._client = LedgerClient(world.ledger, world.faults, world.latency)
        self._is_diligent = is_diligent

    async def list_agents(self) -> Sequence[AgentInfo]:
        """Return what the registry lists."""
        return decode_agents(ConnectorRegistry.list_connectors())

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Start the task's job and return flytekit's handle."""
        answer = await self._ask(_SERVICE.CreateTask, encode_create_request(task))
        handle: bytes = answer.resource_meta
        return handle

    async def get_task(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        output_prefix: str = "",
        timeout_s: float | None = None,
    ) -> TaskStatus:
        """Return where the task stands.

        Raises:
            BrokenAnswer: The answer has no phase, which FlytePropeller takes for a failed attempt.
        """
        request = agent_pb2.GetTaskRequest(
            task_type=task_type.name,
            task_category=write_category(task_type),
            resource_meta=handle,
            output_prefix=output_prefix,
        )
        answer = await self._ask(_SERVICE.GetTask, request)
        try:
            return decode_status(answer.resource)
        except Unavailable:
            raise BrokenAnswer from None

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Cancel the task's job."""
        request = agent_pb2.DeleteTaskRequest(
            task_type=task_type.name, task_category=write_category(task_type), resource_meta=handle
        )
        await self._ask(_SERVICE.DeleteTask, request)

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Refuse: there are no sync connectors here."""
        raise Unsupported("the peer serves asynchronous connectors only")

    def task_logs(
        self, handle: bytes, *, task_type: TaskType, cursor: str | None = None, limit: int = 0
    ) -> AsyncIterator[LogPage]:
        """Refuse: the kit's connectors keep no logs."""
        raise Unsupported("the peer's connectors keep no logs")

    async def task_metrics(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        names: Sequence[str] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Sequence[MetricSeries]:
        """Refuse: the kit's connectors keep no metrics."""
        raise Unsupported("the peer's connectors keep no metrics")

    async def drain(self) -> None:
        """Do nothing, as `pyflyte serve connector`: a signal ends it where it stands."""

    async def close(self) -> None:
        """Do nothing: it keeps nothing."""

    async def _ask(self, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        CLIENT.set(self._client)
        DILIGENCE.set(self._is_diligent)
        call = _Call()
        answer = await method(request, call)
        if call.status is not None:
            raise decode_error(call.status, call.words, {}, type(request).__name__.removesuffix("Request"))
        return answer

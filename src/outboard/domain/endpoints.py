"""The port between engines and agents.

An `Endpoint` answers what the agent protocol asks. A host is one, in process; a service reached over gRPC is one,
through its client. Engines know only this port, so a task runs the same in both. All times are seconds, handles are
opaque.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from outboard.domain.statuses import LogPage, MetricSeries, TaskStatus
from outboard.domain.tasks import RawTask, TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """One agent as a listing shows it."""

    name: str
    task_types: Sequence[TaskType]
    is_sync: bool = False


class Endpoint(Protocol):
    """Whoever answers the agent protocol. Every method raises errors of `outboard.errors` only."""

    async def list_agents(self) -> Sequence[AgentInfo]:
        """Return what is served here."""
        ...

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Start the task's job and return its handle."""
        ...

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        """Return where the task stands."""
        ...

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Cancel the task's job; returns when it is over, gone, or the platform accepted the cancel."""
        ...

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Run a task of a sync agent and return its terminal status."""
        ...

    def task_logs(
        self, handle: bytes, *, task_type: TaskType, cursor: str | None = None, limit: int = 0
    ) -> AsyncIterator[LogPage]:
        """Stream what the log holds now after `cursor`, at most `limit` lines (0: all); follow by asking again."""
        ...

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
        ...

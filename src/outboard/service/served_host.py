"""The port through which a service sees a host: what it needs beyond the agent protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import Endpoint
from outboard.domain.handles import HandleCodec
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import TaskType
from outboard.host.accounts import Accounts
from outboard.host.callbacks.callbacks import CallbackReceiver
from outboard.host.tracing import Tracing


class ServedHost(Endpoint, Protocol):
    """What a service needs of a host beyond the agent protocol."""

    @property
    def failures(self) -> Sequence[LoadFailure]:
        """What could not be loaded."""
        ...

    @property
    def accounts(self) -> Accounts:
        """Which platform accounts answer."""
        ...

    @property
    def codec(self) -> HandleCodec:
        """What reads this host's handles, for log lines."""
        ...

    def reads(self, handle: bytes, task_type: TaskType) -> bool:
        """Tell whether an agent here reads a handle."""
        ...

    def keeps_native(self, task_type: TaskType) -> bool:
        """Tell whether engines keep a hosted connector's own bytes for jobs of a task type."""
        ...

    @property
    def redact(self) -> Callable[[str], str]:
        """Removes the secrets that the host has read from a text."""
        ...

    @property
    def tracing(self) -> Tracing | None:
        """What makes spans; None where tracing is off."""
        ...

    @property
    def callbacks(self) -> CallbackReceiver:
        """What verifies callbacks of platforms."""
        ...

    def hasten(self, agent_name: str, job_ids: Sequence[str]) -> int:
        """Ask about these jobs at once, since their platform called back; return how many of them are alive here."""
        ...

    async def get_task(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        output_prefix: str = "",
        timeout_s: float | None = None,
        provided: Provided = NOTHING,
    ) -> TaskStatus:
        """Return where the task stands; `provided` takes the place of what the engine provided before."""
        ...

    async def delete_task(
        self,
        handle: bytes,
        *,
        task_type: TaskType,
        timeout_s: float | None = None,
        provided: Provided = NOTHING,
        collects_garbage: bool = False,
    ) -> None:
        """Cancel the task's job; for an engine that collects garbage, finished work is never touched."""
        ...

    def recall_task(self, handle: bytes) -> TaskStatus | None:
        """Return what `get_task` would answer from memory; None when it would have to ask."""
        ...

    async def drain(self) -> None:
        """Take no new work and wait for what is in flight."""
        ...

    async def close(self) -> None:
        """Drain and release everything."""
        ...

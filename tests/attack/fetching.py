"""An agent whose tasks choose an address, as a webhook's do: it asks through the session that is meant for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from outboard.agent import (
    Agent,
    Connection,
    Context,
    ErrorMap,
    Http,
    Platform,
    Secrets,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
)


class FetchConfig(TaskConfig):
    """What to ask."""

    url: str


class FetchAgent(SyncAgent[FetchConfig, Http]):
    """`fetch`: asks the address that its task names."""

    name = "fetch"
    task_types = (TaskType("fetch"),)

    async def do(self, task: Task[FetchConfig], ctx: Context[Http]) -> Mapping[str, Any]:
        """Return how large the answer is."""
        answer = await ctx.client.outward.get(task.config.url, method="fetch", timeout_s=5)
        return {"size": len(answer.body)}


class FetchPlatform(Platform[Connection, Http]):
    """Whatever a task names."""

    name = "fetch"
    errors = ErrorMap()

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return [FetchAgent(self)]

    def open(self, connection: Connection, secrets: Secrets, http: Http) -> AbstractAsyncContextManager[Http]:
        """Return the session itself."""
        return nullcontext(http)

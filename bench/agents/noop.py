"""The no-op agent: equal in content to `bench/peers/flytekit_noop.py`, so that only the services differ.

`create` answers at once; `get` says RUNNING, and the task carries one log link. Loaded by `outboard serve --agents noop:Noop`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from outboard.agent import (
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Key,
    Link,
    Named,
    Phase,
    Platform,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)


class NoopConfig(TaskConfig):
    """What `bench/messages.py` sends."""

    warehouse: str
    slots: int
    labels: dict[str, str]


class NoopJob(JobRef):
    """A number."""


class NoopAgent(AsyncAgent[NoopConfig, NoopJob, None]):
    """Starts nothing and finds it running."""

    name = "noop"
    task_types = (TaskType("noop"),)
    submission = Named()
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded()},
        documented=frozenset({"RUNNING", "DONE"}),
        source="bench/agents/noop.py",
    )

    def __init__(self, platform: Platform[Connection, None]) -> None:
        super().__init__(platform)
        self._numbers = itertools.count(1)

    async def create(self, task: Task[NoopConfig], ctx: Context[None]) -> NoopJob:  # noqa: ARG002 - a no-op
        return NoopJob(id=f"job-{next(self._numbers):08d}")

    async def get(self, job: NoopJob, ctx: Context[None]) -> Status:  # noqa: ARG002 - a no-op
        return Status(state="RUNNING", message="running")

    async def find(self, task: Task[NoopConfig], key: Key, ctx: Context[None]) -> Sequence[NoopJob]:  # noqa: ARG002 - a no-op
        return ()

    async def cancel(self, job: NoopJob, ctx: Context[None]) -> None:
        pass

    def links(self, job: NoopJob, connection: Any) -> Sequence[Link]:  # noqa: ARG002 - a no-op
        return (Link(name="Console", url=f"https://console.example.com/jobs/{job.id}"),)


class Noop(Platform[Connection, None]):
    """The platform that does nothing."""

    name = "noop"

    def agents(self) -> Sequence[NoopAgent]:
        return (NoopAgent(self),)

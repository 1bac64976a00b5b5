"""A platform whose submissions take until a file appears."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from outboard.agent import (
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Named,
    Phase,
    Platform,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
)


class SlowConfig(TaskConfig):
    """The file that says a create has begun, and the one that lets it go on."""

    begun: Path
    go: Path


class SlowJob(JobRef):
    """A job."""


class SlowAgent(AsyncAgent[SlowConfig, SlowJob, None]):
    """Waits for a file."""

    name = "slow"
    task_types = (TaskType("slow"),)
    submission = Named()
    states = StateMap({"RUNNING": Phase.RUNNING}, documented=frozenset({"RUNNING"}), source="this file")

    async def create(self, task: Task[SlowConfig], ctx: Context[None]) -> SlowJob:
        task.config.begun.touch()
        while not task.config.go.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        return SlowJob(id="1")

    async def get(self, job: SlowJob, ctx: Context[None]) -> Status:
        return Status(state="RUNNING")

    async def cancel(self, job: SlowJob, ctx: Context[None]) -> None:
        pass


class SlowPlatform(Platform[Connection, None]):
    """The platform of it."""

    name = "slow"

    def agents(self) -> Sequence[SlowAgent]:
        return (SlowAgent(self),)

"""A platform that cannot tell whether a create arrived, so that only records keep two processes from starting a job twice.

Its jobs are files in a folder: `starts` has a line per start, `cancelled` ends them all. A create waits for `go`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outboard.agent import (
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Nothing,
    Phase,
    Platform,
    Quotas,
    Rate,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    failed,
)


class ClaimedConfig(TaskConfig):
    folder: str


class ClaimedJob(JobRef):
    folder: str


class ClaimedAgent(AsyncAgent[ClaimedConfig, ClaimedJob, None]):
    """Starts a job for every create that it is asked for."""

    name = "claimed"
    task_types = (TaskType("claimed"),)
    submission = Nothing()
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "CANCELLED": failed()},
        documented=frozenset({"RUNNING", "CANCELLED"}),
        source="this file",
    )

    async def create(self, task: Task[ClaimedConfig], ctx: Context[None]) -> ClaimedJob:
        folder = Path(task.config.folder)
        with (folder / "starts").open("a", encoding="utf-8") as starts:
            starts.write("a job\n")
        while not (folder / "go").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        return ClaimedJob(id="1", folder=task.config.folder)

    async def get(self, job: ClaimedJob, ctx: Context[None]) -> Status:
        async with ctx.spend("look"):
            return Status(state="CANCELLED" if (Path(job.folder) / "cancelled").exists() else "RUNNING")

    async def cancel(self, job: ClaimedJob, ctx: Context[None]) -> None:
        (Path(job.folder) / "cancelled").touch()


class Claimed(Platform[Connection, None]):
    """Its platform."""

    name = "claimed"
    quotas = Quotas({"look": Rate(per_second=1000, burst=1000)})

    def agents(self) -> Sequence[Any]:
        return (ClaimedAgent(self),)

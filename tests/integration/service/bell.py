"""A platform that says nothing will change for five minutes, and calls back when it does. A job ends when its file is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from outboard import (
    AsyncAgent,
    Callback,
    Callbacks,
    Context,
    JobRef,
    Named,
    Phase,
    Platform,
    SecretRef,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)
from outboard.agent import NONE, Connection

STATES = StateMap(
    {"RUNNING": Phase.RUNNING, "DONE": succeeded()}, documented=frozenset({"RUNNING", "DONE"}), source="this file"
)


class BellConfig(TaskConfig):
    file: str = ""


class BellJob(JobRef):
    file: str = ""


class BellAgent(AsyncAgent[BellConfig, BellJob, None]):
    name = "bell"
    task_types = (TaskType("bell"),)
    submission = Named()
    outputs = NONE
    states = STATES
    callbacks = Callbacks.bearer(SecretRef("bell_key"))

    async def create(self, task: Task[BellConfig], ctx: Context[None]) -> BellJob:
        return BellJob(id=f"job-{Path(task.config.file).name}", file=task.config.file)

    async def get(self, job: BellJob, ctx: Context[None]) -> Status:
        is_done = Path(job.file).exists()  # noqa: ASYNC240 - a file of this machine
        return Status(state="DONE" if is_done else "RUNNING", poll_after=timedelta(minutes=5))

    async def cancel(self, job: BellJob, ctx: Context[None]) -> None:
        """It ends when its file is there, and not before."""

    def called_back(self, callback: Callback) -> Sequence[str]:
        return [callback.form()["job"]]


class Bell(Platform[Connection, Any]):
    name = "bell"

    def agents(self) -> Sequence[BellAgent]:
        return [BellAgent(self)]

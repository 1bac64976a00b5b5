"""A platform that says what it is told to: whatever its caller wrote comes back as a job's id, a state or an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from outboard.errors import Rejected


class Saying(TaskConfig):
    """What to say, and where."""

    job: str = ""
    state: str = ""
    refusal: str = ""


class SayingJob(JobRef):
    """A job and its state."""

    state: str = ""


class Echo(AsyncAgent[Saying, SayingJob, None]):
    """Says it."""

    name = "echo"
    task_types = (TaskType("echo"),)
    submission = Named()
    states = StateMap({"RUNNING": Phase.RUNNING}, documented=frozenset({"RUNNING"}), source="this file")

    async def create(self, task: Task[Saying], ctx: Context[None]) -> SayingJob:
        if task.config.refusal:
            raise Rejected(task.config.refusal, code="SAID")
        return SayingJob(id=task.config.job or "1", state=task.config.state)

    async def get(self, job: SayingJob, ctx: Context[None]) -> Status:
        return Status(state=job.state or "RUNNING")

    async def cancel(self, job: SayingJob, ctx: Context[None]) -> None:
        """Nothing runs."""


class Echoing(Platform[Connection, None]):
    """The platform."""

    name = "echoing"

    def agents(self) -> Sequence[Any]:
        return (Echo(self),)

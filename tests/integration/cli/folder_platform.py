"""A platform whose jobs are files in a folder, so that they outlive every process: what the command line is tested on.

`<key>.job` is a started job; it is over once `<key>.cancelled` or the folder's `open` (a gate for all jobs) exists. Each start
appends to `starts`, which shows a job that was started twice. `stubborn` jobs take a cancel and go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from outboard.agent import (
    INLINE,
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Link,
    LogLine,
    LogPage,
    Named,
    Phase,
    Platform,
    StateMap,
    Status,
    StructuredDataset,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)


class GateConfig(TaskConfig):
    folder: str
    is_stubborn: bool = False
    fails: bool = False


class GateJob(JobRef):
    folder: str
    is_stubborn: bool
    fails: bool

    def file(self, ending: str) -> Path:
        return Path(self.folder) / f"{self.id}.{ending}"


class GateAgent(AsyncAgent[GateConfig, GateJob, None]):
    """Jobs that run until their gate is opened."""

    name = "gate"
    task_types = (TaskType("gate"), TaskType("gate", 1))
    submission = Named()
    outputs = INLINE
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded(), "BROKEN": failed(), "CANCELLED": failed()},
        documented=frozenset({"RUNNING", "DONE", "BROKEN", "CANCELLED"}),
        source="tests/integration/cli/folder_platform.py",
    )

    async def create(self, task: Task[GateConfig], ctx: Context[None]) -> GateJob:
        config = task.config
        job = GateJob(id=ctx.key.name(), folder=config.folder, is_stubborn=config.is_stubborn, fails=config.fails)
        with (Path(config.folder) / "starts").open("a", encoding="utf-8") as starts:
            starts.write(f"{job.id}\n")
        job.file("job").touch()
        return job

    async def get(self, job: GateJob, ctx: Context[None]) -> Status:
        if job.file("cancelled").exists():
            return Status(state="CANCELLED")
        if not (Path(job.folder) / "open").exists():
            return Status(state="RUNNING", message="waiting for the gate", poll_after=timedelta(milliseconds=50))
        if job.fails:
            return Status(state="BROKEN", message="the gate fell down")
        dataset = StructuredDataset(f"file://{job.folder}/rows", "parquet")
        return Status(state="DONE", outputs={"rows": 3, "table": dataset})

    async def cancel(self, job: GateJob, ctx: Context[None]) -> None:
        if not job.is_stubborn:
            job.file("cancelled").touch()

    def links(self, job: GateJob, connection: Any) -> Sequence[Link]:
        return (Link(name="Gate", url=f"https://gates.example/{job.id}"),)

    async def logs(self, job: GateJob, ctx: Context[None], *, cursor: str | None, limit: int) -> LogPage:
        lines = ["first line", "second line"] + (["the gate is open"] if (Path(job.folder) / "open").exists() else [])
        start = int(cursor or 0)
        page = [LogLine(message=text) for text in lines[start : start + limit]]
        return LogPage(lines=page, next_cursor=str(start + len(page)))


class EchoConfig(TaskConfig):
    pass


class EchoAgent(SyncAgent[EchoConfig, None]):
    """Answers with its inputs."""

    name = "echo"
    task_types = (TaskType("echo"),)

    async def do(self, task: Task[EchoConfig], ctx: Context[None]) -> Mapping[str, Any]:
        return dict(task.inputs)


class Folders(Platform[Connection, None]):
    name = "folders"

    def agents(self) -> Sequence[Any]:
        return (GateAgent(self), EchoAgent(self))

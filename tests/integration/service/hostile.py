"""Platforms whose agents do what no agent should, when a task tells them to; and one beside them that behaves."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from outboard.agent import (
    AsyncAgent,
    BlockingAgent,
    Connection,
    Context,
    JobRef,
    LogLine,
    LogPage,
    Named,
    Phase,
    Platform,
    SecretRef,
    StateMap,
    Status,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)

STATES = StateMap(
    {"RUNNING": Phase.RUNNING, "DONE": succeeded()}, documented=frozenset({"RUNNING", "DONE"}), source="this file"
)


LEAK: list[bytes] = []


class Deed(TaskConfig):
    """What to do, and the file that ends a job or lets a blocked agent go on."""

    deed: str = ""
    file: str = ""


class DeedJob(JobRef):
    """A job that runs until its file is there."""

    file: str = ""


class DeedConnection(Connection):
    """Says what the platform does when it is opened."""

    deed: str = ""


def do(deed: str, file: str) -> None:
    """Do it."""
    match deed:
        case "exit":
            sys.exit(3)
        case "os exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "slow death":  # as of a large process whose core is dumped
            subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -KILL {os.getpid()}"])
            for path in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(path.name))) as one:
                    one.shutdown(socket.SHUT_RDWR)
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exit in a task":
            asyncio.get_running_loop().call_soon(sys.exit, 3)
        case "leak":
            LEAK.append(b"x" * (400 * 2**20))
        case "block":
            Path(f"{file}.begun").touch()
            while not Path(file).exists():
                time.sleep(0.01)


def deed_connection(task: Task[Deed]) -> DeedConnection:
    if task.config.deed == "exit in connection":
        sys.exit(3)
    return DeedConnection(deed=task.config.deed if task.config.deed.endswith("in open") else "")


class DeedAgent(AsyncAgent[Deed, DeedJob, None]):
    """Does it in a coroutine."""

    name = "deeds"
    task_types = (TaskType("deeds"),)
    submission = Named()
    states = STATES

    def connection(self, task: Task[Deed]) -> DeedConnection:
        return deed_connection(task)

    async def create(self, task: Task[Deed], ctx: Context[None]) -> DeedJob:
        do(task.config.deed, task.config.file)
        await asyncio.sleep(0)
        return DeedJob(id="1", file=task.config.file)

    async def get(self, job: DeedJob, ctx: Context[None]) -> Status:
        if job.file and os.path.exists(job.file):  # noqa: PTH110, ASYNC240 - a local file that takes no time
            return Status(state="DONE", outputs={"o0": 1})
        return Status(state="RUNNING", message="at work")

    async def cancel(self, job: DeedJob, ctx: Context[None]) -> None:
        pass

    async def logs(self, job: DeedJob, ctx: Context[None], *, cursor: str | None, limit: int) -> LogPage:
        return LogPage(lines=[LogLine(message="a line of the job")], ended=True)


class ThreadAgent(BlockingAgent[Deed, DeedJob, None]):
    """Does it in a thread."""

    name = "threads"
    task_types = (TaskType("threads"),)
    submission = Named()
    states = STATES

    def connection(self, task: Task[Deed]) -> DeedConnection:
        return deed_connection(task)

    def create(self, task: Task[Deed], ctx: Context[None]) -> DeedJob:
        do(task.config.deed, task.config.file)
        return DeedJob(id="1", file=task.config.file)

    def get(self, job: DeedJob, ctx: Context[None]) -> Status:
        return Status(state="RUNNING")

    def cancel(self, job: DeedJob, ctx: Context[None]) -> None:
        pass


class DeedAnswer(SyncAgent[Deed, None]):
    """Answers at once."""

    name = "answers"
    task_types = (TaskType("answers"),)

    async def do(self, task: Task[Deed], ctx: Context[None]) -> Mapping[str, Any]:
        do(task.config.deed, task.config.file)
        return {"o0": task.inputs["x"] * 2}


class Hostile(Platform[DeedConnection, None]):
    """All of them."""

    name = "hostile"

    def agents(self) -> Sequence[Any]:
        return (DeedAgent(self), ThreadAgent(self), DeedAnswer(self))

    @asynccontextmanager
    async def _opened(self, deed: str) -> AsyncIterator[None]:
        if deed:
            sys.exit(3)
        yield

    def open(self, connection: DeedConnection, secrets: Any, http: Any) -> Any:
        return self._opened(connection.deed)


class CalmAgent(DeedAgent):
    """Does nothing that it should not."""

    name = "calm"
    task_types = (TaskType("calm"),)


class Calm(Platform[DeedConnection, None]):
    """Its platform."""

    name = "calm"

    def agents(self) -> Sequence[Any]:
        return (CalmAgent(self),)


class NativeAgent(CalmAgent):
    """Says of its handles what hosted connectors say: they are another software's, and name nobody."""

    name = "native"
    task_types = (TaskType("native"),)
    native_handles = True


class Native(Platform[DeedConnection, None]):
    """Its platform."""

    name = "native"

    def agents(self) -> Sequence[Any]:
        return (NativeAgent(self),)


class NeedyAnswer(SyncAgent[Deed, None]):
    """Answers once it has its secret, wherever that is kept."""

    name = "needy"
    task_types = (TaskType("needy"),)
    secrets = (SecretRef("token", "far"),)

    async def do(self, task: Task[Deed], ctx: Context[None]) -> Mapping[str, Any]:
        return {"o0": len(ctx.secrets[self.secrets[0]].get_secret_value())}


class Needy(Platform[DeedConnection, None]):
    """Its platform."""

    name = "needy"

    def agents(self) -> Sequence[Any]:
        return (NeedyAnswer(self),)

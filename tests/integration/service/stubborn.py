"""A platform whose agents do not let their process end."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from outboard.agent import Connection, Context, Platform, SyncAgent, Task, TaskConfig, TaskType


class Deed(TaskConfig):
    """What to do, and the file that says that it is being done."""

    deed: str = ""
    begun: str = ""


async def never() -> None:
    """Swallow every cancellation."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


class StubbornAgent(SyncAgent[Deed, None]):
    """Does it while it answers."""

    name = "stubborn"
    task_types = (TaskType("stubborn"),)

    async def do(self, task: Task[Deed], ctx: Context[None]) -> Mapping[str, Any]:
        if task.config.deed.endswith("no wakeup"):
            signal.set_wakeup_fd(-1)
        match task.config.deed:
            case "a thread":
                threading.Thread(target=time.sleep, args=(3600,), name="stubborn-thread").start()
            case "a thread of the executor":
                asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
            case "an exit handler":
                atexit.register(time.sleep, 3600)
            case "a task":
                self.kept = asyncio.ensure_future(never())
        Path(task.config.begun).touch()  # noqa: ASYNC240 - a local file that takes no time
        match task.config.deed:
            case "a call":
                await never()
            case "a blocked loop" | "a blocked loop and no wakeup":
                time.sleep(3600)  # noqa: ASYNC251 - that is the point
        return {"o0": 1}


class Stubborn(Platform[Connection, None]):
    """Its platform."""

    name = "stubborn"

    def agents(self) -> Sequence[Any]:
        return (StubbornAgent(self),)

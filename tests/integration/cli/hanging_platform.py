"""A platform whose ping hangs in a thread for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from outboard.agent import AccountContext, Agent, Connection, Platform, SyncAgent, TaskConfig, TaskType


class Echo(SyncAgent[TaskConfig, None]):
    name = "echo"
    task_types = (TaskType("echo"),)

    async def do(self, task: Any, ctx: Any) -> dict[str, Any]:
        return {}


class Hanging(Platform[Connection, None]):
    name = "hanging"

    def agents(self) -> Sequence[Agent]:
        return (Echo(self),)

    async def ping(self, ctx: AccountContext[None]) -> str:
        await asyncio.to_thread(threading.Event().wait)
        return "never"

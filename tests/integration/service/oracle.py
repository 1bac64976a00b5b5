"""A platform of a sync agent that gives every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from outboard.agent import Connection, Context, Platform, Settings, SyncAgent, Task, TaskConfig, TaskType
from outboard.errors import Rejected, Sent, Unavailable


class OracleConfig(TaskConfig):
    """What to answer."""

    mode: str


class OracleAgent(SyncAgent[OracleConfig, None]):
    """Answers what it is told to, some when it is allowed to."""

    name = "oracle"
    task_types = (TaskType("oracle"),)

    def __init__(self, platform: Platform[Connection, None]) -> None:
        super().__init__(platform)
        self.allowed = asyncio.Event()
        self.questions = 0

    async def do(self, task: Task[OracleConfig], ctx: Context[None]) -> Mapping[str, Any]:
        self.questions += 1
        match task.config.mode:
            case "slow":
                await self.allowed.wait()
            case "rejected":
                raise Rejected("ask something else")
            case "away":
                raise Unavailable("nobody is here", sent=Sent.NO, retry_after=timedelta(hours=1))
            case "crashes":
                raise ZeroDivisionError("hidden")
            case "misfit":
                return {"nothing": 1}
        return {"zulu": task.inputs["x"], "alpha": 2}


class OraclePlatform(Platform[Connection, None]):
    """Its platform."""

    name = "oracles"

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self.oracle = OracleAgent(self)

    def agents(self) -> Sequence[Any]:
        return (self.oracle,)

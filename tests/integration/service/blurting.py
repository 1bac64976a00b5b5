"""A platform whose agent tells its secret to streams: one that it took hold of when it was imported, and one of bytes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from outboard.agent import Connection, Context, Platform, SecretRef, SyncAgent, Task, TaskConfig, TaskType

REF = SecretRef("blurted")
LOG = logging.getLogger("blurting")
LOG.addHandler(logging.StreamHandler())
LOG.propagate = False


class BlurtingAgent(SyncAgent[TaskConfig, None]):
    """Tells it, and answers."""

    name = "blurting"
    task_types = (TaskType("blurting"),)
    secrets = (REF,)

    async def do(self, task: Task[TaskConfig], ctx: Context[None]) -> Mapping[str, Any]:
        secret = ctx.secrets[REF].get_secret_value()
        LOG.error("handler: %s", secret)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            stream.buffer.write(f"bytes: {secret}\n".encode())
            stream.buffer.flush()
        print("told", file=sys.stderr)  # noqa: T201 - that is the point
        return {"o0": 1}


class Blurting(Platform[Connection, None]):
    """Its platform."""

    name = "blurting"

    def agents(self) -> Sequence[Any]:
        return (BlurtingAgent(self),)
